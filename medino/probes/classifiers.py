"""Probes without a fit: k nearest neighbours and nearest class mean.

A probe is a function of the support vectors of several episodes, their classes, the query vectors and the number of
classes; it returns one score a class for each episode and query, which sum to 1. It never sees the queries' classes.
"""

import numpy as np

from medino.features.neighbours import DECIMALS, unit

NEIGHBOURS = 20
"""Most neighbours that vote; never more than there are shots (DINOv2's evaluation: k of 10, 20, 100, 200)."""

TEMPERATURE = 0.07
"""Of the votes' softmax (DINO's and DINOv2's k-NN evaluation)."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def knn(support: np.ndarray, classes: np.ndarray, queries: np.ndarray, num_classes: int) -> np.ndarray:
    """Votes of the nearest support vectors by cosine, weighted by softmax(similarity / 0.07) over those nearest.

    Args:
        support: (E, S, D) labelled vectors of E episodes.
        classes: (S,) their classes, the same in every episode.
        queries: (Q, D).
        num_classes: C.

    Returns:
        (E, Q, C) votes; k is the number of shots (of the rarest class), at most 20.
    """
    k = min(NEIGHBOURS, int(np.min(np.bincount(classes, minlength=num_classes))))
    member = np.eye(num_classes)[classes]
    directions = unit(queries)
    votes = []
    for labelled in support:
        similarity = np.round(directions @ unit(labelled).T, DECIMALS)
        # A stable sort: among equals the first support vector, on every machine.
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        shares = softmax(np.take_along_axis(similarity, nearest, axis=1) / TEMPERATURE)
        votes.append(np.einsum("qk,qkc->qc", shares, member[nearest]))
    return np.stack(votes)


def nearest_mean(support: np.ndarray, classes: np.ndarray, queries: np.ndarray, num_classes: int) -> np.ndarray:
    """SimpleShot (arXiv 1911.04623): centred by the support's mean, L2-normalised, nearest class mean.

    Args:
        support: (E, S, D) labelled vectors of E episodes.
        classes: (S,) their classes, the same in every episode.
        queries: (Q, D).
        num_classes: C.

    Returns:
        (E, Q, C) softmax of the negative squared distances to the class means.
    """
    scores = []
    for labelled in support:
        # In float64 the mean of equal float32 vectors is that vector, and not rounding beside it.
        centre = labelled.mean(axis=0, dtype=np.float64)
        labelled, unknown = unit(labelled - centre), unit(queries - centre)
        means = np.stack([labelled[classes == which].mean(axis=0) for which in range(num_classes)])
        scores.append(softmax(2 * unknown @ means.T - (means**2).sum(axis=1)))
    return np.stack(scores)
