"""Which images show too little to learn from."""

import numpy as np

from medino.curation.looks import Looks

LEAST_CONTRAST = 0.02
"""Contrast up to which an image is blank. Five of 255 grey levels, 20 of 1000 HU: the noise of a scanner or of an empty
glass. The dimmest sound image of the 2,200 in the test data (fluorescence, 8 bits) has .078."""

MOST_AT_ENDS = 0.95
"""Share of the values at the two ends of an image's range from which on it is clipped. The highest of a sound image in
the test data is .86 (nuclei on black); blood cells whose background is pure white reach .80, a drawn mask has 1."""


def blank(looks: Looks, least_contrast: float = LEAST_CONTRAST) -> np.ndarray:
    """(N,) bool: images with no more contrast than that; a constant one always."""
    return looks.readable & (np.nan_to_num(looks.contrast) <= least_contrast)


def clipped(looks: Looks, most_at_ends: float = MOST_AT_ENDS) -> np.ndarray:
    """(N,) bool: images with more of their values than that at their smallest and largest value."""
    return looks.readable & (np.nan_to_num(looks.ends) > most_at_ends)
