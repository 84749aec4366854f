"""Inner folds: parts of a support set that are left out in turn, to choose a setting on the support set alone."""

import torch

FOLDS = 5
"""Folds of the support set, at most; with fewer shots each fold leaves out one unit a class."""


def inner_folds(targets: torch.Tensor) -> torch.Tensor:
    """Which vectors each fold leaves out: of every class the same number, give or take one.

    Args:
        targets: (S, K) one-hot classes; within a class the order decides the fold.

    Returns:
        (F, S) 1 where a fold leaves a vector out, 0 elsewhere. With one vector a class nothing can be left out, and F
        is 0.
    """
    place = ((targets.cumsum(dim=0) - 1) * targets).sum(dim=1).long()
    folds = min(FOLDS, int(targets.sum(dim=0).min()))
    if folds < 2:
        return targets.new_zeros(0, len(targets))
    return (place % folds == torch.arange(folds)[:, None]).to(targets.dtype)
