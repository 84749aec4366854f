"""Crops to tokens: the vision transformer, its heads, checkpoints in and out."""
