"""Losses against plain formulas and at their edges."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from medino.ssl import dino_losses, ibot_loss, koleo_loss


def logits(rows: int, seed: int, prototypes: int = 12) -> torch.Tensor:
    return torch.randn(rows, prototypes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_local_crops", [1, 4, 8])
def test_dino_is_the_mean_over_all_pairs_of_views(num_local_crops: int) -> None:
    batch, temperature = 3, 0.1
    student_global, student_local = logits(2 * batch, 0), logits(num_local_crops * batch, 1)
    teacher = logits(2 * batch, 2).softmax(dim=-1)
    local_term, global_term = dino_losses(student_global, student_local, teacher, batch, temperature)

    def mean_cross_entropy(student: torch.Tensor, target: torch.Tensor) -> float:
        return float(F.cross_entropy(student / temperature, target))

    targets = teacher.chunk(2)
    pairs = 2 * num_local_crops + 2
    local = sum(mean_cross_entropy(s, t) for s in student_local.chunk(num_local_crops) for t in targets)
    glob = sum(mean_cross_entropy(s, t) for s, t in zip(student_global.chunk(2), targets[::-1], strict=True))
    assert float(local_term) == pytest.approx(local / pairs, rel=1e-5)
    assert float(global_term) == pytest.approx(glob / pairs, rel=1e-5)
    assert pairs == 18 or num_local_crops != 8


def test_dino_without_local_crops_is_the_mean_over_the_global_pairs() -> None:
    student, teacher = logits(6, 0), logits(6, 1).softmax(dim=-1)
    local_term, global_term = dino_losses(student, student[:0], teacher, 3)
    assert float(local_term) == 0
    assert float(global_term) == pytest.approx(float(F.cross_entropy(student / 0.1, teacher.roll(3, 0))), rel=1e-5)


def test_ibot_weights_each_image_alike_and_counts_unmasked_ones() -> None:
    masks = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    student, teacher = logits(4, 0), logits(4, 1).softmax(dim=-1)
    per_patch = F.cross_entropy(student / 0.1, teacher, reduction="none")
    expected = (per_patch[:3].mean() + 0 + per_patch[3]) / 3
    assert float(ibot_loss(student, teacher, masks)) == pytest.approx(float(expected), rel=1e-5)


def test_ibot_with_nothing_masked_is_zero_with_zero_gradients() -> None:
    weight = torch.randn(5, 8, requires_grad=True)
    loss = ibot_loss(torch.empty(0, 8) @ weight.T, torch.empty(0, 5), torch.zeros(4, 9, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) == 0


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
