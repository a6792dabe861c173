"""Tables of labelled clips, and their way into a network."""
