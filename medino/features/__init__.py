"""Tokens kept: the evaluation transform, embed, the table of features."""
