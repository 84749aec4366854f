"""p-values of paired differences and Holm's correction, against closed forms."""

import numpy as np
import pytest

from medino.probes import bootstrap_p_value, holm, percentile_interval


def test_the_p_value_is_twice_the_lesser_side() -> None:
    replicates = np.concatenate([np.full(97, 1.0), np.full(2, -1.0)])
    assert bootstrap_p_value(replicates) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p_value(-replicates) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p_value(np.append(replicates, np.nan)) == pytest.approx(2 * 3 / 100)


def test_no_difference_at_all_has_p_one_and_no_replicate_has_none() -> None:
    assert bootstrap_p_value(np.zeros(50)) == 1
    assert np.isnan(bootstrap_p_value(np.full(4, np.nan)))
    assert bootstrap_p_value(np.ones(999)) == pytest.approx(0.002)


def test_the_p_value_agrees_with_the_percentile_interval() -> None:
    generator = np.random.default_rng(0)
    for shift in np.linspace(1.5, 2.5, 21):
        replicates = generator.normal(shift, 1.0, size=4000)
        low, _ = percentile_interval(replicates)
        p_value = bootstrap_p_value(replicates)
        assert abs(p_value - 0.05) < 0.002 or (low > 0) == (p_value < 0.05)


def test_holm_multiplies_step_by_step_and_never_decreases() -> None:
    # Holm (1979): 4 x .01, 3 x .015, 2 x .02 is less than the step before, 1 x .5.
    assert holm([0.02, 0.01, 0.5, 0.015]) == pytest.approx([0.045, 0.04, 0.5, 0.045])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_comparison_without_p_value_counts_among_none() -> None:
    first, second, third = holm([0.01, float("nan"), 0.04])
    assert (first, third) == pytest.approx((0.02, 0.04))
    assert np.isnan(second)
