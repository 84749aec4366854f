"""Where the noise of an MR image's background ends."""

import math

import numpy as np

from medino.data.slides.tissue import otsu

NOISE_REACH = math.sqrt(math.log(1000) / math.log(2))
"""The 99.9th percentile of a Rayleigh distribution in units of its median. Magnitude images have that distribution
where there is no signal (Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", Magn. Reson. Med. 34,
1995)."""

LEAST_SHARE = 0.05
"""Fewer of the values than this are no background, but some dark tissue."""


def noise_limit(values: np.ndarray) -> float | None:
    """The value below which nearly all of the background's noise lies, in one slice of magnitude MR.

    Otsu's threshold parts dark from bright. The dark side is taken for noise if it is as narrow as noise would be, that
    is if the upper end of a Rayleigh distribution with its median lies below the threshold; tissue is broader. Where
    dark tissue is mixed into it, it is parted once more. Images that are all tissue have no such side.

    Args:
        values: those above the smallest, flat.

    Returns:
        None where no part of the values looks like noise.
    """
    dark = values
    for _ in range(2):
        threshold = otsu(dark, (float(dark.min()), float(dark.max())))
        dark = dark[dark <= threshold]
        if len(dark) < max(LEAST_SHARE * len(values), 1):
            return None
        limit = NOISE_REACH * float(np.median(dark))
        if 0 < limit < threshold:
            return _without_tissue(dark, limit)
    return None


def _without_tissue(dark: np.ndarray, limit: float) -> float:
    """The limit by the values below itself alone: the dim edges of tissue had lifted the median."""
    for _ in range(4):
        limit = NOISE_REACH * float(np.median(dark[dark <= limit]))
    return limit
