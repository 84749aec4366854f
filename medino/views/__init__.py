"""Pixels to crops: geometry, photometry for each kind of image, stain, masks, multi-crop."""
