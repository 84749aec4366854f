"""DINOv2's linear evaluation: heads of several features and learning rates, all trained together, the best one kept.

Features times learning rates are 52 heads (dinov2/eval/linear.py): class tokens of the last block or of the last four,
with or without the last block's mean patch token, times 13 learning rates; SGD with momentum and a cosine, no weight
decay. Three things differ from the reference, each because it has 1.3 million labels and a study a handful:

- It keeps the head that is best on the set that it reports. Here a head is chosen on inner folds of each episode's
  support set, by cross-entropy (with few units many heads are right equally often), and reported on the test units.
  The manifest's validation split is left alone: a study of five shots whose setting was chosen on hundreds of labels
  would not be one of five shots. Where a class has one patient nothing can be left out, and one head stands for all.
- Features are centred by the support's mean and divided by one number, so that a learning rate means the same for
  every backbone and floor. The mean square of a feature is 1 then, as a LayerNorm leaves it.
- Weights start at zero and not at noise, and a batch is the whole support set.

Each step from zero adds a combination of the support vectors, so that a head is one number for each vector and class,
whatever the features' width, and a step of all heads, folds and episodes is one product with the vectors' inner
products. The weights are those of training each head by itself, up to rounding.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from medino.probes.episodes import Episodes
from medino.probes.folds import inner_folds
from medino.probes.newton import apply
from medino.probes.sources import FeatureSource

FEATURES_TRIED = ("class", "class_and_mean_patch", "last_four", "last_four_and_mean_patch")
"""Those that a table has are tried; a floor has one vector an image, which stands for all."""

RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
"""Learning rates for a batch of 256; multiplied by batch / 256."""

PRIOR_RATE = 1e-3
"""Where a class has one patient, with the first of the features; the middle of the grid."""

LARGEST_BATCH = 1024
"""The reference's own (128 on each of 8 GPUs); a larger support set makes its steps no longer."""

MOMENTUM, STEPS = 0.9, 200

NUMBERS_AT_ONCE = 250_000
"""Coefficients of one batch of fits: some five arrays of them, which is what a processor's cache holds."""


def linear_grid(source: FeatureSource, episodes: Episodes) -> np.ndarray:
    """(E, Q, C) probabilities by the head that is best on inner folds of each episode's support set."""
    targets = F.one_hot(torch.from_numpy(episodes.classes), episodes.num_classes).float()
    folds = inner_folds(targets, episodes.patients)
    tried = source.table.offered(FEATURES_TRIED)
    if not folds.shape[1]:
        tried = tried[:1]
    least = torch.full((len(episodes.support), 1, 1), math.inf)
    scores = torch.zeros(len(episodes.support), len(episodes.test), episodes.num_classes)
    for features in tried:
        vectors = torch.from_numpy(source.vectors_of(features))
        queries = vectors[episodes.test]
        for some in _episodes_at_once(len(episodes.support), targets, folds.shape[1]):
            loss, found = best_head(vectors[episodes.support[some]], targets, queries, folds[some])
            scores[some] = torch.where(loss < least[some], found, scores[some])
            least[some] = torch.minimum(loss, least[some])
    return scores.numpy()


def best_head(
    support: torch.Tensor, targets: torch.Tensor, queries: torch.Tensor, folds: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose a learning rate on inner folds, and train with it on all of the support.

    Args:
        support: (E, S, D).
        targets: (S, C) one-hot classes.
        queries: (Q, D).
        folds: (E, F, S) 1 where a fold leaves a vector out.

    Returns:
        (E, 1, 1) the mean cross-entropy of what was left out, 0 where nothing is, and (E, Q, C) probabilities.
    """
    centre = support.mean(dim=1, keepdim=True)
    support = support - centre
    scale = (support**2).mean(dim=(1, 2), keepdim=True).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    support = support / scale
    # The constant is the intercept's own input.
    products = support @ support.mT + 1
    if folds.shape[1]:
        losses = left_out_losses(products, targets, folds)
        chosen = torch.tensor(RATES)[losses.argmin(dim=1)]
        loss, rate = losses.min(dim=1).values, torch.where(folds.any(dim=2).any(dim=1), chosen, PRIOR_RATE)
    else:
        loss, rate = torch.zeros(len(support)), torch.full((len(support),), PRIOR_RATE)
    coefficients = train_heads(products, targets, rate[:, None], torch.ones(1, len(targets)))[:, :, 0]
    weights = support.mT @ coefficients / scale
    intercept = coefficients.sum(dim=1, keepdim=True) - centre @ weights
    logits = torch.einsum("qd,edc->eqc", queries, weights) + intercept
    return loss[:, None, None], logits.softmax(dim=-1)


def left_out_losses(products: torch.Tensor, targets: torch.Tensor, folds: torch.Tensor) -> torch.Tensor:
    """(E, R) mean cross-entropy of left-out vectors by learning rate; arguments as in `best_head` and `train_heads`."""
    losses = []
    count = folds.shape[1]
    at_once = max(1, NUMBERS_AT_ONCE // (count * targets.numel()))
    for rates in torch.tensor(RATES).split(at_once):
        left_out = folds.repeat(1, len(rates), 1)
        each = rates.repeat_interleave(count).expand(len(products), -1)
        coefficients = train_heads(products, targets, each, 1 - left_out)
        log_shares = F.log_softmax(apply(products, coefficients), dim=-1)
        loss = -(log_shares * targets[:, None]).sum(dim=-1) * left_out.mT
        losses.append(loss.unflatten(2, (len(rates), count)).sum(dim=(1, 3)) / len(targets))
    return torch.cat(losses, dim=1)


def train_heads(
    products: torch.Tensor, targets: torch.Tensor, rates: torch.Tensor, included: torch.Tensor
) -> torch.Tensor:
    """Train M linear heads in each of E episodes, by gradient descent on the mean cross-entropy.

    Args:
        products: (E, S, S) inner products of the support vectors, plus 1 for the intercept.
        targets: (S, C) one-hot classes.
        rates: (E, M) learning rates for a batch of 256.
        included: (M, S), or (E, M, S) where episodes differ: 1 where a head sees a vector, 0 where it is left out.

    Returns:
        (E, S, M, C): a head's weights are the sum of the support vectors times these, its intercept their sum.
    """
    seen = included.sum(dim=-1)
    share = (included / seen[..., None]).mT.contiguous()[..., None]
    rates = (rates * seen.clamp(max=LARGEST_BATCH) / 256)[:, None, :, None]
    coefficients = products.new_zeros(*products.shape[:2], rates.shape[2], targets.shape[1])
    velocity = torch.zeros_like(coefficients)
    for step in range(STEPS):
        errors = apply(products, coefficients).softmax(dim=-1).sub_(targets[:, None]).mul_(share)
        velocity.mul_(MOMENTUM).add_(errors)
        cosine = (1 + math.cos(math.pi * step / STEPS)) / 2
        coefficients.addcmul_(velocity, rates, value=-cosine)
    return coefficients


def _episodes_at_once(count: int, targets: torch.Tensor, folds: int) -> Iterator[slice]:
    """Parts of the episodes whose fits are small enough together."""
    at_once = max(1, NUMBERS_AT_ONCE // (targets.numel() * max(1, folds) * len(RATES)))
    for start in range(0, count, at_once):
        yield slice(start, start + at_once)
