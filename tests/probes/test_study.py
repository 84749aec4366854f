import dataclasses
import hashlib

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)

from medino.core import InputError
from medino.probes import FewShotStudy, bootstrap_p_value, differences, holm, of_kind, patient_counts, summaries


def _one_against_rest(metric, targets: np.ndarray, scores: np.ndarray) -> float:
    return np.mean([metric(targets == label, scores[:, place]) for place, label in enumerate(np.unique(targets))])


def _calibration_error(targets: np.ndarray, predicted: np.ndarray, scores: np.ndarray) -> float:
    sure = scores.max(axis=1)
    error = 0.0
    for place in range(15):
        inside = (sure > place / 15) & (sure <= (place + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(sure[inside].mean() - (targets == predicted)[inside].mean())
    return error


PEERS = {
    "balanced_accuracy": lambda targets, predicted, scores: balanced_accuracy_score(targets, predicted),
    "auroc": lambda targets, predicted, scores: _one_against_rest(roc_auc_score, targets, scores),
    "auprc": lambda targets, predicted, scores: _one_against_rest(average_precision_score, targets, scores),
    "macro_f1": lambda targets, predicted, scores: f1_score(targets, predicted, average="macro"),
    "kappa": lambda targets, predicted, scores: cohen_kappa_score(targets, predicted),
    "brier": lambda targets, predicted, scores: (
        ((scores - (targets[:, None] == np.unique(targets))) ** 2).sum(axis=1).mean()
    ),
    "calibration_error": _calibration_error,
}
"""Each metric of one episode from (N,) classes, (N,) predictions and (N, C) scores."""

STUDY = FewShotStudy(shots=(2, 5), episodes=6, replicates=200)


@pytest.fixture
def evidence(make_manifest, make_features) -> pa.Table:
    manifest = make_manifest()
    features = {"start": make_features(manifest, 0.6), "adapted": make_features(manifest, 1.2)}
    return STUDY.run(features, manifest, pretraining_patients=manifest.column("patient")[-30:].tolist())


def test_there_is_a_summary_of_each_backbone_probe_metric_and_number_of_shots(evidence: pa.Table) -> None:
    assert len(summaries(evidence)) == 2 * 3 * 2 * len(PEERS)
    assert {row.backbone for row in differences(evidence)} == {"adapted"}
    assert {row.compared_with for row in differences(evidence)} == {"start"}
    assert len(differences(evidence)) == 3 * 2 * len(PEERS)
    for row in [*summaries(evidence), *differences(evidence)]:
        assert row.low <= row.value <= row.high
        assert row.spread is not None
        assert (row.patients, row.patients_seen) == (36, 10)
        assert (row.dataset, row.unit, row.patient_unit) == ("blobs", "image", "patient")


def test_the_better_features_win(evidence: pa.Table) -> None:
    for row in differences(evidence, metric="balanced_accuracy", shots=5):
        assert row.low > 0


def test_summaries_can_be_computed_again_from_the_outcomes(evidence: pa.Table) -> None:
    rows = of_kind(evidence, "outcome", backbone="adapted", shots=5)
    for summary in summaries(evidence, backbone="adapted", shots=5):
        metrics = []
        for episode in range(STUDY.episodes):
            rows_of = of_kind(rows, "outcome", episode=episode, probe=summary.probe)
            targets, predicted = (np.array(rows_of[name].to_pylist()) for name in ("target", "predicted"))
            metrics.append(PEERS[summary.metric](targets, predicted, np.array(rows_of["scores"].to_pylist())))
        assert summary.value == pytest.approx(np.mean(metrics), rel=1e-5)
        assert summary.spread == pytest.approx(np.std(metrics, ddof=1), rel=1e-4)


def test_the_paired_interval_can_be_computed_again_from_the_outcomes(evidence: pa.Table) -> None:
    """From what the evidence says alone: seed and number of resamples stand in the row itself."""
    (row,) = differences(evidence, metric="balanced_accuracy", shots=5, probe="knn")
    right = {}
    for backbone in ("start", "adapted"):
        rows = of_kind(evidence, "outcome", backbone=backbone, shots=5, probe="knn")
        correct = np.array(rows["target"].to_pylist()) == np.array(rows["predicted"].to_pylist())
        right[backbone] = correct.reshape(len(set(rows["episode"].to_pylist())), -1)
    rows = of_kind(rows, "outcome", episode=0)
    targets, patients = np.array(rows["target"].to_pylist()), np.array(rows["patient"].to_pylist())
    counts = patient_counts(row.patients, max(row.resamples, row.p_resamples), row.seed)
    place = {patient: index for index, patient in enumerate(dict.fromkeys(patients.tolist()))}
    replicates = []
    for replicate in counts:
        weights = replicate[[place[patient] for patient in patients]]
        present = [c for c in np.unique(targets) if weights[targets == c].sum()]
        value = {
            backbone: np.mean(
                [np.average(row[targets == c], weights=weights[targets == c]) for row in rows for c in present]
            )
            for backbone, rows in right.items()
        }
        replicates.append(value["adapted"] - value["start"])
    assert (row.low, row.high) == pytest.approx(np.quantile(replicates[: row.resamples], [0.025, 0.975]), abs=1e-6)
    assert row.p_value == pytest.approx(bootstrap_p_value(np.array(replicates[: row.p_resamples])))


def test_every_summary_says_its_seed_and_number_of_resamples(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = {"start": make_features(manifest, 0.6), "adapted": make_features(manifest, 1.2)}
    study = dataclasses.replace(STUDY, shots=(2,), episodes=2, probes=("knn",), seed=11, replicates=70)
    evidence = study.run(features, manifest)
    assert {(row.seed, row.resamples, row.p_resamples) for row in summaries(evidence)} == {(11, 70, None)}
    assert {(row.seed, row.resamples) for row in differences(evidence)} == {(11, 70)}


@pytest.mark.parametrize("unit", ["image", "series", "study", "patient"])
def test_no_patient_is_on_both_sides_of_an_episode(unit: str, make_manifest, make_features) -> None:
    manifest = make_manifest()
    study = dataclasses.replace(STUDY, unit=unit, probes=("nearest_mean",))
    evidence = study.run({"start": make_features(manifest)}, manifest)
    tested = set(of_kind(evidence, "outcome")["patient"].to_pylist())
    support = of_kind(evidence, "support")
    assert not tested & set(support["patient"].to_pylist())
    split = dict(zip(manifest.column("patient"), manifest.column("split"), strict=True))
    assert {split[patient] for patient in tested} == {"test"}
    for shots in STUDY.shots:
        for episode in range(STUDY.episodes):
            rows = of_kind(support, "support", shots=shots, episode=episode)
            assert len(set(rows["patient"].to_pylist())) == rows.num_rows == 3 * shots
            _, counts = np.unique(rows["target"].to_pylist(), return_counts=True)
            assert (counts == shots).all()


def test_every_backbone_and_probe_learns_from_the_same_support_sets(evidence: pa.Table) -> None:
    support = of_kind(evidence, "support", shots=5)
    sets = {
        tuple(of_kind(support, "support", backbone=backbone, probe=probe)["unit_id"].to_pylist())
        for backbone in ("start", "adapted")
        for probe in STUDY.asked_probes
    }
    assert len(sets) == 1


def test_the_paired_interval_is_narrower_than_the_difference_of_unpaired_ones(make_manifest, make_features) -> None:
    manifest = make_manifest()
    start = make_features(manifest, 0.6)
    noise = np.random.default_rng(5).normal(size=start.blocks[1, "class"].shape) * 0.3
    close = {(1, "class"): (start.blocks[1, "class"] + noise).astype(np.float32)}
    features = {"start": start, "close": dataclasses.replace(start, blocks=close)}
    evidence = STUDY.run(features, manifest)
    for row in differences(evidence, metric="auroc"):
        pair = summaries(evidence, metric="auroc", shots=row.shots, probe=row.probe)
        unpaired = np.sqrt(sum((one.high - one.low) ** 2 for one in pair))
        assert row.high - row.low < 0.8 * unpaired


def test_the_same_features_differ_by_nothing(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = make_features(manifest)
    for row in differences(STUDY.run({"one": features, "other": features}, manifest)):
        assert (row.value, row.low, row.high, row.spread) == (0, 0, 0, 0)


def test_what_is_asked_for_twice_is_done_once(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = {"start": make_features(manifest)}
    twice = dataclasses.replace(STUDY, shots=(2, 5, 2), probes=("knn", "knn")).run(features, manifest)
    assert twice.equals(dataclasses.replace(STUDY, probes=("knn",)).run(features, manifest))


def test_two_classes_and_one_episode_are_enough(make_manifest, make_features) -> None:
    manifest = make_manifest(classes=2)
    features = {"start": make_features(manifest)}
    evidence = dataclasses.replace(STUDY, shots=(1,), episodes=1).run(features, manifest)
    assert {row.spread for row in summaries(evidence)} == {None}
    assert of_kind(evidence, "support").num_rows == 3 * 2


def test_labels_and_splits_can_be_checked_before_anything_is_embedded(make_manifest) -> None:
    STUDY.check(make_manifest())
    with pytest.raises(InputError, match="fewer than 40 shots"):
        dataclasses.replace(STUDY, shots=(40,)).check(make_manifest())


def test_the_baseline_can_be_named(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = {"one": make_features(manifest), "other": make_features(manifest, 2.0)}
    evidence = dataclasses.replace(STUDY, baseline="other").run(features, manifest)
    assert {(row.backbone, row.compared_with) for row in differences(evidence)} == {("one", "other")}


def test_both_intervals_are_kept_and_the_one_asked_for_leads(evidence: pa.Table, make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = {"start": make_features(manifest, 0.6), "adapted": make_features(manifest, 1.2)}
    other = dataclasses.replace(STUDY, interval="bca").run(features, manifest)
    for row, same in zip(summaries(evidence), summaries(other), strict=True):
        assert (row.interval, same.interval) == ("percentile", "bca")
        assert (row.low, row.high) == (row.low_percentile, row.high_percentile)
        assert (same.low, same.high) == (row.low_bca, row.high_bca)
    assert any(row.low_bca != row.low_percentile for row in summaries(evidence))


def test_resamples_that_lack_a_class_are_counted(make_manifest, make_features) -> None:
    manifest = make_manifest(classes=2, patients_a_class=4)
    study = dataclasses.replace(STUDY, shots=(1,), probes=("nearest_mean",))
    evidence = study.run({"start": make_features(manifest)}, manifest)
    counts = patient_counts(4, STUDY.replicates, STUDY.seed).reshape(-1, 2, 2)
    # Patients 4 to 7 are tested; their classes take turns.
    lacking = int((counts.sum(axis=1) == 0).any(axis=1).sum())
    assert lacking > 0
    for row in summaries(evidence):
        has_value = row.metric not in ("auroc", "auprc", "kappa")
        assert row.replicates == (STUDY.replicates if has_value else STUDY.replicates - lacking)
        assert row.replicates_lacking_class == (lacking if has_value else 0)


def test_p_values_are_corrected_over_all_comparisons_of_a_metric(evidence: pa.Table) -> None:
    assert {row.p_value for row in summaries(evidence)} == {None}
    for metric in PEERS:
        rows = differences(evidence, metric=metric)
        assert {row.comparisons for row in rows} == {6}
        assert [row.p_holm for row in rows] == holm([row.p_value for row in rows])


def test_a_difference_without_doubt_is_found_among_27_comparisons(make_manifest, make_features) -> None:
    """A thousand resamples alone would leave it at p .054; the interval is that of these, however many p takes."""
    manifest = make_manifest()
    strong = {f"strong {place}": make_features(manifest, 9.0, seed=place) for place in range(3)}
    features = {"start": make_features(manifest, 0.0), **strong}
    study = dataclasses.replace(STUDY, shots=(1, 2, 5), episodes=3, replicates=1000)
    evidence = study.run(features, manifest)
    rows = differences(evidence, metric="balanced_accuracy")
    assert {(row.comparisons, row.resamples, row.p_resamples) for row in rows} == {(27, 1000, 27 * 50)}
    assert max(row.p_holm for row in rows) < 0.05
    alone = dataclasses.replace(study, shots=(5,), probes=("knn",)).run(
        {name: features[name] for name in ("start", "strong 0")}, manifest
    )
    (row,) = differences(alone, metric="balanced_accuracy")
    assert (row.resamples, row.p_resamples) == (1000, 1000)
    (same,) = differences(evidence, metric="balanced_accuracy", backbone="strong 0", shots=5, probe="knn")
    ends = ("value", "low", "high", "low_bca", "high_bca", "replicates")
    assert [getattr(same, end) for end in ends] == [getattr(row, end) for end in ends]


def test_shots_may_be_images_of_one_patient(make_manifest, make_features) -> None:
    manifest = make_manifest(patients_a_class=4, images_a_patient=6)
    features = {"start": make_features(manifest)}
    with pytest.raises(InputError, match=r"class 'class 0' has 2 training patients .*, class 'class 1' has 2"):
        STUDY.run(features, manifest)
    evidence = dataclasses.replace(STUDY, draw="images").run(features, manifest)
    support = of_kind(evidence, "support", shots=5, probe="knn", episode=0)
    assert len(set(support["unit_id"].to_pylist())) == support.num_rows == 15
    assert len(set(support["patient"].to_pylist())) < 15
    assert {row.draw for row in summaries(evidence)} == {"images"}


def test_a_study_repeats_itself_and_another_seed_draws_others(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = {"start": make_features(manifest)}
    first = STUDY.run(features, manifest)
    assert first.equals(STUDY.run(features, manifest))
    assert not first.equals(dataclasses.replace(STUDY, seed=1).run(features, manifest))


def test_neither_the_key_nor_the_order_of_the_rows_changes_a_number(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = make_features(manifest)
    renamed = manifest
    for name in ("sample_id", "patient", "study", "series"):
        hashes = [hashlib.blake2b(value.encode()).hexdigest() for value in manifest.column(name)]
        renamed = renamed.with_column(name, hashes)
    order = np.random.default_rng(0).permutation(len(manifest))
    turned = renamed.select(order)
    same = dataclasses.replace(
        features,
        sample_ids=turned.column("sample_id"),
        blocks={block: vectors[order] for block, vectors in features.blocks.items()},
        manifest=turned.fingerprint,
    )
    for unit in ("image", "patient"):
        study = dataclasses.replace(STUDY, unit=unit)
        first, second = study.run({"start": features}, manifest), study.run({"start": same}, turned)
        for one, other in zip(summaries(first), summaries(second), strict=True):
            assert (one.low, one.high, one.spread) == pytest.approx((other.low, other.high, other.spread), abs=1e-6)
            assert one.value == pytest.approx(other.value, abs=1e-6)


def test_patients_seen_are_counted_for_the_backbone_that_saw_them(make_manifest, make_features) -> None:
    manifest = make_manifest()
    seen = manifest.column("patient")[-3:].tolist()
    adapted = dataclasses.replace(make_features(manifest), facts={"pretraining_patients": seen})
    evidence = STUDY.run({"start": make_features(manifest), "adapted": adapted}, manifest)
    assert {(row.backbone, row.patients_seen) for row in summaries(evidence)} == {("start", 0), ("adapted", 1)}
    assert {row.patients_seen for row in differences(evidence)} == {1}


def test_where_nobody_can_tell_who_was_seen_there_is_no_count(make_manifest, make_features) -> None:
    manifest = make_manifest()
    adapted = dataclasses.replace(make_features(manifest), facts={"pretraining_patients": None})
    start = make_features(manifest)
    for last, given in ((adapted, {}), (start, {"adapted": None})):
        evidence = STUDY.run({"start": start, "adapted": last}, manifest, given)
        assert {(row.backbone, row.patients_seen) for row in summaries(evidence)} == {("start", 0), ("adapted", None)}
        assert {row.patients_seen for row in differences(evidence)} == {None}


def test_a_patients_vector_is_the_mean_of_its_images(make_manifest, make_features) -> None:
    manifest = make_manifest(images_a_patient=4)
    features = make_features(manifest)
    one_each = manifest.select(np.arange(0, len(manifest), 4))
    means = features.blocks[1, "class"].reshape(-1, 4, 16).mean(axis=1)
    averaged = dataclasses.replace(
        features, sample_ids=one_each.column("sample_id"), blocks={(1, "class"): means}, manifest=one_each.fingerprint
    )
    by_patient = dataclasses.replace(STUDY, unit="patient").run({"start": features}, manifest)
    by_image = dataclasses.replace(STUDY, unit="patient").run({"start": averaged}, one_each)
    for one, other in zip(summaries(by_patient), summaries(by_image), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-6)
