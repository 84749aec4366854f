"""The online probe: scikit-learn's nearest neighbours, one patient left out at a time, and whom it may not know."""

from collections.abc import Mapping

import numpy as np
import pytest
from sample_rows import sample_of
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from medino.core import InputError
from medino.data import Manifest
from medino.ssl import Probe
from medino.ssl.monitors import leave_one_patient_out

KEY = {"key_id": "k"}


def labelled(patients: list[int], labels: list[str | None], settings: Mapping[str, str] = KEY) -> Manifest:
    rows = [
        sample_of({"sample_id": f"{place:032x}", "patient": f"{patient:032x}", "label": label, "format": "raster"})
        for place, (patient, label) in enumerate(zip(patients, labels, strict=True))
    ]
    return Manifest.from_samples(rows, settings=settings)


def test_the_probe_is_scikit_learn_s_weighted_k_nn_with_one_patient_left_out() -> None:
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(24), 3)
    classes = patients % 3
    features = generator.normal(size=(72, 8)) + 1.2 * np.eye(8)[classes]
    peer = KNeighborsClassifier(
        20, weights=lambda distances: np.exp((1 - distances) / 0.07), metric="cosine", algorithm="brute"
    )
    expected = cross_val_predict(peer, features, classes, groups=patients, cv=LeaveOneGroupOut())
    assert 0.5 < np.mean(expected == classes) < 1
    assert np.array_equal(leave_one_patient_out(features, classes, patients), expected)
    manifest = labelled(list(patients), [f"class {which}" for which in classes])
    score = Probe.of(manifest, {}).score(features.astype(np.float32))
    assert score == pytest.approx(balanced_accuracy_score(classes, expected))


def test_features_that_are_not_finite_are_no_state_to_choose() -> None:
    probe = Probe.of(labelled([0, 1, 2, 3], ["a", "a", "b", "b"]), {})
    features = np.eye(4)
    assert np.isfinite(probe.score(features))
    features[1, 2] = np.nan
    assert np.isnan(probe.score(features))


def test_a_patient_s_own_images_do_not_vote() -> None:
    # Each image is the twin of its patient's other one, and nothing else is alike: only by the twin could it be told.
    features = np.repeat(np.eye(8), 2, axis=0)
    patients, classes = np.repeat(np.arange(8), 2), np.repeat([0, 0, 1, 1] * 2, 2)
    alone = leave_one_patient_out(features, classes, np.arange(16))
    assert np.array_equal(alone, classes)
    assert np.mean(leave_one_patient_out(features, classes, patients) == classes) <= 0.5


def test_rows_without_a_label_are_left_out() -> None:
    probe = Probe.of(labelled([1, 2, 3, 4, 5], ["a", "a", "b", "b", None]), {})
    assert len(probe.manifest) == 4
    assert len(probe.patients) == 4


def test_patients_of_the_training_or_a_study_are_refused() -> None:
    probe = labelled([1, 2, 3, 4], ["a", "a", "b", "b"])
    Probe.of(probe, {"the pretraining": labelled([7, 8], [None, None])})
    for purpose in ("the pretraining", "the study 1"):
        with pytest.raises(InputError, match=f"1 of the probe's 4 patients are among those of {purpose}"):
            Probe.of(probe, {purpose: labelled([7, 4], [None, None])})


def test_patients_that_another_key_hashed_are_refused_as_nobody_can_tell() -> None:
    other = labelled([7, 8], [None, None], {"key_id": "another"})
    with pytest.raises(InputError, match="scan both with the same --key"):
        Probe.of(labelled([1, 2, 3, 4], ["a", "a", "b", "b"]), {"the pretraining": other})


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([None] * 4, "has no label"),
        (["a"] * 4, "only the label 'a'"),
        (["a", "a", "a", "b"], "of 'b' are of one patient"),
    ],
)
def test_a_probe_that_can_decide_nothing_is_refused(labels: list[str | None], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Probe.of(labelled([1, 2, 3, 4], labels), {})
