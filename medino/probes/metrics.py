"""Balanced accuracy and macro AUROC, over the classes that are there, weighted where samples count twice."""

import numpy as np


def membership(targets: np.ndarray, classes: int) -> np.ndarray:
    """(N, C) whether each unit is of each class: of (N,) classes as integers, or of labels given so already."""
    return targets if targets.ndim == 2 else targets[:, None] == np.arange(classes)


def balanced_accuracy(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean recall over the classes that occur among `targets`.

    Args:
        targets: (N,) true classes.
        predicted: (N,) predicted classes.
        weights: (N,) how often each sample counts; 1 if None.

    Returns:
        The mean recall; NaN where no sample counts.
    """
    weights = np.ones(len(targets)) if weights is None else np.asarray(weights, dtype=float)
    recalls = []
    for target in np.unique(targets):
        of_class = targets == target
        if weights[of_class].sum() > 0:
            recalls.append(np.average(predicted[of_class] == target, weights=weights[of_class]))
    return float(np.mean(recalls)) if recalls else float("nan")


def macro_auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean over classes of the area under the one-against-rest ROC curve; ties count one half.

    Args:
        targets: (N,) true classes as integers, columns of `scores`; or (N, C) whether each label is there.
        scores: (N, C) one score a class.
        weights: (N,) how often each sample counts; 1 if None.

    Returns:
        The mean over the classes that occur and are not the only one; NaN where there is none.
    """
    weights = np.ones(len(targets)) if weights is None else np.asarray(weights, dtype=float)
    areas = []
    for column, of_class in enumerate(membership(targets, scores.shape[1]).T):
        positive, negative = weights * of_class, weights * ~of_class
        if positive.sum() > 0 and negative.sum() > 0:
            areas.append(_area(scores[:, column], positive, negative))
    return float(np.mean(areas)) if areas else float("nan")


def _area(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, from ranks (the Mann-Whitney statistic)."""
    _, level = np.unique(scores, return_inverse=True)
    positive_at = np.bincount(level, weights=positive)
    negative_at = np.bincount(level, weights=negative)
    below = np.cumsum(negative_at) - negative_at
    return float(positive_at @ (below + negative_at / 2) / (positive.sum() * negative.sum()))
