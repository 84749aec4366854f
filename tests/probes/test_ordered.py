"""Metrics of ordered targets in every resample, against scipy, scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy.stats import kendalltau, somersd
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, roc_auc_score

from medino.probes.bootstrap import patient_counts, percentile_interval
from medino.probes.ordered import absolute_error_replicates, concordance, concordance_replicates, quadratic_kappa


def _problem(levels: int | None, units: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(levels or 0)
    values = generator.normal(size=units)
    if levels:
        values = generator.integers(levels, size=units).astype(float)
    predicted = values + generator.normal(size=(5, units)) * 2
    if levels:
        predicted = np.round(predicted).clip(0, levels - 1)
    patients = np.arange(units) // 3
    return values, predicted, patient_counts(patients.max() + 1, 25, seed=1)[:, patients]


def _drawn(weights: np.ndarray) -> list[np.ndarray]:
    return [np.repeat(np.arange(weights.shape[1]), row.astype(int)) for row in weights]


@pytest.mark.parametrize("levels", [2, 5, None])
def test_the_absolute_error_is_scikit_learns(levels: int | None) -> None:
    values, predicted, weights = _problem(levels)
    found = absolute_error_replicates(values, predicted, weights)
    for replicate, drawn in enumerate(_drawn(weights)):
        peers = [mean_absolute_error(values[drawn], row[drawn]) for row in predicted]
        assert found[replicate] == pytest.approx(np.mean(peers))


@pytest.mark.parametrize("levels", [2, 5, None])
def test_concordance_is_somers_d(levels: int | None) -> None:
    """Somers' D of the predictions given the values is the share in order less the share in disorder: 2 C - 1."""
    values, predicted, weights = _problem(levels)
    found = concordance_replicates(values, predicted, weights)
    for replicate, drawn in enumerate(_drawn(weights)):
        peers = [(somersd(values[drawn], row[drawn]).statistic + 1) / 2 for row in predicted]
        assert found[replicate] == pytest.approx(np.mean(peers), rel=1e-6)


@pytest.mark.parametrize("levels", [2, 5, None])
def test_concordance_of_one_episode_is_that_of_all_pairs(levels: int | None) -> None:
    values, predicted, _ = _problem(levels)
    once = np.ones((1, len(values)), dtype=np.float32)
    for row in (*predicted, np.zeros_like(values), values, -values):
        assert concordance(values, row) == pytest.approx(concordance_replicates(values, row[None], once)[0], rel=1e-6)
    assert np.isnan(concordance(np.ones(5), np.arange(5.0)))


def test_without_ties_concordance_is_kendalls_tau() -> None:
    values, predicted, _ = _problem(None)
    found = concordance_replicates(values, predicted, np.ones((1, len(values)), dtype=np.float32))[0]
    assert found == pytest.approx(np.mean([(kendalltau(values, row).statistic + 1) / 2 for row in predicted]), rel=1e-6)


def test_of_two_values_concordance_is_the_auroc() -> None:
    values, predicted, weights = _problem(2)
    found = concordance_replicates(values, predicted, weights)
    for replicate, drawn in enumerate(_drawn(weights)):
        peers = [roc_auc_score(values[drawn], row[drawn]) for row in predicted]
        assert found[replicate] == pytest.approx(np.mean(peers), rel=1e-6)


def test_concordance_in_closed_form() -> None:
    values = np.array([1.0, 2.0, 3.0])
    once = np.ones((1, 3), dtype=np.float32)
    for said, expected in (([1, 2, 3], 1), ([3, 2, 1], 0), ([5, 5, 5], 0.5), ([1, 1, 3], 2.5 / 3)):
        assert concordance_replicates(values, np.array([said], dtype=float), once)[0] == pytest.approx(expected)


def test_pairs_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values, predicted, weights = _problem(5)
    expected = concordance_replicates(values, predicted, weights)
    monkeypatch.setattr("medino.probes.ordered.UNITS_AT_ONCE", 7)
    np.testing.assert_allclose(concordance_replicates(values, predicted, weights), expected, rtol=1e-6)


@pytest.mark.parametrize("levels", [2, 5])
def test_the_quadratic_kappa_is_scikit_learns(levels: int) -> None:
    values, predicted, weights = _problem(levels)
    targets, said = values.astype(int), predicted.astype(int)
    found = quadratic_kappa(targets, said, weights)
    for replicate, drawn in enumerate(_drawn(weights)):
        peers = [cohen_kappa_score(targets[drawn], row[drawn], weights="quadratic") for row in said]
        np.testing.assert_allclose(found[replicate], peers, atol=1e-12)


def test_a_resample_of_one_value_has_neither_concordance_nor_kappa() -> None:
    values, predicted, _ = _problem(3)
    weights = np.stack([values == 1, values != 1, values > 9]).astype(np.float32)
    assert np.isnan(concordance_replicates(values, predicted, weights)).tolist() == [True, False, True]
    kappa = quadratic_kappa(values.astype(int), predicted.astype(int), weights)
    assert np.isnan(kappa).tolist() == [[True] * 5, [False] * 5, [True] * 5]
    assert np.isnan(absolute_error_replicates(values, predicted, weights)).tolist() == [False, False, True]


@pytest.mark.slow
def test_intervals_of_paired_differences_cover_no_difference_as_often_as_they_say() -> None:
    """60 patients of two images; two predictions that err alike in the population, dependent within a patient."""
    generator = np.random.default_rng(1)
    trials, covered = 300, {"mae": 0, "concordance": 0}
    patient = np.arange(120) // 2
    for trial in range(trials):
        values = generator.normal(size=60)[patient]
        shared = generator.normal(size=60)[patient]
        weights = patient_counts(60, 1000, seed=trial)[:, patient]
        both = [(values + shared + generator.normal(size=60)[patient])[None] for _ in range(2)]
        for name, metric in (("mae", absolute_error_replicates), ("concordance", concordance_replicates)):
            low, high = percentile_interval(np.subtract(*(metric(values, row, weights) for row in both)))
            covered[name] += low <= 0 <= high
    for count in covered.values():
        assert count / trials == pytest.approx(0.95, abs=0.035)
