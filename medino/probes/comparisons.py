"""Paired comparisons: a p-value from the resamples that the interval comes from, and Holm's correction over many."""

from collections.abc import Sequence

import numpy as np


def bootstrap_p_value(replicates: np.ndarray) -> float:
    """Two-sided p-value of no difference: twice the share of resamples on the lesser side of zero, zeros on both.

    It is the level at which the percentile interval begins to hold zero (Davison and Hinkley 1997, chapter 5, on
    intervals and tests), so that the two agree; one is added above and below, as the resamples are drawn (Phipson and
    Smyth 2010), so that it is never 0.

    Args:
        replicates: (R,) the paired difference in each resample of the test patients; NaN is left out.

    Returns:
        1 / (R + 1) or more, at most 1; NaN where no resample has a difference.
    """
    present = replicates[~np.isnan(replicates)]
    if not len(present):
        return float("nan")
    lesser = min((present <= 0).sum(), (present >= 0).sum())
    return float(min(1.0, 2 * (lesser + 1) / (len(present) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): the chance of any false finding among all stays below the level.

    The i-th smallest of m is multiplied by m - i + 1, and none may be smaller than one before it.

    Args:
        p_values: one a comparison; NaN counts among none and stays.

    Returns:
        The corrected p-values in the order given.
    """
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given, kind="stable")
    known = order[~np.isnan(given[order])]
    corrected = given.copy()
    steps = given[known] * np.arange(len(known), 0, -1)
    corrected[known] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in corrected]
