"""Multinomial logistic regression with an L2 penalty, the fits of many episodes at once.

The features are centred by the support's mean and divided by one number, the root mean square distance from it, so that
a strength of regularisation means the same for every backbone. The solution lies in the span of the support, so a
fit has at most as many dimensions as there are support vectors; the fits of all episodes, folds and strengths run as
one batch, preconditioned by Bohning's bound on the Hessian.

C, the weight of the summed loss against half the squared weights (scikit-learn's C), is chosen on the support set
alone: by the loss of left-out folds. With one shot a class nothing can be left out, and C is 1.
"""

import numpy as np
import torch
import torch.nn.functional as F

from medino.probes.lbfgs import minimise

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The values of C that are tried, for features of mean square length 1."""

STRENGTH_AT_ONE_SHOT = 1.0

FOLDS = 5
"""Folds of the support set, at most; with fewer shots each fold leaves out one unit a class."""

NUMBERS_AT_ONCE = 2_000_000
"""Parameters or logits of one batch of fits; some thirty arrays of them are in memory together."""

CHOOSING_TOLERANCE, FINAL_TOLERANCE = 1e-3, 1e-8
"""How far the gradient has to fall, for the fits that only choose C and for the last one."""


def logistic(support: np.ndarray, classes: np.ndarray, queries: np.ndarray, num_classes: int) -> np.ndarray:
    """Probabilities by logistic regression, C chosen by folds of each episode's support set.

    Args:
        support: (E, S, D) labelled vectors of E episodes.
        classes: (S,) their classes, the same in every episode.
        queries: (Q, D).
        num_classes: C.

    Returns:
        (E, Q, C) probabilities.
    """
    fits = len(STRENGTHS) * FOLDS * num_classes
    numbers = fits * max(support.shape[1], min(support.shape[1:]) + 1)
    at_once = max(1, NUMBERS_AT_ONCE // numbers)
    labels = torch.from_numpy(np.asarray(classes, dtype=np.int64))
    targets = F.one_hot(labels, num_classes).double()
    results = []
    for start in range(0, len(support), at_once):
        known, unknown = principal_coordinates(support[start : start + at_once], queries)
        strengths = choose_strength(known, targets)
        weights = fit_logistic(known, targets, strengths[:, None], torch.ones(1, len(targets), dtype=torch.float64))
        results.append(torch.softmax(torch.einsum("eqp,ekp->eqk", unknown, weights[:, 0]), dim=-1))
    return torch.cat(results).numpy()


def principal_coordinates(support: np.ndarray, queries: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors along the principal axes of each episode's centred and scaled support, with a last column of ones.

    Args:
        support: (E, S, D).
        queries: (Q, D).

    Returns:
        (E, S, r + 1) and (E, Q, r + 1), r the smaller of S and D.
    """
    vectors = torch.from_numpy(np.asarray(support, dtype=np.float64))
    centre = vectors.mean(dim=1, keepdim=True)
    vectors = vectors - centre
    scale = (vectors**2).sum(dim=2).mean(dim=1).sqrt()[:, None, None]
    scale = torch.where(scale > 0, scale, 1.0)
    vectors = vectors / scale
    unknown = (torch.from_numpy(np.asarray(queries, dtype=np.float64)) - centre) / scale
    if vectors.shape[1] <= vectors.shape[2]:
        squares, sides = torch.linalg.eigh(vectors @ vectors.mT)
        # Axes along which the support has no extent carry no weight; their direction is rounding.
        present = squares > 1e-10 * squares[:, -1:].clamp_min(1e-300)
        inverse = torch.where(present, squares.clamp_min(1e-300).rsqrt(), 0.0)
        axes = vectors.mT @ (sides * inverse[:, None, :])
    else:
        _, axes = torch.linalg.eigh(vectors.mT @ vectors)
    return F.pad(vectors @ axes, (0, 1), value=1.0), F.pad(unknown @ axes, (0, 1), value=1.0)


def choose_strength(support: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The C of least cross-entropy on left-out folds of the support set; the smallest such C.

    Args:
        support: (E, S, P) as `principal_coordinates` gives them.
        targets: (S, K) one-hot classes; within a class the order decides the fold.

    Returns:
        (E,) float64.
    """
    place = ((targets.cumsum(dim=0) - 1) * targets).sum(dim=1).long()
    folds = min(FOLDS, int(targets.sum(dim=0).min()))
    if folds < 2:
        return torch.full((len(support),), STRENGTH_AT_ONE_SHOT, dtype=support.dtype)
    left_out = torch.stack([(place % folds == fold).double() for fold in range(folds)])
    strengths = torch.tensor(STRENGTHS, dtype=support.dtype).repeat_interleave(folds).expand(len(support), -1)
    rows = left_out.repeat(len(STRENGTHS), 1)
    weights = fit_logistic(support, targets, strengths, 1 - rows, tolerance=CHOOSING_TOLERANCE)
    log_shares = F.log_softmax(torch.einsum("esp,emkp->emsk", support, weights), dim=-1)
    loss = -(rows[None, :, :, None] * targets * log_shares).sum(dim=(2, 3))
    best = loss.reshape(len(support), len(STRENGTHS), folds).sum(dim=2).argmin(dim=1)
    return torch.tensor(STRENGTHS, dtype=support.dtype)[best]


def fit_logistic(
    support: torch.Tensor,
    targets: torch.Tensor,
    strengths: torch.Tensor,
    included: torch.Tensor,
    tolerance: float = FINAL_TOLERANCE,
) -> torch.Tensor:
    """Minimise `C * sum of cross-entropies + ||weights||^2 / 2`, M fits for each of E episodes.

    Args:
        support: (E, S, P) float64; the last column is 1, for the intercept, which is not penalised.
        targets: (S, K) one-hot classes.
        strengths: (E, M) the C of each fit.
        included: (M, S) 1 where a fit uses a vector, 0 where it leaves it out.
        tolerance: share of the first gradient at which a fit is done.

    Returns:
        (E, M, K, P) weights.
    """
    episodes, vectors, size = support.shape
    fits, classes = strengths.shape[1], targets.shape[1]
    penalty = torch.ones(size, dtype=support.dtype)
    penalty[-1] = 0
    # A softmax's cross-entropy has a Hessian of at most 1/2 in the logits (Bohning 1992).
    bound = penalty + strengths[:, :, None] * (support**2).sum(dim=1)[:, None, :] / 2
    scale = bound.rsqrt()[:, :, None, :]
    weight = (strengths[:, :, None] * included)[..., None]

    def evaluate(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = points.reshape(episodes, fits, classes, size) * scale
        logits = torch.bmm(support, weights.reshape(episodes, fits * classes, size).mT)
        logits = logits.reshape(episodes, vectors, fits, classes).transpose(1, 2)
        log_shares = F.log_softmax(logits, dim=-1)
        loss = -(weight * targets * log_shares).sum(dim=(2, 3)) + (penalty * weights**2).sum(dim=(2, 3)) / 2
        residual = (weight * (log_shares.exp() - targets)).transpose(1, 2)
        gradient = torch.bmm(residual.reshape(episodes, vectors, fits * classes).mT, support)
        gradient = (gradient.reshape(episodes, fits, classes, size) + penalty * weights) * scale
        return loss.flatten(), gradient.reshape(episodes * fits, classes * size)

    start = torch.zeros(episodes * fits, classes * size, dtype=support.dtype)
    return minimise(evaluate, start, tolerance).reshape(episodes, fits, classes, size) * scale
