"""Labels, splits, features and settings that carry no study, and those that carry less than was asked for."""

import dataclasses

import numpy as np
import pytest

from medino.core import InputError
from medino.data import Manifest
from medino.features import FeatureTable
from medino.probes import FewShotStudy, of_kind, summaries

STUDY = FewShotStudy(shots=(2, 5), episodes=6, replicates=200)


def test_small_classes_are_left_out_only_when_told_so(make_manifest, make_features) -> None:
    manifest = _with(make_manifest(), "label", lambda i, v: None if 12 <= i < 108 and v == "class 2" else v)
    features = {"start": make_features(manifest)}
    with pytest.raises(InputError, match=r"class 'class 2' has 1 training patients .*drop_small_classes"):
        STUDY.run(features, manifest)
    evidence = dataclasses.replace(STUDY, drop_small_classes=True).run(features, manifest)
    assert {row.classes_left_out for row in summaries(evidence)} == {"class 2"}
    assert {row.patients for row in summaries(evidence)} == {24}
    assert set(of_kind(evidence, "outcome")["target"].to_pylist()) == {"class 0", "class 1"}
    assert set(of_kind(evidence, "support")["target"].to_pylist()) == {"class 0", "class 1"}
    alone = _with(manifest, "label", lambda i, v: None if v == "class 2" else v)
    same = STUDY.run({"start": dataclasses.replace(features["start"], manifest=alone.fingerprint)}, alone)
    assert [row.value for row in summaries(evidence)] == [row.value for row in summaries(same)]


def test_too_many_small_classes_leave_no_study(make_manifest) -> None:
    with pytest.raises(InputError, match="0 of 3 classes are left; a study needs two or more"):
        dataclasses.replace(STUDY, shots=(40,), drop_small_classes=True).check(make_manifest())


@pytest.mark.parametrize(("setting", "known"), [("interval", "percentile, bca"), ("draw", "patients, images")])
def test_unknown_settings_are_taught(setting: str, known: str) -> None:
    with pytest.raises(InputError, match=f"there is no {setting} 'none'; choose one of {known}"):
        dataclasses.replace(STUDY, **{setting: "none"})


def _with(manifest: Manifest, column: str, change) -> Manifest:
    values = manifest.column(column)
    return manifest.with_column(column, [change(place, value) for place, value in enumerate(values)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: _with(m, "label", lambda i, v: None), "none of the 216 samples of blobs has a label"),
        (lambda m: _with(m, "label", lambda i, v: "only"), "all labelled units are of one class, 'only'"),
        (lambda m: _with(m, "split", lambda i, v: None), "no labelled unit of blobs is in the split 'test'"),
        (lambda m: _with(m, "split", lambda i, v: "train"), "no labelled unit of blobs is in the split 'test'"),
        (lambda m: _with(m, "split", lambda i, v: "test"), "no labelled unit of blobs is in the split 'train'"),
        (lambda m: _with(m, "split", lambda i, v: "test" if i % 3 else "train"), "72 patients are in both"),
        (
            lambda m: _with(m, "label", lambda i, v: None if i >= 108 and v == "class 1" else v),
            r"class 'class 1' has no test patients \(there are 24 in all\)",
        ),
        (
            lambda m: _with(m, "label", lambda i, v: None if 12 <= i < 108 and v == "class 2" else v),
            r"class 'class 2' has 1 training patients \(3 units\), fewer than 2 shots",
        ),
    ],
)
def test_labels_and_splits_that_carry_no_study_are_refused(change, message: str, make_manifest, make_features) -> None:
    manifest = change(make_manifest())
    with pytest.raises(InputError, match=message) as refusal:
        STUDY.run({"start": make_features(manifest)}, manifest)
    assert "\n" not in str(refusal.value)


def test_units_with_two_labels_are_counted(make_manifest, make_features) -> None:
    manifest = _with(make_manifest(), "label", lambda place, value: "class 0" if place % 9 == 5 else value)
    with pytest.raises(InputError, match=r"24 of 72 units \(patient\) hold images of more than one label"):
        dataclasses.replace(STUDY, unit="patient").run({"start": make_features(manifest)}, manifest)


def test_samples_without_a_label_are_left_aside(make_manifest, make_features) -> None:
    manifest = _with(make_manifest(), "label", lambda place, value: None if place % 3 == 0 else value)
    evidence = STUDY.run({"start": make_features(manifest)}, manifest)
    assert of_kind(evidence, "outcome", shots=5, probe="knn", episode=0).num_rows == 36 * 2


def _changed(table: FeatureTable, vectors: np.ndarray) -> FeatureTable:
    return dataclasses.replace(table, blocks={(1, "class"): vectors.astype(np.float32)})


def test_vectors_that_are_not_finite_are_counted(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = make_features(manifest)
    vectors = features.blocks[1, "class"].copy()
    vectors[3, 0], vectors[7] = np.nan, np.inf
    with pytest.raises(InputError, match="'start' hold NaN or infinity for 2 of 216 labelled samples"):
        STUDY.run({"start": _changed(features, vectors)}, manifest)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_identical_vectors_score_as_chance(value: float, make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = make_features(manifest)
    constant = _changed(features, np.full_like(features.blocks[1, "class"], value))
    chance = {"balanced_accuracy": 1 / 3, "auroc": 0.5, "auprc": 1 / 3, "kappa": 0}
    for row in summaries(STUDY.run({"start": constant}, manifest)):
        if row.metric in chance:
            assert row.value == pytest.approx(chance[row.metric], abs=1e-6)


def test_features_without_some_labelled_samples_are_refused(make_manifest, make_features) -> None:
    manifest = make_manifest()
    table = make_features(manifest)
    fewer = dataclasses.replace(
        table, sample_ids=table.sample_ids[5:], blocks={(1, "class"): table.blocks[1, "class"][5:]}
    )
    with pytest.raises(InputError, match="'start' lack 5 of 216 labelled samples"):
        STUDY.run({"start": fewer}, manifest)
    rejected = dataclasses.replace(fewer, rejects=tuple(table.sample_ids[:5]))
    evidence = STUDY.run({"start": rejected, "other": table}, manifest)
    assert not set(table.sample_ids[:5]) & set(of_kind(evidence, "support")["unit_id"].to_pylist())


def test_features_of_another_manifest_are_refused(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = make_features(manifest)
    with pytest.raises(InputError, match="features 'start' were made from another manifest"):
        STUDY.run({"start": features}, make_manifest(images_a_patient=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probes": ("svm",)}, "no probe 'svm'"),
        ({"probes": ()}, "at least one"),
        ({"shots": (0,)}, "shots is 0"),
        ({"episodes": 0}, "episodes is 0"),
        ({"replicates": 0}, "replicates is 0"),
        ({"unit": "organ"}, "no unit 'organ'"),
        ({"features": "last_five"}, "no features 'last_five'"),
        ({"features": "mean_patch"}, "lacks"),
        ({"baseline": "other"}, "baseline 'other' is not among"),
    ],
)
def test_unknown_settings_are_refused(settings: dict, message: str, make_manifest, make_features) -> None:
    manifest = make_manifest()
    with pytest.raises(InputError, match=message):
        dataclasses.replace(STUDY, **settings).run({"start": make_features(manifest)}, manifest)


def test_no_features_are_refused(make_manifest) -> None:
    with pytest.raises(InputError, match="at least one backbone"):
        STUDY.run({}, make_manifest())
