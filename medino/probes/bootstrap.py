"""Intervals by resampling patients: one resample serves all episodes, probes and backbones, so that differences pair.

Inside each replicate the statistic is averaged over the episodes. Balanced accuracy and AUROC are ratios of forms
that are linear and quadratic in the patients' counts, with denominators that no episode changes; so the mean over
episodes is taken first, and a thousand replicates cost a few matrix products.

Where a replicate lacks a class, its balanced accuracy, F1, AUROC and AUPRC are means over the classes that it has. A
replicate of one class only has no AUROC, AUPRC and kappa and is left out of their intervals. The evidence counts both:
the replicates that an interval is made of, and those of them that lack a class.
"""

import numpy as np
from scipy.stats import norm

from medino.core import numpy_generator
from medino.probes.metrics import membership

CONFIDENCE = 0.95

JACKKNIFE_PARTS = 200
"""With more test patients than this, groups of them are left out in place of single ones."""

POSITIVES_AT_ONCE = 512
"""Rows of the matrix of pairs that are held in memory together."""

EPISODES_IN_A_BYTE = 127
"""Two points an episode are counted in one byte, which is some times faster than in a float."""


def patient_counts(patients: int, replicates: int, seed: int) -> np.ndarray:
    """How often each patient is drawn in each replicate.

    Args:
        patients: number of test patients P.
        replicates: number of replicates R.
        seed: the study's seed.

    Returns:
        (R, P) counts; each row sums to P.
    """
    generator = numpy_generator(seed, "bootstrap")
    return generator.multinomial(patients, np.full(patients, 1 / patients), size=replicates).astype(np.float32)


def jackknife_counts(patients: int, seed: int) -> np.ndarray:
    """Which patients count when one of them, or one group of them, is left out.

    Args:
        patients: number of test patients P.
        seed: the study's seed; it decides the groups where there are more than 200 patients.

    Returns:
        (J, P) ones and zeros; J is P, at most 200.
    """
    parts = min(patients, JACKKNIFE_PARTS)
    part = np.arange(patients) % parts
    if patients > parts:
        part = numpy_generator(seed, "jackknife").permutation(part)
    return (part != np.arange(parts)[:, None]).astype(np.float32)


def balanced_accuracy_replicates(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Balanced accuracy in each replicate, averaged over episodes.

    Args:
        targets: (N,) true classes as integers.
        predicted: (E, N) predicted classes, one row an episode.
        weights: (R, N) how often each unit counts in each replicate.

    Returns:
        (R,) float64.
    """
    correct = (predicted == targets).mean(axis=0)
    recalls = []
    for target in np.unique(targets):
        of_class = np.flatnonzero(targets == target)
        total = weights[:, of_class].sum(axis=1, dtype=np.float64)
        right = weights[:, of_class].astype(np.float64) @ correct[of_class]
        recalls.append(np.divide(right, total, out=np.full(len(weights), np.nan), where=total > 0))
    return _mean_of_present(np.stack(recalls))


def auroc_replicates(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Macro AUROC in each replicate, averaged over episodes.

    Args:
        targets: (N,) true classes as integers, columns of `scores`; or (N, C) whether each label is there.
        scores: (E, N, C) one score a class, one slab an episode.
        weights: (R, N) how often each unit counts in each replicate.

    Returns:
        (R,) float64, the mean over the classes that the replicate has and has not only; NaN where there is none.
    """
    areas = []
    member = membership(targets, scores.shape[2])
    for column in np.flatnonzero(member.any(axis=0)):
        positive, negative = np.flatnonzero(member[:, column]), np.flatnonzero(~member[:, column])
        against = weights[:, negative]
        ordered = np.zeros(len(weights))
        for start in range(0, len(positive), POSITIVES_AT_ONCE):
            some = positive[start : start + POSITIVES_AT_ONCE]
            pairs = pairs_in_order(scores[:, some, column], scores[:, negative, column])
            ordered += np.einsum("rp,rp->r", weights[:, some], against @ pairs.T, dtype=np.float64)
        total = weights[:, positive].sum(axis=1, dtype=np.float64) * against.sum(axis=1, dtype=np.float64)
        areas.append(np.divide(ordered, total, out=np.full(len(weights), np.nan), where=total > 0))
    return _mean_of_present(np.stack(areas))


def percentile_interval(replicates: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic's replicates, those that lack it (NaN) left out."""
    present = replicates[~np.isnan(replicates)]
    if not len(present):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(present, [tail, 1 - tail])
    return float(low), float(high)


def bca_interval(value: float, replicates: np.ndarray, left_out: np.ndarray) -> tuple[float, float]:
    """The 95 % bias-corrected and accelerated interval (Efron 1987, Better Bootstrap Confidence Intervals).

    Bias correction: the normal quantile of the share of replicates below the value, ties one half. Acceleration: a
    sixth of the jackknife values' skewness (Efron and Tibshirani 1993, equation 14.15).

    Args:
        value: the statistic itself.
        replicates: (R,) it in each resample of the patients; those that lack it (NaN) are left out.
        left_out: (J,) it with each patient, or group of patients, left out; NaN likewise.

    Returns:
        Lower and upper end; NaN where there is no replicate, or all lie on one side of the value.
    """
    present = replicates[~np.isnan(replicates)]
    if not len(present):
        return float("nan"), float("nan")
    below = ((present < value).sum() + (present <= value).sum()) / (2 * len(present))
    if below in (0, 1):
        return float("nan"), float("nan")
    known = left_out[~np.isnan(left_out)]
    pulls = known.mean() - known if len(known) else np.zeros(1)
    squares = (pulls**2).sum()
    acceleration = (pulls**3).sum() / (6 * squares**1.5) if squares > 0 else 0.0
    bias = norm.ppf(below)
    reach = bias + norm.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    low, high = np.quantile(present, norm.cdf(bias + reach / (1 - acceleration * reach)))
    return float(low), float(high)


def pairs_in_order(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """(p, n) share of episodes in which a positive scores above a negative, ties one half, of (E, p) and (E, n)."""
    share = np.zeros((positive.shape[1], negative.shape[1]), dtype=np.float32)
    for start in range(0, len(positive), EPISODES_IN_A_BYTE):
        points = np.zeros(share.shape, dtype=np.uint8)
        some = slice(start, start + EPISODES_IN_A_BYTE)
        for above, below in zip(positive[some], negative[some], strict=True):
            points += (above[:, None] > below[None, :]).view(np.uint8)
            points += (above[:, None] >= below[None, :]).view(np.uint8)
        share += points
    return share / (2 * len(positive))


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """(R,) mean over the first axis of (C, R), NaN left out; NaN where all are."""
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    total = np.where(present, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)
