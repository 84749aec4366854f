"""Metrics in every resample and episode, against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, cohen_kappa_score, f1_score

from medino.probes.bootstrap import patient_counts
from medino.probes.resampled import brier_score, calibration_error, cohen_kappa, macro_auprc, macro_f1


def _problem(classes: int, episodes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    targets = np.concatenate([np.arange(classes), generator.integers(classes, size=45)])
    scores = generator.random((episodes, len(targets), classes)) + 0.4 * np.eye(classes)[targets]
    # Rounded, so that there are ties; few patients, so that some resamples lack a class.
    scores = np.round(scores, 1)
    patients = np.arange(len(targets)) // 4
    weights = patient_counts(patients.max() + 1, 25, seed=1)[:, patients]
    return targets, (scores / scores.sum(axis=2, keepdims=True)).astype(np.float32), weights


def _drawn(weights: np.ndarray) -> list[np.ndarray]:
    return [np.repeat(np.arange(weights.shape[1]), row.astype(int)) for row in weights]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_f1_is_scikit_learns_over_the_classes_that_occur(classes: int) -> None:
    targets, scores, weights = _problem(classes)
    predicted = scores.argmax(axis=2)
    found = macro_f1(targets, predicted, weights)
    for replicate, drawn in enumerate(_drawn(weights)):
        true = targets[drawn]
        peers = [f1_score(true, row[drawn], labels=np.unique(true), average="macro") for row in predicted]
        np.testing.assert_allclose(found[replicate], peers)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_kappa_is_scikit_learns(classes: int) -> None:
    targets, scores, weights = _problem(classes)
    predicted = scores.argmax(axis=2)
    found = cohen_kappa(targets, predicted, weights)
    for replicate, drawn in enumerate(_drawn(weights)):
        peers = [cohen_kappa_score(targets[drawn], row[drawn]) for row in predicted]
        np.testing.assert_allclose(found[replicate], peers, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_auprc_is_the_mean_of_scikit_learns_average_precisions(classes: int) -> None:
    targets, scores, weights = _problem(classes)
    found = macro_auprc(targets, scores, weights)
    for replicate, drawn in enumerate(_drawn(weights)):
        true = targets[drawn]
        columns = np.unique(true)
        peers = [np.mean([average_precision_score(true == c, slab[drawn, c]) for c in columns]) for slab in scores]
        np.testing.assert_allclose(found[replicate], peers, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_brier_score_is_scikit_learns_unscaled(classes: int) -> None:
    targets, scores, weights = _problem(classes)
    found = brier_score(targets, scores, weights)
    labels = list(range(classes))
    for replicate, drawn in enumerate(_drawn(weights)):
        for episode, slab in enumerate(scores):
            # In float64 scikit-learn sees that they sum to 1.
            sure = slab[drawn].astype(float)
            sure /= sure.sum(axis=1, keepdims=True)
            given = sure[:, 1] if classes == 2 else sure
            peer = brier_score_loss(targets[drawn], given, labels=labels, scale_by_half=False)
            assert found[replicate, episode] == pytest.approx(peer, abs=1e-6)


def test_calibration_error_in_closed_form() -> None:
    # Four units at 0.9, of which three are right; two at 0.6, both right; one weighs three times.
    targets = np.array([0, 0, 0, 1, 0, 1])
    sure = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4], [0.4, 0.6]])[None]
    once = np.ones((1, 6))
    expected = 4 / 6 * abs(0.9 - 3 / 4) + 2 / 6 * abs(0.6 - 1)
    assert calibration_error(targets, sure, once)[0, 0] == pytest.approx(expected)
    thrice = np.array([[1, 1, 1, 3, 1, 1]])
    expected = 6 / 8 * abs(0.9 - 3 / 6) + 2 / 8 * abs(0.6 - 1)
    assert calibration_error(targets, sure, thrice)[0, 0] == pytest.approx(expected)
    assert calibration_error(np.array([0, 0]), np.array([[[1.0, 0.0]] * 2]), np.ones((1, 2)))[0, 0] == 0


def test_a_bin_of_confidence_holds_its_upper_end() -> None:
    # 0.6 is the end of the ninth of 15 bins, 0.61 lies in the tenth: apart they don't cancel.
    targets = np.array([0, 1])
    sure = np.array([[[0.6, 0.4], [0.61, 0.39]]])
    assert calibration_error(targets, sure, np.ones((1, 2)))[0, 0] == pytest.approx((0.4 + 0.61) / 2)


def test_a_resample_of_one_class_has_neither_kappa_nor_auprc() -> None:
    targets, scores, _ = _problem(3)
    weights = np.stack([targets == 1, targets != 1]).astype(np.float32)
    for found in (cohen_kappa(targets, scores.argmax(axis=2), weights), macro_auprc(targets, scores, weights)):
        assert np.isnan(found[0]).all()
        assert np.isfinite(found[1]).all()


def test_a_resample_without_units_has_no_value() -> None:
    targets, scores, _ = _problem(3)
    nothing = np.zeros((1, len(targets)), dtype=np.float32)
    for metric in (macro_f1, cohen_kappa):
        assert np.isnan(metric(targets, scores.argmax(axis=2), nothing)).all()
    for metric in (brier_score, calibration_error, macro_auprc):
        assert np.isnan(metric(targets, scores, nothing)).all()


def test_few_totals_at_once_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, scores, weights = _problem(3, episodes=5)
    predicted = scores.argmax(axis=2)
    expected = [macro_f1(targets, predicted, weights), calibration_error(targets, scores, weights)]
    monkeypatch.setattr("medino.probes.resampled.TOTALS_AT_ONCE", 600)
    np.testing.assert_array_equal(macro_f1(targets, predicted, weights), expected[0])
    np.testing.assert_array_equal(calibration_error(targets, scores, weights), expected[1])
