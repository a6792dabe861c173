"""Tensors only: each idea about time, once."""
