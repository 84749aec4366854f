"""Metrics of ordered targets in every resample: mean absolute error, concordance, quadratic kappa.

The mean absolute error and the concordance have denominators that no episode changes, so that the mean over episodes is
taken first and they give (R,); the quadratic kappa has not and gives (R, E).
"""

import numpy as np
from scipy.stats import kendalltau

from medino.probes.bootstrap import pairs_in_order

UNITS_AT_ONCE = 512
"""Rows of the matrix of pairs that are held in memory together."""


def absolute_error_replicates(values: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean absolute error in each replicate, averaged over episodes.

    Args:
        values: (N,) true values.
        predicted: (E, N) predicted ones, one row an episode.
        weights: (R, N) how often each unit counts in each replicate.

    Returns:
        (R,) float64; NaN for a replicate in which no unit counts.
    """
    errors = np.abs(predicted - values).mean(axis=0)
    return _share(weights.astype(np.float64) @ errors, weights.sum(axis=1, dtype=np.float64))


def concordance(values: np.ndarray, predicted: np.ndarray) -> float:
    """Harrell's C of one episode (see `concordance_replicates`), from Kendall's tau-b, which takes no pairs' matrix.

    Tau-b is the pairs in order less those in disorder, over the geometric mean of the pairs that are not tied in either
    (Kendall 1945).

    Args:
        values: (N,) true values.
        predicted: (N,) predicted ones.

    Returns:
        The concordance; NaN where all values are equal.
    """
    apart, said_apart = (
        _pairs(len(part)) - _pairs(np.unique(part, return_counts=True)[1]).sum() for part in (values, predicted)
    )
    if apart == 0:
        return float("nan")
    tau = kendalltau(values, predicted).statistic if said_apart else 0.0
    return float(0.5 + tau * np.sqrt(said_apart / apart) / 2)


def concordance_replicates(values: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Harrell's C in each replicate, averaged over episodes: the share of pairs that are predicted in the right order.

    Pairs of equal values don't count; equal predictions are half right (Harrell, Lee and Mark 1996, section 5.5). For
    two values it is the AUROC; without ties it is (Kendall's tau + 1) / 2.

    Args:
        values: (N,) true values.
        predicted: (E, N) predicted ones, one row an episode.
        weights: (R, N) how often each unit counts in each replicate.

    Returns:
        (R,) float64; NaN for a replicate of equal values only.
    """
    order = np.argsort(values, kind="stable")
    values, predicted, weights = values[order], predicted[:, order], weights[:, order]
    ordered, total = np.zeros(len(weights)), np.zeros(len(weights))
    # What lies below a unit comes before it, so that each level meets the units before its first one.
    first = np.searchsorted(values, values, side="left")
    before = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1, dtype=np.float64)], axis=1)
    for start in range(0, len(values), UNITS_AT_ONCE):
        some = slice(start, min(start + UNITS_AT_ONCE, len(values)))
        below = int(first[some][-1])
        counted = weights[:, some]
        total += np.einsum("ru,ru->r", counted, before[:, first[some]], dtype=np.float64)
        if below:
            pairs = pairs_in_order(predicted[:, some], predicted[:, :below])
            pairs *= np.arange(below) < first[some, None]
            ordered += np.einsum("ru,ru->r", counted, weights[:, :below] @ pairs.T, dtype=np.float64)
    return _share(ordered, total)


def quadratic_kappa(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights (Cohen 1968), of classes that have an order.

    1 - (mean squared distance of prediction and truth) / (the same if the two were independent), in steps between
    classes.

    Args:
        targets: (N,) true classes as integers, in order.
        predicted: (E, N) predicted classes, one row an episode.
        weights: (R, N) how often each unit counts in each resample.

    Returns:
        (R, E) float64; NaN for a resample of one class only.
    """
    counts = weights.astype(np.float64)
    true, said = targets.astype(np.float64), predicted.T.astype(np.float64)
    count, sum_true, square_true = (part[:, None] for part in (counts.sum(axis=1), counts @ true, counts @ true**2))
    sum_said, square_said = counts @ said, counts @ said**2
    apart = count * (counts @ (said - true[:, None]) ** 2)
    expected = count * (square_true + square_said) - 2 * sum_true * sum_said
    # Sums of whole numbers, so that the comparison is exact.
    several = count * square_true > sum_true**2
    return 1 - np.divide(apart, expected, out=np.full(apart.shape, np.nan), where=several)


def _pairs(count: np.ndarray | int) -> np.ndarray:
    """Pairs among so many."""
    return np.asarray(count, dtype=np.float64) * (np.asarray(count) - 1) / 2


def _share(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    """(R,) part / total; NaN where the total is 0."""
    return np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0)
