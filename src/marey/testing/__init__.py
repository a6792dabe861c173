"""For marey and whoever adds a model to it: fill rule, golden check, generated videos."""
