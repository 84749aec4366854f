"""One reader for each format: a path and a frame in, pixels out."""
