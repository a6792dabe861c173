"""Networks: the machinery (underscored) and one file for each checkpoint family."""
