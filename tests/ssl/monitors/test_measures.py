"""Monitors against closed forms."""

import math

import pytest
import torch

from medino.ssl import prototype_use, rankme


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_rankme_of_equal_singular_values_is_their_number(rank: int) -> None:
    left = torch.linalg.qr(torch.randn(20, rank)).Q
    right = torch.linalg.qr(torch.randn(8, rank)).Q
    assert float(rankme(5 * left @ right.T)) == pytest.approx(rank, rel=1e-3)


def test_rankme_is_the_exponential_of_the_singular_values_entropy() -> None:
    values = torch.tensor([4.0, 2.0, 1.0, 1.0])
    shares = values / values.sum()
    expected = math.exp(-float((shares * shares.log()).sum()))
    assert float(rankme(torch.diag(values))) == pytest.approx(expected, rel=1e-4)


def test_rankme_of_zeros_is_finite() -> None:
    assert bool(rankme(torch.zeros(4, 4)).isfinite())


def test_prototype_use_tells_spread_from_collapse_and_from_indifference() -> None:
    spread = prototype_use(torch.eye(4))
    assert float(spread["prototypes_used"]) == 4
    assert float(spread["target_entropy"]) == pytest.approx(0)
    assert float(spread["prototype_entropy"]) == pytest.approx(math.log(4))
    collapsed = prototype_use(torch.eye(4)[[2, 2, 2]])
    assert float(collapsed["prototypes_used"]) == 1
    assert float(collapsed["prototype_entropy"]) == pytest.approx(0)
    indifferent = prototype_use(torch.full((3, 4), 0.25))
    assert float(indifferent["target_entropy"]) == pytest.approx(math.log(4))
