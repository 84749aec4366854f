"""Intervals by resampling patients: one resample serves all episodes, probes and backbones, so that differences pair.

Inside each replicate the statistic is averaged over the episodes. Balanced accuracy and AUROC are ratios of forms
that are linear and quadratic in the patients' counts, with denominators that no episode changes; so the mean over
episodes is taken first, and a thousand replicates cost a few matrix products.

Where a replicate lacks a class, its balanced accuracy is the mean recall of the classes that it has, and its AUROC the
mean over the classes that it has beside another. A replicate of one class only has no AUROC and is left out of the
AUROC's interval.
"""

import numpy as np

from medino.core import numpy_generator

CONFIDENCE = 0.95

POSITIVES_AT_ONCE = 512
"""Rows of the matrix of pairs that are held in memory together."""


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
        targets: (N,) true classes as integers, columns of `scores`.
        scores: (E, N, C) one score a class, one slab an episode.
        weights: (R, N) how often each unit counts in each replicate.

    Returns:
        (R,) float64; NaN for a replicate of one class only.
    """
    areas = []
    for column in np.unique(targets):
        positive, negative = np.flatnonzero(targets == column), np.flatnonzero(targets != column)
        against = weights[:, negative]
        ordered = np.zeros(len(weights))
        for start in range(0, len(positive), POSITIVES_AT_ONCE):
            some = positive[start : start + POSITIVES_AT_ONCE]
            pairs = _pairs_in_order(scores[:, some, column], scores[:, negative, column])
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


def _pairs_in_order(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """(p, n) share of episodes in which a positive scores above a negative, ties one half, of (E, p) and (E, n)."""
    share = np.zeros((positive.shape[1], negative.shape[1]), dtype=np.float32)
    for above, below in zip(positive, negative, strict=True):
        share += above[:, None] > below[None, :]
        share += above[:, None] >= below[None, :]
    return share / (2 * len(positive))


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """(R,) mean over the first axis of (C, R), NaN left out; NaN where all are."""
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    total = np.where(present, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)
