"""Multinomial logistic regression with an L2 penalty, the fits of many episodes at once.

All episodes, folds and strengths of regularisation run as one batch in the span of their support sets (see `Span`).

C, the weight of the summed loss against half the squared weights (scikit-learn's C), is chosen on the support set
alone: by the loss of left-out folds, which are of whole patients. Where a class has one patient nothing can be left
out, and C is 1.
"""

import numpy as np
import torch
import torch.nn.functional as F

from medino.probes.folds import FOLDS, inner_folds
from medino.probes.newton import minimise_logistic
from medino.probes.span import Span

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The values of C that are tried, for features of mean square length 1."""

PRIOR_STRENGTH = 1.0
"""Where a class has one patient."""

NUMBERS_AT_ONCE = 250_000
"""Parameters or logits of one batch of fits: some twenty arrays of them, which is what a processor's cache holds."""

MOST_NUMBERS = 8_000_000
"""The same of one episode with very many classes, whose fits then run some at a time: 64 MB an array."""

CHOOSING_TOLERANCE, FINAL_TOLERANCE = 1e-4, 1e-9
"""Largest share that a loss may lie above its minimum, for the fits that only choose C and for the last one."""


def logistic(
    support: np.ndarray,
    classes: np.ndarray,
    queries: np.ndarray,
    num_classes: int,
    patients: np.ndarray | None = None,
) -> np.ndarray:
    """Probabilities by logistic regression, C chosen by folds of each episode's support set.

    Args:
        support: (E, S, D) labelled vectors of E episodes.
        classes: (S,) their classes, the same in every episode.
        queries: (Q, D).
        num_classes: C.
        patients: (E, S) integers: whose each support vector is; each another patient's if None.

    Returns:
        (E, Q, C) probabilities.
    """
    owners = np.broadcast_to(np.arange(len(classes)), support.shape[:2]) if patients is None else patients
    labels = torch.from_numpy(np.asarray(classes, dtype=np.int64))
    targets = F.one_hot(labels, num_classes).double()
    everything = torch.ones(1, len(targets), dtype=torch.float64)
    at_once = episodes_at_once(support.shape, len(STRENGTHS) * FOLDS * num_classes)
    unknown = torch.as_tensor(queries, dtype=torch.float64)
    results = []
    for start in range(0, len(support), at_once):
        some = slice(start, start + at_once)
        span = Span.of(support[some])
        strengths = choose_strength(span.coordinates, targets, inner_folds(targets, owners[some]))
        weights = fit_logistic(span.coordinates, targets, strengths[:, None], everything)
        results.append(torch.softmax(span.outputs(unknown, weights[:, 0]).mT, dim=-1))
    return torch.cat(results).numpy()


def episodes_at_once(support: tuple[int, ...], outputs: int) -> int:
    """How many episodes to fit together.

    Args:
        support: the shape (E, S, D) of their support sets.
        outputs: linear functions that are fitted in each.
    """
    return max(1, NUMBERS_AT_ONCE // (outputs * max(support[1], min(support[1:]) + 1)))


def choose_strength(support: torch.Tensor, targets: torch.Tensor, left_out: torch.Tensor) -> torch.Tensor:
    """The C of least cross-entropy on left-out folds of the support set, the smallest such C; 1 without folds.

    Args:
        support: (E, S, P) coordinates in their span.
        targets: (S, K) one-hot classes.
        left_out: (E, F, S) 1 where a fold leaves a vector out, 0 elsewhere (see `inner_folds`).

    Returns:
        (E,) float64.
    """
    folds = left_out.shape[1]
    if not folds:
        return torch.full((len(support),), PRIOR_STRENGTH, dtype=support.dtype)
    strengths = torch.tensor(STRENGTHS, dtype=support.dtype).repeat_interleave(folds).expand(len(support), -1)
    rows = left_out.repeat(1, len(STRENGTHS), 1)
    at_once = max(1, MOST_NUMBERS // (len(support) * targets.shape[1] * max(support.shape[1:])))
    losses = []
    for some in torch.arange(rows.shape[1]).split(at_once):
        weights = fit_logistic(support, targets, strengths[:, some], 1 - rows[:, some], tolerance=CHOOSING_TOLERANCE)
        log_shares = F.log_softmax(torch.einsum("esp,emkp->emsk", support, weights), dim=-1)
        losses.append(-(rows[:, some, :, None] * targets * log_shares).sum(dim=(2, 3)))
    loss = torch.cat(losses, dim=1)
    best = loss.reshape(len(support), len(STRENGTHS), folds).sum(dim=2).argmin(dim=1)
    chosen = torch.tensor(STRENGTHS, dtype=support.dtype)[best]
    return torch.where(left_out.any(dim=2).any(dim=1), chosen, PRIOR_STRENGTH)


def fit_logistic(
    support: torch.Tensor,
    targets: torch.Tensor,
    strengths: torch.Tensor,
    included: torch.Tensor,
    tolerance: float = FINAL_TOLERANCE,
) -> torch.Tensor:
    """Minimise `C * sum of cross-entropies + ||weights||^2 / 2`, M fits for each of E episodes.

    Args:
        support: (E, S, P) coordinates in their span.
        targets: (S, K) one-hot classes.
        strengths: (E, M) the C of each fit.
        included: (M, S), or (E, M, S) where episodes differ: 1 where a fit uses a vector, 0 where it leaves it out.
        tolerance: largest share of the loss that may still be gained.

    Returns:
        (E, M, K, P) weights.
    """
    return minimise_logistic(support, targets, strengths[:, None, :] * included.mT, tolerance)
