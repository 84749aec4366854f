"""Metrics of every episode in every resample, where each episode has a denominator of its own.

All take how often each unit counts in each resample and give (R, E). A row of ones gives the metrics themselves. The
cost grows with resamples x episodes x units and not with the number of classes: what a resample sums over a group of
units is one sparse product.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from medino.probes.metrics import membership

BINS = 15
"""Bins of confidence of equal width (Guo et al. 2017, On Calibration of Modern Neural Networks, section 5)."""

TOTALS_AT_ONCE = 20_000_000
"""Sums over groups that are held in memory together."""


def macro_f1(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur in the resample of F1 = 2 TP / (true + predicted) (van Rijsbergen 1979).

    Args:
        targets: (N,) true classes as integers.
        predicted: (E, N) predicted classes, one row an episode.
        weights: (R, N) how often each unit counts in each resample.

    Returns:
        (R, E) float64; NaN for a resample in which no unit counts.
    """
    parts = []
    for some in _in_parts(predicted, int(max(targets.max(), predicted.max())) + 1, len(weights)):
        true, said, both = _agreement(targets, some, weights)
        scores = 2 * both / np.maximum(true[:, None] + said, 1)
        present = (true > 0).sum(axis=1).astype(float)
        present[present == 0] = np.nan
        parts.append(np.where((true > 0)[:, None], scores, 0).sum(axis=2) / present[:, None])
    return np.concatenate(parts, axis=1)


