import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medino.probes import (
    auroc_replicates,
    balanced_accuracy,
    balanced_accuracy_replicates,
    bca_interval,
    bootstrap_p_value,
    macro_auroc,
    patient_counts,
    percentile_interval,
)
from medino.probes.bootstrap import jackknife_counts


def _episodes(classes: int = 3, units: int = 60, episodes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    targets = np.concatenate([np.arange(classes), generator.integers(classes, size=units - classes)])
    scores = generator.random((episodes, units, classes)) + 0.4 * np.eye(classes)[targets]
    # Rounded, so that there are ties.
    return targets, np.round(scores, 1).astype(np.float32)


def test_a_resample_holds_as_many_patients_as_there_are() -> None:
    counts = patient_counts(17, 200, seed=3)
    assert counts.shape == (200, 17)
    assert (counts.sum(axis=1) == 17).all()
    np.testing.assert_array_equal(counts, patient_counts(17, 200, seed=3))
    assert (counts != patient_counts(17, 200, seed=4)).any()
    # A patient is left out with probability (1 - 1/n)^n.
    assert (patient_counts(50, 4000, seed=0) == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.005)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_replicates_are_the_metrics_of_the_resampled_units_averaged_over_episodes(classes: int) -> None:
    targets, scores = _episodes(classes)
    predicted = scores.argmax(axis=2)
    patient_of_unit = np.arange(len(targets)) // 3
    weights = patient_counts(20, 30, seed=0)[:, patient_of_unit]
    accuracy = balanced_accuracy_replicates(targets, predicted, weights)
    area = auroc_replicates(targets, scores, weights)
    for replicate, counts in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(len(targets)), counts)
        peers = [balanced_accuracy_score(targets[drawn], row[drawn]) for row in predicted]
        assert accuracy[replicate] == pytest.approx(np.mean(peers))
        columns = np.unique(targets[drawn])
        peers = [roc_auc_score(targets[drawn] == c, slab[drawn, c]) for slab in scores for c in columns]
        assert area[replicate] == pytest.approx(np.mean(peers), rel=1e-5)


def test_many_positives_are_counted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, scores = _episodes()
    weights = np.ones((1, len(targets)), dtype=np.float32)
    expected = auroc_replicates(targets, scores, weights)
    monkeypatch.setattr("medino.probes.bootstrap.POSITIVES_AT_ONCE", 3)
    np.testing.assert_allclose(auroc_replicates(targets, scores, weights), expected, rtol=1e-6)


def test_a_replicate_that_lacks_a_class_is_the_mean_of_the_others() -> None:
    targets, scores = _episodes(3, units=12)
    weights = np.ones((2, 12), dtype=np.float32)
    weights[0, targets == 2] = 0
    weights[1, targets != 1] = 0
    predicted = scores.argmax(axis=2)
    accuracy = balanced_accuracy_replicates(targets, predicted, weights)
    area = auroc_replicates(targets, scores, weights)
    for replicate in (0, 1):
        expected = [balanced_accuracy(targets, row, weights[replicate]) for row in predicted]
        assert accuracy[replicate] == pytest.approx(np.mean(expected))
    assert area[0] == pytest.approx(np.mean([macro_auroc(targets, slab, weights[0]) for slab in scores]), rel=1e-6)
    assert np.isnan(area[1])


def test_the_interval_is_scipys_percentile_interval() -> None:
    targets = np.zeros(80, dtype=int)
    predicted = np.random.default_rng(0).integers(0, 2, size=(1, 80))
    replicates = balanced_accuracy_replicates(targets, predicted, patient_counts(80, 20000, seed=1))
    peer = bootstrap(((predicted[0] == 0).astype(float),), np.mean, n_resamples=20000, method="percentile", rng=2)
    low, high = percentile_interval(replicates)
    # Both come from draws; the means themselves are multiples of 1/80.
    assert low == pytest.approx(peer.confidence_interval.low, abs=1 / 80)
    assert high == pytest.approx(peer.confidence_interval.high, abs=1 / 80)


def test_the_interval_leaves_out_replicates_without_a_value() -> None:
    values = np.append(np.linspace(0, 1, 1001), np.nan)
    assert percentile_interval(values) == pytest.approx((0.025, 0.975))
    assert np.isnan(percentile_interval(np.full(3, np.nan))).all()


