"""Which metrics a study keeps of which scores."""

import numpy as np
import pytest

from medino.probes.bootstrap import patient_counts
from medino.probes.measures import class_measures, ordinal_measures


def _scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    targets = generator.integers(3, size=40)
    scores = generator.random((4, 40, 3)) + 0.5 * np.eye(3)[targets]
    return targets, scores / scores.sum(axis=2, keepdims=True), patient_counts(40, 10, seed=0)


@pytest.mark.parametrize("change", ["logits", "distances", "sum to 1 with one below 0"])
def test_calibration_is_left_out_of_scores_that_are_no_probabilities(change: str) -> None:
    targets, probabilities, weights = _scores()
    scores = {
        "logits": np.log(probabilities),
        "distances": 10 * probabilities,
        "sum to 1 with one below 0": 3 * probabilities - 2 / 3,
    }[change]
    measured, expected = class_measures(targets, scores, weights), class_measures(targets, probabilities, weights)
    assert set(expected) - set(measured) == {"brier", "calibration_error"}
    for metric, (episodes, resampled) in measured.items():
        np.testing.assert_allclose(episodes, expected[metric][0])
        np.testing.assert_allclose(resampled, expected[metric][1])


def test_the_concordance_of_scores_that_are_no_probabilities_is_that_of_the_class_predicted() -> None:
    targets, probabilities, weights = _scores()
    sure = np.eye(3)[probabilities.argmax(axis=2)]
    expected = ordinal_measures(targets, sure, weights)
    found = ordinal_measures(targets, np.log(probabilities), weights)
    for metric, (episodes, resampled) in found.items():
        np.testing.assert_allclose(episodes, expected[metric][0])
        np.testing.assert_allclose(resampled, expected[metric][1])
    finer = ordinal_measures(targets, probabilities, weights)
    assert (finer["concordance"][0] != found["concordance"][0]).all()
    np.testing.assert_array_equal(finer["mae"][0], found["mae"][0])


def test_all_units_once_stand_first() -> None:
    targets, probabilities, weights = _scores()
    weights = np.concatenate([np.ones((1, 40), dtype=np.float32), weights])
    for measured in (class_measures, ordinal_measures):
        for episodes, resampled in measured(targets, probabilities, weights).values():
            assert resampled[0] == pytest.approx(episodes.mean())
            assert resampled.shape == (11,)
