"""Monitors against closed forms."""

import math

import pytest
import torch

from medino.ssl import linear_cka, prototype_use, rankme
from medino.ssl.monitors import mean_cosine, prototype_information, student_agreement


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


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_measures_of_features_that_are_not_finite_are_nan(broken: float) -> None:
    features = torch.randn(8, 4)
    features[2, 1] = broken
    targets = (features - 1).softmax(dim=1)
    use, agreement = prototype_use(targets), student_agreement(targets, targets)
    found = [rankme(features), mean_cosine(features), linear_cka(features, torch.randn(8, 3))]
    found += [prototype_information(targets), *use.values(), *agreement.values()]
    assert [value.shape for value in found] == [()] * 9 == [value.shape for value in use.values()] * 3
    assert all(bool(value.isnan()) for value in found)


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


def hsic(first: torch.Tensor, second: torch.Tensor) -> float:
    """Kornblith et al. 2019, equation 3, term by term: tr(K H L H) with the centring matrix H."""
    count = len(first)
    centring = torch.eye(count, dtype=torch.float64) - 1 / count
    return float(torch.trace(first @ first.T @ centring @ second @ second.T @ centring))


def test_linear_cka_is_the_normalised_hsic_of_its_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(20, 7, generator=generator, dtype=torch.float64)
    second = first[:, :3] ** 2 + torch.randn(20, 3, generator=generator, dtype=torch.float64)
    expected = hsic(first, second) / math.sqrt(hsic(first, first) * hsic(second, second))
    assert 0.05 < expected < 0.95
    assert float(linear_cka(first, second)) == pytest.approx(expected, rel=1e-9)


def test_linear_cka_does_not_see_turns_scales_and_shifts_but_other_features() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(300, 6, generator=generator)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    assert float(linear_cka(features, 3 * features @ turn + 2)) == pytest.approx(1, abs=1e-6)
    assert float(linear_cka(features, torch.randn(300, 6, generator=generator))) < 0.1
    # Not invariant to every linear map, unlike canonical correlations.
    assert float(linear_cka(features, features * torch.tensor([9.0, 1, 1, 1, 1, 1]))) < 0.9


def test_mean_cosine_is_the_mean_over_pairs_of_different_samples() -> None:
    features = torch.randn(9, 5, generator=torch.Generator().manual_seed(2))
    pairs = [
        float(torch.nn.functional.cosine_similarity(features[one], features[other], dim=0))
        for one in range(9)
        for other in range(9)
        if one != other
    ]
    assert float(mean_cosine(features)) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert float(mean_cosine(torch.ones(4, 3))) == pytest.approx(1)


def test_prototypes_tell_nothing_where_all_targets_are_the_same() -> None:
    for same in (torch.full((6, 4), 0.25), torch.eye(4)[[1] * 6]):
        assert float(prototype_information(same)) == pytest.approx(0, abs=1e-6)
    assert float(prototype_information(torch.eye(4))) == pytest.approx(math.log(4))
    # Two equally likely kinds of image, each sure of its prototype: one bit.
    assert float(prototype_information(torch.eye(4)[[0, 0, 2, 2]])) == pytest.approx(math.log(2))


def test_agreement_counts_equal_first_choices() -> None:
    targets = torch.eye(3)[[0, 1, 2, 2]]
    assert {name: float(value) for name, value in student_agreement(targets, targets).items()} == {
        "agreement": 1,
        "agreement_cosine": 1,
    }
    assert float(student_agreement(targets, torch.eye(3)[[0, 1, 0, 1]])["agreement"]) == 0.5
