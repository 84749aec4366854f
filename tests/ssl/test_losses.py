"""Losses against plain formulas and at their edges."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from medino.ssl import (
    BeforePrototypes,
    dino_row_weights,
    dino_targets,
    ibot_row_weights,
    koleo_loss,
    prototype_cross_entropy,
)


def logits(rows: int, seed: int, prototypes: int = 12) -> torch.Tensor:
    return torch.randn(rows, prototypes, generator=torch.Generator().manual_seed(seed))


def dino(student: torch.Tensor, teacher: torch.Tensor, batch: int, num_local_crops: int) -> tuple[float, float]:
    """The local and the global term of logits (2 + n) * B."""
    rows = BeforePrototypes(student, torch.eye(student.shape[1]))
    weights = dino_row_weights(batch, num_local_crops)
    _, parts = prototype_cross_entropy(rows, dino_targets(teacher, num_local_crops), weights, 0.1)
    return float(parts[2 * batch :].sum()), float(parts[: 2 * batch].sum())


@pytest.mark.parametrize("num_local_crops", [1, 4, 8])
def test_dino_is_the_mean_over_all_pairs_of_views(num_local_crops: int) -> None:
    batch = 3
    student_global, student_local = logits(2 * batch, 0), logits(num_local_crops * batch, 1)
    teacher = logits(2 * batch, 2).softmax(dim=-1)
    local_term, global_term = dino(torch.cat([student_global, student_local]), teacher, batch, num_local_crops)

    def mean_cross_entropy(student: torch.Tensor, target: torch.Tensor) -> float:
        return float(F.cross_entropy(student / 0.1, target))

    targets = teacher.chunk(2)
    pairs = 2 * num_local_crops + 2
    local = sum(mean_cross_entropy(s, t) for s in student_local.chunk(num_local_crops) for t in targets)
    glob = sum(mean_cross_entropy(s, t) for s, t in zip(student_global.chunk(2), targets[::-1], strict=True))
    assert local_term == pytest.approx(local / pairs, rel=1e-5)
    assert global_term == pytest.approx(glob / pairs, rel=1e-5)
    assert pairs == 18 or num_local_crops != 8


def test_dino_without_local_crops_is_the_mean_over_the_global_pairs() -> None:
    student, teacher = logits(6, 0), logits(6, 1).softmax(dim=-1)
    local_term, global_term = dino(student, teacher, 3, 0)
    assert local_term == 0
    assert global_term == pytest.approx(float(F.cross_entropy(student / 0.1, teacher.roll(3, 0))), rel=1e-5)


def test_ibot_weights_each_image_alike_and_counts_unmasked_ones() -> None:
    masks = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    assert ibot_row_weights(masks).tolist() == pytest.approx([1 / 9, 1 / 9, 1 / 9, 1 / 3])


def test_koleo_is_the_mean_log_distance_to_the_nearest_on_the_sphere() -> None:
    features = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    unit = F.normalize(features.double(), dim=-1).numpy()
    nearest = cKDTree(unit).query(unit, k=2)[0][:, 1]
    assert float(koleo_loss(features)) == pytest.approx(-sum(map(math.log, nearest)) / 20, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_koleo_of_duplicates_is_finite_and_does_not_push(dtype: torch.dtype) -> None:
    features = torch.ones(4, 6, dtype=dtype).requires_grad_()
    loss = koleo_loss(features)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-math.log(1e-8), rel=1e-3)
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_koleo_of_zeros_is_finite(dtype: torch.dtype) -> None:
    features = torch.zeros(3, 6, dtype=dtype).requires_grad_()
    koleo_loss(features).backward()
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_koleo_of_a_batch_of_one_is_zero_with_zero_gradients() -> None:
    features = torch.randn(1, 6, requires_grad=True)
    loss = koleo_loss(features)
    loss.backward()
    assert float(loss.detach()) == 0
    assert features.grad is not None
    assert float(features.grad.abs().max()) == 0
