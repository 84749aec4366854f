"""Targets of the teacher: Sinkhorn-Knopp and the EMA centre."""

import pytest
import torch

from medino.ssl import Center, global_mean, sinkhorn_knopp


def logits(rows: int, prototypes: int = 6) -> torch.Tensor:
    return torch.randn(rows, prototypes, generator=torch.Generator().manual_seed(rows))


def sinkhorn_by_the_book(scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """Alternating projections of a transport plan with uniform marginals, in double precision."""
    plan = torch.exp(scores.double() / temperature)
    plan /= plan.sum()
    samples, prototypes = plan.shape
    for _ in range(3):
        plan *= (1 / prototypes) / plan.sum(dim=0, keepdim=True)
        plan *= (1 / samples) / plan.sum(dim=1, keepdim=True)
    return (plan * samples).float()


def test_sinkhorn_is_three_rounds_of_alternating_normalisation() -> None:
    torch.testing.assert_close(sinkhorn_knopp(logits(10), 0.1), sinkhorn_by_the_book(logits(10), 0.1))


def test_sinkhorn_gives_each_sample_one_and_each_prototype_its_share() -> None:
    targets = sinkhorn_knopp(logits(300), 1.0, iterations=50)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(300))
    torch.testing.assert_close(targets.sum(dim=0), torch.full((6,), 50.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sinkhorn_of_large_logits_is_finite(dtype: torch.dtype) -> None:
    targets = sinkhorn_knopp(30 * logits(10).to(dtype), 0.04)
    assert targets.dtype == torch.float32
    assert bool(targets.isfinite().all())


def test_sinkhorn_of_nothing_is_nothing() -> None:
    assert sinkhorn_knopp(torch.empty(0, 6), 0.05).shape == (0, 6)


def test_the_mean_of_nothing_is_none() -> None:
    assert global_mean(torch.empty(0, 6)) is None


def test_alone_the_mean_reads_nothing_back_from_a_device() -> None:
    mean = global_mean(torch.empty(3, 6, device="meta"))
    assert mean is not None
    assert (mean.shape, mean.device.type) == ((1, 6), "meta")


def test_the_centre_is_used_as_the_steps_before_left_it() -> None:
    center = Center(6, momentum=0.9)
    scores = logits(4)
    before = center.targets(scores, 0.07)
    torch.testing.assert_close(before, (scores / 0.07).softmax(dim=-1))
    mean = global_mean(scores)
    assert mean is not None
    center.update(mean)
    torch.testing.assert_close(center.targets(scores, 0.07), ((scores - 0.1 * mean) / 0.07).softmax(dim=-1))
