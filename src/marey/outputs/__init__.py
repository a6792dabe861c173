"""Reports written to files and terminals; they know values, not models."""
