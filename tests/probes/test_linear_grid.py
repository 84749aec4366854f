import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import medino.probes.linear_grid as grid
from medino.features import FeatureTable
from medino.probes.episodes import Episodes
from medino.probes.folds import inner_folds
from medino.probes.linear_grid import RATES, best_head, left_out_losses, linear_grid, train_heads
from medino.probes.sources import FeatureSource
from medino.probes.units import first_come, labelled_units


def _problem(shots: int = 4, classes: int = 3, dimensions: int = 20, episodes: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(shots)
    labels = torch.arange(classes).repeat_interleave(shots)
    means = torch.randn(classes, dimensions, generator=generator)
    support = 5 + means[labels] + torch.randn(episodes, len(labels), dimensions, generator=generator)
    queries = 5 + means + torch.randn(10, classes, dimensions, generator=generator)
    return support, F.one_hot(labels, classes).float(), queries.flatten(0, 1)


def _folds(targets: torch.Tensor) -> torch.Tensor:
    """(1, F, S) of vectors of as many patients."""
    return inner_folds(targets, np.arange(len(targets))[None])


def _standardised(support: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """As the module says: centred, and the mean square of a feature made 1."""
    centre = support.mean(dim=0)
    return (vectors - centre) / (support - centre).pow(2).mean().sqrt()


def _trained(vectors: torch.Tensor, targets: torch.Tensor, rate: float) -> nn.Linear:
    """One head by the reference's optimiser and schedule."""
    head = nn.Linear(vectors.shape[1], targets.shape[1])
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), rate * len(vectors) / 256, momentum=0.9, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, grid.STEPS, eta_min=0)
    for _ in range(grid.STEPS):
        optimizer.zero_grad()
        F.cross_entropy(head(vectors), targets.argmax(dim=1)).backward()
        optimizer.step()
        schedule.step()
    return head


@pytest.mark.parametrize("rate", [RATES[0], RATES[6], RATES[-1]])
def test_a_head_is_the_one_that_sgd_trains(rate: float) -> None:
    support, targets, queries = _problem()
    left_out = _folds(targets)[0, :1]
    for seen in (torch.ones(1, 12), 1 - left_out):
        known = torch.stack([_standardised(vectors, vectors) for vectors in support])
        fitted = train_heads(known @ known.mT + 1, targets, torch.full((3, 1), rate), seen)[:, :, 0]
        for episode, vectors in enumerate(support):
            included = seen[0] > 0
            peer = _trained(known[episode][included], targets[included], rate)
            expected = peer(_standardised(vectors, queries))
            logits = _standardised(vectors, queries) @ known[episode].T @ fitted[episode] + fitted[episode].sum(dim=0)
            torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


def test_the_rate_is_that_of_least_loss_on_left_out_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "STEPS", 50)
    monkeypatch.setattr(grid, "RATES", (1e-4, 5e-3, 0.1))
    support, targets, queries = _problem(episodes=2)
    folds = _folds(targets)
    loss, scores = best_head(support, targets, queries, folds.expand(2, -1, -1))
    for episode, vectors in enumerate(support):
        known = _standardised(vectors, vectors)
        losses = []
        for rate in grid.RATES:
            heads = [(_trained(known[fold == 0], targets[fold == 0], rate), fold > 0) for fold in folds[0]]
            left_out = [F.cross_entropy(head(known[out]), targets[out], reduction="sum") for head, out in heads]
            losses.append(torch.stack(left_out).sum().item() / len(vectors))
        assert float(loss[episode]) == pytest.approx(min(losses), rel=1e-3)
        head = _trained(known, targets, grid.RATES[int(np.argmin(losses))])
        expected = head(_standardised(vectors, queries)).softmax(dim=1)
        torch.testing.assert_close(scores[episode], expected, rtol=1e-3, atol=1e-4)


def test_fits_in_parts_are_the_fits_together(monkeypatch: pytest.MonkeyPatch) -> None:
    support, targets, _ = _problem()
    products, folds = support @ support.mT, _folds(targets)
    together = left_out_losses(products, targets, folds)
    monkeypatch.setattr("medino.probes.linear_grid.NUMBERS_AT_ONCE", 300)
    torch.testing.assert_close(left_out_losses(products, targets, folds), together)


def _study(make_manifest, make_features, blocks: dict, shots: int = 4, episodes: int = 6):
    """A source whose classes are told by the given blocks alone, and what is asked of it."""
    manifest = make_manifest()
    table: FeatureTable = make_features(manifest, 3.0)
    noise = np.random.default_rng(0)
    vectors = {
        block: table.blocks[1, "class"] if tells else noise.normal(size=(len(table), 16)).astype(np.float32)
        for block, tells in blocks.items()
    }
    units = labelled_units(manifest, "image")
    source = FeatureSource("start", units, dataclasses.replace(table, blocks=vectors), "class")
    drawn = [
        [
            noise.choice(np.flatnonzero((units.splits == "train") & (units.labels == label)), shots, replace=False)
            for label in sorted(set(units.labels))
        ]
        for _ in range(episodes)
    ]
    test = np.flatnonzero(units.splits == "test")
    support = np.array(drawn).reshape(episodes, -1)
    asked = Episodes(support, first_come(units.patients)[2][support], np.repeat(np.arange(3), shots), test, 3, seed=0)
    return source, asked, units.labels[test]


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(scores.argmax(axis=2) == np.unique(labels, return_inverse=True)[1]))


def test_the_features_that_tell_the_classes_are_chosen(make_manifest, make_features) -> None:
    of_last_four = {(layer, "class"): False for layer in (4, 3, 2, 1)}
    for told in [(1, "class"), (3, "class"), (1, "mean_patch")]:
        blocks = {**of_last_four, (1, "mean_patch"): False, told: True}
        source, asked, labels = _study(make_manifest, make_features, blocks)
        scores = linear_grid(source, asked)
        np.testing.assert_allclose(scores.sum(axis=2), 1, rtol=1e-5)
        assert _accuracy(scores, labels) > 0.8


@pytest.mark.parametrize("shots", [1, 4])
def test_a_floor_and_a_shallow_backbone_have_fewer_heads(shots: int, make_manifest, make_features) -> None:
    scores = []
    for block in [(0, "whole_image"), (1, "class")]:
        source, asked, labels = _study(make_manifest, make_features, {block: True}, shots)
        scores.append(linear_grid(source, asked))
    np.testing.assert_array_equal(*scores)
    assert _accuracy(scores[0], labels) > 0.6


def test_identical_vectors_tell_nothing(make_manifest, make_features) -> None:
    source, asked, _ = _study(make_manifest, make_features, {(1, "class"): True})
    source.table.blocks[1, "class"][:] = 3
    np.testing.assert_allclose(linear_grid(FeatureSource("same", source.units, source.table, "class"), asked), 1 / 3)