def label_f1(member: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the labels that occur in the resample of each one's F1, for units that may have several labels.

    Args:
        member: (N, L) whether each unit has each label.
        predicted: (E, N, L) whether it is said to have it, one slab an episode.
        weights: (R, N) how often each unit counts in each resample.

    Returns:
        (R, E) float64; NaN for a resample without any label.
    """
    area = np.zeros((len(weights), len(predicted)))
    present = np.zeros((len(weights), 1))
    for label, said in enumerate(np.moveaxis(predicted, 2, 0)):
        of_label = member[:, label]
        true = weights[:, of_label].sum(axis=1, dtype=np.float64)[:, None]
        found = weights[:, of_label] @ said[:, of_label].T.astype(np.float64)
        every = weights @ said.T.astype(np.float64)
        present += true > 0
        area += 2 * found / np.maximum(true + every, 1)
    return np.divide(area, present, out=np.full(area.shape, np.nan), where=present > 0)


def cohen_kappa(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Agreement beyond chance, (observed - expected) / (1 - expected) (Cohen 1960), unweighted.

    Args:
        targets: (N,) true classes as integers.
        predicted: (E, N) predicted classes, one row an episode.
        weights: (R, N) how often each unit counts in each resample.

    Returns:
        (R, E) float64; NaN for a resample of one class only.
    """
    parts = []
    for some in _in_parts(predicted, int(max(targets.max(), predicted.max())) + 1, len(weights)):
        true, said, both = _agreement(targets, some, weights)
        count = true.sum(axis=1)
        count[(true > 0).sum(axis=1) < 2] = np.nan
        observed = both.sum(axis=2) / count[:, None]
        expected = (true[:, None] * said).sum(axis=2) / (count**2)[:, None]
        parts.append((observed - expected) / (1 - expected))
    return np.concatenate(parts, axis=1)


def brier_score(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared distance of the probabilities to the truth, summed over classes: 0 to 2 (Brier 1950).

    With two classes it is twice the binary score that counts the positive class alone.

    Args:
        targets: (N,) true classes as integers, columns of `scores`.
        scores: (E, N, C) probabilities, one slab an episode.
        weights: (R, N) how often each unit counts in each resample.

    Returns:
        (R, E) float64; NaN for a resample in which no unit counts.
    """
    true = np.take_along_axis(scores, targets[None, :, None], axis=2)[..., 0].astype(np.float64)
    distances = (scores.astype(np.float64) ** 2).sum(axis=2) - 2 * true + 1
    return weights.astype(np.float64) @ distances.T / _count(weights)


def calibration_error(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error: |accuracy - mean confidence| of 15 bins of confidence, weighted by their share.

    The confidence is the highest probability; the bins have equal width and hold their upper end (Naeini et al. 2015;
    Guo et al. 2017, equation 3). With few units it is biased upwards: what a bin misses by chance counts as error.

    Args:
        targets: (N,) true classes as integers, columns of `scores`.
        scores: (E, N, C) probabilities, one slab an episode.
        weights: (R, N) how often each unit counts in each resample.

    Returns:
        (R, E) float64; NaN for a resample in which no unit counts.
    """
    confidence = scores.max(axis=2).astype(np.float64)
    excess = confidence - (scores.argmax(axis=2) == targets)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    totals = [
        np.abs(_totals(weights, some, BINS, values)).sum(axis=2)
        for some, values in zip(_in_parts(bins, BINS, len(weights)), _in_parts(excess, BINS, len(weights)), strict=True)
    ]
    return np.concatenate(totals, axis=1) / _count(weights)


def macro_auprc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the average precision, each class against the rest.

    Average precision is the mean, over the units of the class, of the precision at each one's score: the area under
    the precision-recall curve by steps, without interpolation (Davis and Goadrich 2006 on why not).

    Args:
        targets: (N,) true classes as integers, columns of `scores`; or (N, C) whether each label is there.
        scores: (E, N, C) one score a class, one slab an episode.
        weights: (R, N) how often each unit counts in each resample.

    Returns:
        (R, E) float64, the mean over the classes that occur and are not the only one; NaN where there is none.
    """
    counts = torch.from_numpy(np.ascontiguousarray(weights.T, dtype=np.float32))
    everything = weights.sum(axis=1)
    area = np.zeros((len(weights), len(scores)))
    classes = np.zeros(len(weights))
    member = membership(targets, scores.shape[2])
    for column in np.flatnonzero(member.any(axis=0)):
        of_class = member[:, column]
        total = weights[:, of_class].sum(axis=1)
        present = (total > 0) & (total < everything)
        classes += present
        for episode, slab in enumerate(scores):
            precision = _precisions(slab[:, column], of_class, counts)
            area[:, episode] += np.where(present, precision / np.maximum(total, 1), 0)
    classes[classes == 0] = np.nan
    return area / classes[:, None]


def _precisions(scores: np.ndarray, positive: np.ndarray, counts: torch.Tensor) -> np.ndarray:
    """(R,) sum over the positives of the precision at each one's score, of (N,) scores and (N, R) counts."""
    # Only the positives' own scores are thresholds; a unit enters at the highest of them that does not exceed its own.
    thresholds, level = np.unique(-scores[positive], return_inverse=True)
    enters = np.searchsorted(thresholds, -scores, side="left")
    some = np.flatnonzero(enters < len(thresholds))
    right = _summed(counts, np.flatnonzero(positive), level, len(thresholds))
    found, said = right.copy(), _summed(counts, some, enters[some], len(thresholds))
    for rows in (found, said):
        _run_up(rows)
    np.divide(found, np.maximum(said, 1, out=said), out=found)
    return np.einsum("lr,lr->r", found, right)


def _summed(counts: torch.Tensor, units: np.ndarray, levels: np.ndarray, number: int) -> np.ndarray:
    """(L, R) sums of the rows of (N, R) counts that are at each of L levels, none of which is empty."""
    order = np.argsort(levels, kind="stable")
    starts = torch.from_numpy(np.searchsorted(levels[order], np.arange(number)))
    # Whole numbers below 2^24, whose float32 sums are exact in any order.
    return F.embedding_bag(torch.from_numpy(units[order]), counts, starts, mode="sum").numpy()


def _run_up(rows: np.ndarray) -> None:
    """Running sums down the columns, in place; row by row, which is some times faster than NumPy's or PyTorch's."""
    for above, row in pairwise(rows):
        np.add(row, above, out=row)


def _agreement(
    targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R, C) units of each class, (R, E, C) predicted as each class, and (R, E, C) rightly so."""
    classes = int(max(targets.max(), predicted.max())) + 1
    true = _totals(weights, targets[None], classes, np.ones((1, len(targets))))[:, 0]
    said = _totals(weights, predicted, classes, np.ones(predicted.shape))
    both = _totals(weights, predicted, classes, (predicted == targets).astype(np.float64))
    return true, said, both


def _totals(weights: np.ndarray, groups: np.ndarray, number: int, values: np.ndarray) -> np.ndarray:
    """Sum values over groups of units, in each resample and episode.

    Args:
        weights: (R, N).
        groups: (E, N) the group of each unit in each episode.
        number: of groups (G).
        values: (E, N) what is summed.

    Returns:
        (R, E, G) float64.
    """
    episodes, units = groups.shape
    rows = (groups + number * np.arange(episodes)[:, None]).ravel()
    columns = np.tile(np.arange(units), episodes)
    present = values.ravel() != 0
    matrix = csr_array((values.ravel()[present], (rows[present], columns[present])), shape=(episodes * number, units))
    return (matrix @ weights.T.astype(np.float64)).T.reshape(len(weights), episodes, number)


def _in_parts(values: np.ndarray, groups: int, resamples: int) -> list[np.ndarray]:
    """Rows of (E, N), as many at once as their totals fit into memory."""
    at_once = max(1, TOTALS_AT_ONCE // (groups * resamples))
    return [values[start : start + at_once] for start in range(0, len(values), at_once)]


def _count(weights: np.ndarray) -> np.ndarray:
    """(R, 1) units that count in each resample; NaN where none does."""
    count = weights.sum(axis=1, dtype=np.float64, keepdims=True)
    return np.where(count > 0, count, np.nan)
