"""Files and frames: media are opened, sampled and written here, on numpy, without torch."""
