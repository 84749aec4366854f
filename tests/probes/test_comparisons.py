"""p-values of paired differences and Holm's correction, against closed forms."""

import numpy as np
import pytest

from medino.probes import bootstrap_p_value, holm, patient_counts, percentile_interval
from medino.probes.design import Draws
from medino.probes.paired import compared
from medino.probes.results import MetricResult


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


def test_among_27_comparisons_without_a_difference_one_is_rarely_found() -> None:
    """Backbones that don't differ, 120 patients: any p by Holm below .05 in about one of twenty studies at most."""
    generator, found, trials = np.random.default_rng(0), 0, 120
    cells = [(shots, probe, name) for shots in (1, 2, 5) for probe in "abc" for name in ("one", "two", "three")]
    resamples = Draws((1, 2, 5), "patients", False, 1, 1000, 0, comparisons=len(cells)).for_p
    for trial in range(trials):
        counts = patient_counts(120, resamples, seed=trial)
        of_patients = {cell: generator.normal(size=120) for cell in cells}
        of_patients |= {(shots, probe, "start"): np.zeros(120) for shots, probe, _ in cells}
        results = {
            cell: {"metric": MetricResult(np.zeros(1), values.mean(), replicates, replicates[:1000], np.zeros(1))}
            for cell, values in of_patients.items()
            for replicates in [counts @ values / 120]
        }
        told = [row for *_, row in compared(results, "start")]
        assert {row["comparisons"] for row in told} == {27}
        found += min(row["p_holm"] for row in told) < 0.05
    assert 0 < found <= 0.08 * trials


def test_a_comparison_without_p_value_counts_among_none() -> None:
    first, second, third = holm([0.01, float("nan"), 0.04])
    assert (first, third) == pytest.approx((0.02, 0.04))
    assert np.isnan(second)
