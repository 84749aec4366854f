"""All metrics that a kind of target is measured by: of each episode, and averaged over episodes in each resample."""

import numpy as np

from medino.probes.bootstrap import auroc_replicates, balanced_accuracy_replicates
from medino.probes.metrics import balanced_accuracy, macro_auroc
from medino.probes.ordered import absolute_error_replicates, concordance, concordance_replicates, quadratic_kappa
from medino.probes.resampled import (
    brier_score,
    calibration_error,
    cohen_kappa,
    label_f1,
    macro_auprc,
    macro_f1,
)

Measured = tuple[np.ndarray, np.ndarray]
"""A metric of each episode (E,), and averaged over episodes in each resample (R,)."""

SUM_TOLERANCE = 1e-3
"""Furthest from 1 that the scores of a unit may sum to and still be probabilities."""

PREDICTED_ABOVE = 0.5
"""Probability above which a label is predicted."""


def class_measures(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, Measured]:
    """Metrics of classes; the class of highest score is the one predicted.

    The Brier score and the calibration error are left out where the scores are no probabilities.

    Args:
        targets: (N,) true classes as integers, columns of `scores`.
        scores: (E, N, C) one score a class, one slab an episode.
        weights: (R, N) how often each unit counts in each resample; once in the first.
    """
    predicted = scores.argmax(axis=2)
    measured = {
        "balanced_accuracy": (
            np.array([balanced_accuracy(targets, row) for row in predicted]),
            balanced_accuracy_replicates(targets, predicted, weights),
        ),
        "auroc": _auroc(targets, scores, weights),
        "auprc": _averaged(macro_auprc(targets, scores, weights)),
        "macro_f1": _averaged(macro_f1(targets, predicted, weights)),
        "kappa": _averaged(cohen_kappa(targets, predicted, weights)),
    }
    if are_probabilities(scores):
        measured["brier"] = _averaged(brier_score(targets, scores, weights))
        measured["calibration_error"] = _averaged(calibration_error(targets, scores, weights))
    return measured


def ordinal_measures(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, Measured]:
    """What the order of the classes adds: mean absolute error in steps, quadratic kappa, concordance.

    The first two look at the class predicted. The concordance looks at the expected place, the mean of the places
    weighted by their probabilities; at the class predicted where the scores are no probabilities. Arguments as for
    `class_measures`, the classes in order.
    """
    predicted = scores.argmax(axis=2)
    places = scores @ np.arange(scores.shape[2], dtype=np.float64) if are_probabilities(scores) else predicted
    return {
        "mae": _absolute_error(targets, predicted, weights),
        "quadratic_kappa": _averaged(quadratic_kappa(targets, predicted, weights)),
        "concordance": _concordance(targets, places, weights),
    }


def label_measures(member: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, Measured]:
    """Means over labels, of units that may have several.

    Args:
        member: (N, L) whether each unit has each label.
        scores: (E, N, L) probabilities of the labels, one slab an episode.
        weights: (R, N) how often each unit counts in each resample; once in the first.
    """
    return {
        "auroc": _auroc(member, scores, weights),
        "auprc": _averaged(macro_auprc(member, scores, weights)),
        "macro_f1": _averaged(label_f1(member, scores > PREDICTED_ABOVE, weights)),
    }


def value_measures(values: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict[str, Measured]:
    """Mean absolute error, in the unit of the values, and concordance.

    Args:
        values: (N,) true values.
        predicted: (E, N) predicted ones, one row an episode.
        weights: (R, N) how often each unit counts in each resample.
    """
    return {
        "mae": _absolute_error(values, predicted, weights),
        "concordance": _concordance(values, predicted, weights),
    }


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether the scores (E, N, C) of each unit are none below 0 and sum to 1."""
    return bool(scores.min() >= 0 and np.abs(scores.sum(axis=2) - 1).max() <= SUM_TOLERANCE)


def _auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Measured:
    return np.array([macro_auroc(targets, slab) for slab in scores]), auroc_replicates(targets, scores, weights)


def _averaged(values: np.ndarray) -> Measured:
    """Of what (R, E) resamples and episodes come to, the first resample being all units once."""
    return values[0], values.mean(axis=1)


def _absolute_error(values: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Measured:
    return np.abs(predicted - values).mean(axis=1), absolute_error_replicates(values, predicted, weights)


def _concordance(values: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Measured:
    episodes = np.array([concordance(values, row) for row in predicted])
    return episodes, concordance_replicates(values, predicted, weights)
