"""Features and labels that tell nothing, or very many classes: a right answer, and no crash."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medino.core import InputError
from medino.features import FeatureTable
from medino.probes import FewShotStudy, logistic, nearest_mean, of_kind, summaries
from medino.probes.folds import inner_folds
from medino.probes.logistic import choose_strength
from medino.probes.ridge import ridge
from medino.probes.span import Span

CHANCE = {"balanced_accuracy": 1 / 3, "auroc": 0.5, "kappa": 0.0, "quadratic_kappa": 0.0, "concordance": 0.5}

TARGETS = {
    "classes": {},
    "multilabel": {},
    "ordinal": {"order": ("class 0", "class 1", "class 2")},
    "continuous": {},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_support_sets_of_identical_vectors_score_as_chance(target: str, value: float, make_manifest, make_features):
    """The training images are all alike and the test images are not."""
    manifest = make_manifest()
    table = make_features(manifest)
    if target == "continuous":
        manifest = manifest.with_column("label", [f"{place // 3}" for place in range(216)])
        table = dataclasses.replace(table, manifest=manifest.fingerprint)
    vectors = table.blocks[1, "class"].copy()
    vectors[manifest.column("split") == "train"] = value
    study = FewShotStudy(shots=(1, 5), episodes=3, replicates=20, target=target, **TARGETS[target])
    evidence = study.run({"same": dataclasses.replace(table, blocks={(1, "class"): vectors})}, manifest)
    for row in summaries(evidence):
        assert np.isfinite([row.value, row.low, row.high]).all()
        if row.metric in CHANCE:
            assert row.value == pytest.approx(CHANCE[row.metric], abs=1e-6)
    if target == "continuous":
        said = of_kind(evidence, "outcome", episode=0, shots=5)["predicted_value"].to_numpy()
        assert np.ptp(said) == pytest.approx(0)


def test_a_constant_feature_changes_no_answer() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 4)
    means = generator.normal(size=(3, 10))
    support = (means[labels] + generator.normal(size=(2, 12, 10))).astype(np.float32)
    queries = (means[generator.integers(3, size=30)] + generator.normal(size=(30, 10))).astype(np.float32)
    values = generator.normal(size=(2, 12))
    padded = [np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, 1)], constant_values=5) for part in (support, queries)]
    for probe in (nearest_mean, logistic):
        expected = probe(support, labels, queries, 3)
        np.testing.assert_allclose(probe(padded[0], labels, padded[1], 3), expected, atol=1e-5)
    np.testing.assert_allclose(ridge(padded[0], values, padded[1]), ridge(support, values, queries), atol=1e-6)


def test_a_class_of_one_vector_leaves_the_strength_to_the_prior() -> None:
    """Nothing of it can be left out, however many vectors the other class has."""
    generator = np.random.default_rng(0)
    labels = np.array([0] * 9 + [1])
    support = generator.normal(size=(3, 10, 6))
    support[:, 9] += 3
    targets = F.one_hot(torch.from_numpy(labels), 2).double()
    folds = inner_folds(targets, np.tile(np.arange(10), (3, 1)))
    assert choose_strength(Span.of(support).coordinates, targets, folds).tolist() == [1.0, 1.0, 1.0]
    scores = logistic(support, labels, support[0], 2)
    np.testing.assert_allclose(scores.sum(axis=2), 1)
    assert scores[0, 9].argmax() == 1


def test_strengths_are_chosen_some_at_a_time_where_there_are_many_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 5)
    coordinates = Span.of(generator.normal(size=(3, 20, 8)) + np.eye(4)[labels] @ np.eye(4, 8)).coordinates
    targets = F.one_hot(torch.from_numpy(labels), 4).double()
    # No two episodes have the same folds.
    folds = inner_folds(targets, np.array([np.arange(20), np.arange(20) // 2, np.arange(20) % 7]))
    expected = choose_strength(coordinates, targets, folds)
    monkeypatch.setattr(sys.modules["medino.probes.logistic"], "MOST_NUMBERS", 1000)
    assert choose_strength(coordinates, targets, folds).tolist() == expected.tolist()


def test_a_thousand_classes_are_studied(make_manifest) -> None:
    manifest = make_manifest(classes=1000, patients_a_class=2, images_a_patient=1)
    generator = np.random.default_rng(0)
    means = {label: generator.normal(size=24) for label in manifest.labels}
    vectors = np.stack([means[label] for label in manifest.column("label")]) + 0.3 * generator.normal(size=(2000, 24))
    table = FeatureTable(
        sample_ids=manifest.column("sample_id"),
        blocks={(1, "class"): vectors.astype(np.float32)},
        backbone="many",
        manifest=manifest.fingerprint,
        transform="none",
    )
    evidence = FewShotStudy(shots=(1,), episodes=1, replicates=20).run({"start": table}, manifest)
    for row in summaries(evidence, metric="balanced_accuracy"):
        assert row.value > 0.9
        assert (row.low, row.patients, len(row.classes)) == (pytest.approx(row.value, abs=0.05), 1000, 1000)


def test_more_scores_than_evidence_should_hold_are_refused(
    monkeypatch: pytest.MonkeyPatch, make_manifest, make_features
) -> None:
    manifest = make_manifest()
    features = {"start": make_features(manifest)}
    study = FewShotStudy(shots=(1, 2), episodes=5, replicates=10, probes=("nearest_mean", "knn"))
    # Shots x probes x episodes x test images x classes.
    monkeypatch.setattr("medino.probes.study.MOST_SCORES", 2 * 2 * 5 * 108 * 3)
    study.run(features, manifest)
    monkeypatch.setattr("medino.probes.study.MOST_SCORES", 2 * 2 * 5 * 108 * 3 - 1)
    with pytest.raises(InputError, match=r"the evidence would hold 0\.0 billion scores.*ask for fewer episodes"):
        study.run(features, manifest)