@pytest.mark.parametrize("statistic", [np.mean, np.std])
def test_the_bca_interval_is_scipys_on_the_same_replicates(statistic) -> None:
    values = np.random.default_rng(0).lognormal(size=40)
    peer = bootstrap((values,), statistic, n_resamples=3000, method="BCa", rng=1)
    left_out = np.array([statistic(np.delete(values, place)) for place in range(40)])
    found = bca_interval(float(statistic(values)), peer.bootstrap_distribution, left_out)
    assert found == pytest.approx((peer.confidence_interval.low, peer.confidence_interval.high), rel=1e-6)
    assert found != pytest.approx(percentile_interval(peer.bootstrap_distribution), rel=1e-3)


def test_the_bca_interval_without_skew_and_bias_is_the_percentile_interval() -> None:
    replicates = np.append(np.linspace(-1, 1, 1001), np.nan)
    symmetric = np.array([-1.0, 1.0, np.nan])
    assert bca_interval(0.0, replicates, symmetric) == pytest.approx((-0.95, 0.95), abs=1e-9)
    assert bca_interval(0.5, np.full(10, 0.5), symmetric) == (0.5, 0.5)
    assert np.isnan(bca_interval(2.0, replicates, symmetric)).all()
    assert np.isnan(bca_interval(0.0, np.full(3, np.nan), symmetric)).all()


def test_the_jackknife_leaves_out_each_patient_once() -> None:
    np.testing.assert_array_equal(jackknife_counts(5, seed=0), 1 - np.eye(5))
    many = 1 - jackknife_counts(501, seed=0)
    assert many.shape == (200, 501)
    assert (many.sum(axis=0) == 1).all()
    assert set(many.sum(axis=1).tolist()) == {2, 3}


@pytest.mark.slow
def test_intervals_and_p_values_of_a_paired_difference_keep_their_levels() -> None:
    """60 patients of two images; two classifiers of equal recall in the population, dependent within a patient."""
    generator = np.random.default_rng(1)
    trials, covered, found = 400, {"percentile": 0, "bca": 0}, 0
    patient = np.arange(120) // 2
    targets = np.repeat(np.arange(2), 60)
    for trial in range(trials):
        skill = np.repeat(generator.beta(3.0, 1.0, size=60), 2)
        weights = patient_counts(60, 1000, seed=trial)[:, patient]
        left_out = jackknife_counts(60, seed=trial)[:, patient]
        both = [np.where(generator.random(120) < skill, targets, 1 - targets)[None] for _ in range(2)]
        value, replicates, jackknife = (
            np.subtract(*(balanced_accuracy_replicates(targets, predicted, some) for predicted in both))
            for some in (np.ones((1, 120)), weights, left_out)
        )
        for name, (low, high) in (
            ("percentile", percentile_interval(replicates)),
            ("bca", bca_interval(float(value[0]), replicates, jackknife)),
        ):
            covered[name] += low <= 0 <= high
        found += bootstrap_p_value(replicates) < 0.05
    for count in covered.values():
        assert count / trials == pytest.approx(0.95, abs=0.03)
    assert found / trials == pytest.approx(0.05, abs=0.03)


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """40 patients of three images that agree within a patient; the truth is the recall over the population."""
    generator = np.random.default_rng(0)
    covered = ignoring_patients = 0
    trials = 600
    for trial in range(trials):
        skill = generator.beta(2.0, 1.0, size=80)
        correct = generator.random((80, 3)) < skill[:, None]
        targets = np.repeat(np.arange(2), 120)
        predicted = np.where(correct.reshape(-1), targets, 1 - targets)[None]
        by_patient = patient_counts(80, 1000, seed=trial)[:, np.arange(240) // 3]
        low, high = percentile_interval(balanced_accuracy_replicates(targets, predicted, by_patient))
        covered += low <= 2 / 3 <= high
        by_image = patient_counts(240, 1000, seed=trial)
        low, high = percentile_interval(balanced_accuracy_replicates(targets, predicted, by_image))
        ignoring_patients += low <= 2 / 3 <= high
    assert covered / trials == pytest.approx(0.94, abs=0.025)
    assert ignoring_patients < covered
