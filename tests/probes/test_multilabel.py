"""Studies of several labels a unit: the draw, one probe a label against the rest, metrics beside scikit-learn's."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from medino.core import InputError
from medino.data import Manifest
from medino.features import FeatureTable
from medino.probes import FewShotStudy, differences, of_kind, patient_counts, summaries
from medino.probes.multilabel import draw_labelled, label_sets
from medino.probes.resampled import label_f1

STUDY = FewShotStudy(shots=(1, 4), episodes=4, replicates=60, target="multilabel")

LABELS = ("effusion", "mass", "nodule")


@pytest.fixture
def labelled(make_manifest) -> Manifest:
    """72 patients of two images each; three independent labels, of which the last is rare. Some have none."""
    manifest = make_manifest(images_a_patient=2)
    generator = np.random.default_rng(4)
    has = generator.random((72, 3)) < (0.5, 0.4, 0.25)
    texts = ["|".join(np.array(LABELS)[row]) or "|" for row in has]
    return manifest.with_column("label", [texts[place // 2] for place in range(144)])


@pytest.fixture
def table(labelled: Manifest) -> FeatureTable:
    """Each label moves two of twelve dimensions."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(144, 12))
    for row, text in enumerate(labelled.column("label")):
        for label in label_sets([text], "|")[0]:
            vectors[row, 2 * LABELS.index(label) : 2 * LABELS.index(label) + 2] += 2
    return FeatureTable(
        sample_ids=labelled.column("sample_id"),
        blocks={(1, "class"): vectors.astype(np.float32)},
        backbone="three directions",
        manifest=labelled.fingerprint,
        transform="none",
    )


def test_labels_stand_between_separators() -> None:
    texts = ["mass; effusion", "mass", ";", " ; ", "mass;;mass"]
    expected = [{"mass", "effusion"}, {"mass"}, set(), set(), {"mass"}]
    assert label_sets(texts, ";") == expected


def test_each_label_has_its_shots_with_and_without_it() -> None:
    generator = np.random.default_rng(0)
    member = generator.random((60, 4)) < (0.5, 0.3, 0.15, 0.8)
    owners = np.arange(60) // 2
    sizes = set()
    for episode in range(40):
        chosen = draw_labelled(member, owners, list("abcd"), 3, seed=0, episode=episode)
        counts = member[chosen].sum(axis=0)
        assert (counts >= 3).all()
        assert (len(chosen) - counts >= 3).all()
        assert len(set(owners[chosen].tolist())) == len(chosen)
        sizes.add(len(chosen))
        np.testing.assert_array_equal(chosen, draw_labelled(member, owners, list("abcd"), 3, seed=0, episode=episode))
    # Fewer than 3 for each of 4 labels on each side: one patient counts for all labels.
    assert max(sizes) < 24
    assert len(sizes) > 1


def test_one_label_alone_is_drawn_like_two_classes() -> None:
    member = (np.arange(20) < 8)[:, None]
    for episode in range(10):
        chosen = draw_labelled(member, np.arange(20), ["mass"], 5, seed=1, episode=episode)
        assert member[chosen, 0].tolist() == [True] * 5 + [False] * 5


def test_a_draw_that_runs_out_of_patients_says_so() -> None:
    member = np.array([[True], [True], [True], [False]])
    with pytest.raises(InputError, match="no training patient without 'mass' is left for 2 shots"):
        draw_labelled(member, np.arange(4), ["mass"], 2, seed=0, episode=0)


def test_f1_is_scikit_learns_over_the_labels_that_occur() -> None:
    generator = np.random.default_rng(0)
    member, predicted = generator.random((30, 4)) < 0.15, generator.random((3, 30, 4)) < 0.4
    weights = patient_counts(30, 20, seed=0)
    found = label_f1(member, predicted, weights)
    lacking = 0
    for replicate, row in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(30), row)
        present = np.flatnonzero(member[drawn].any(axis=0))
        lacking += len(present) < 4
        peers = [f1_score(member[drawn], said[drawn], labels=present, average="macro") for said in predicted]
        np.testing.assert_allclose(found[replicate], peers)
    assert lacking
    assert np.isnan(label_f1(member, predicted, np.zeros((1, 30)))).all()


def test_the_metrics_can_be_computed_again_from_the_outcomes(labelled: Manifest, table: FeatureTable) -> None:
    evidence = STUDY.run({"start": table}, labelled)
    rows = summaries(evidence)
    assert len(rows) == 3 * 2 * 3
    for row in rows:
        assert (row.task, row.classes, row.patients) == ("multilabel", list(LABELS), 36)
        assert row.low <= row.value <= row.high
        values = []
        for episode in range(STUDY.episodes):
            of = of_kind(evidence, "outcome", probe=row.probe, shots=row.shots, episode=episode).to_pylist()
            true, said = (
                np.array([[label in sets for label in LABELS] for sets in label_sets([r[name] for r in of], "|")])
                for name in ("target", "predicted")
            )
            scores = np.array([r["scores"] for r in of])
            np.testing.assert_array_equal(said, scores > 0.5)
            values.append(
                {
                    "auroc": lambda true=true, scores=scores: roc_auc_score(true, scores),
                    "auprc": lambda true=true, scores=scores: average_precision_score(true, scores),
                    "macro_f1": lambda true=true, said=said: f1_score(true, said, average="macro"),
                }[row.metric or ""]()
            )
        assert row.value == pytest.approx(np.mean(values), rel=1e-5)
        assert row.spread == pytest.approx(np.std(values, ddof=1), rel=1e-4)


def test_labels_are_learnt_each_against_the_rest(labelled: Manifest, table: FeatureTable) -> None:
    evidence = dataclasses.replace(STUDY, shots=(1,), probes=("logistic",)).run({"start": table}, labelled)
    vectors = dict(zip(table.sample_ids, table.blocks[1, "class"].astype(float), strict=True))
    compared = 0
    for episode in range(STUDY.episodes):
        support = of_kind(evidence, "support", episode=episode).to_pylist()
        known = np.stack([vectors[row["unit_id"]] for row in support])
        asked = of_kind(evidence, "outcome", episode=episode).to_pylist()
        centre = known.mean(axis=0)
        scale = np.sqrt(((known - centre) ** 2).sum(axis=1).mean())
        queries = (np.stack([vectors[row["unit_id"]] for row in asked]) - centre) / scale
        for place, label in enumerate(LABELS):
            has = np.array([label in sets for sets in label_sets([row["target"] for row in support], "|")])
            if min(has.sum(), (~has).sum()) > 1:
                continue
            # One shot on a side: C is 1 by prior, which is 2 for scikit-learn's one vector of two classes.
            peer = LogisticRegression(C=2.0, tol=1e-10, max_iter=10000).fit((known - centre) / scale, has)
            found = [row["scores"][place] for row in asked]
            np.testing.assert_allclose(found, peer.predict_proba(queries)[:, 1], atol=1e-3)
            compared += 1
    assert compared


def test_better_features_win_and_chance_is_chance(labelled: Manifest, table: FeatureTable) -> None:
    noise = np.random.default_rng(9).normal(size=(144, 12)).astype(np.float32)
    features = {"noise": dataclasses.replace(table, blocks={(1, "class"): noise}), "start": table}
    evidence = STUDY.run(features, labelled)
    for row in differences(evidence, metric="auroc", shots=4):
        assert row.low > 0
    same = dataclasses.replace(table, blocks={(1, "class"): np.ones_like(noise)})
    for row in summaries(STUDY.run({"same": same}, labelled), metric="auroc"):
        assert row.value == pytest.approx(0.5)


@pytest.mark.parametrize("probe", ["linear_grid", "abmil", "logistic_max"])
def test_every_probe_of_two_classes_learns_labels(probe: str, labelled: Manifest, table: FeatureTable) -> None:
    study = dataclasses.replace(STUDY, shots=(1, 5), episodes=2, probes=(probe,), unit="patient")
    found = [row.value for row in summaries(study.run({"start": table}, labelled), metric="auroc")]
    assert len(found) == 2
    assert found[1] > 0.6


def test_labels_of_too_few_patients_are_left_out_only_when_told_so(labelled: Manifest, table: FeatureTable) -> None:
    split = labelled.column("split")
    tested = [place for place, name in enumerate(split) if name == "test"]
    texts = list(labelled.column("label"))
    texts[0] = texts[1] = texts[0] + "|rare"
    texts[tested[0]] = texts[tested[1]] = texts[tested[0]] + "|rare"
    manifest = labelled.with_column("label", texts)
    table = dataclasses.replace(table, manifest=manifest.fingerprint)
    with pytest.raises(InputError, match=r"label 'rare' has 1 training patients with it, fewer than 4 shots.*drop_"):
        STUDY.run({"start": table}, manifest)
    evidence = dataclasses.replace(STUDY, drop_small_classes=True).run({"start": table}, manifest)
    assert {(row.classes_left_out, tuple(row.classes)) for row in summaries(evidence)} == {("rare", LABELS)}
    assert of_kind(evidence, "outcome", shots=1, probe="knn", episode=0).num_rows == 72
    with pytest.raises(InputError, match="each of the 4 labels has too few patients"):
        dataclasses.replace(STUDY, drop_small_classes=True, shots=(40,)).check(manifest)


def test_resamples_that_lack_a_label_are_counted(labelled: Manifest, table: FeatureTable) -> None:
    """Five test patients; one label is common, so that all of a resample may have it."""
    common = ["|".join(sorted(own ^ {"nodule"})) or "|" for own in label_sets(labelled.column("label"), "|")]
    tested, owners = labelled.column("split") == "test", labelled.column("patient")
    kept = ~tested | np.isin(owners.astype(str), sorted(set(owners[tested]))[:5])
    manifest = labelled.with_column("label", common).select(kept)
    table = dataclasses.replace(
        table,
        sample_ids=table.sample_ids[kept],
        blocks={(1, "class"): table.blocks[1, "class"][kept]},
        manifest=manifest.fingerprint,
    )
    sets = label_sets(manifest.column("label")[manifest.column("split") == "test"][::2], "|")
    member = np.array([[label in own for label in LABELS] for own in sets])
    drawn = [member[row > 0] for row in patient_counts(5, STUDY.replicates, STUDY.seed)]
    nobody, everybody = (np.array([how(rows, axis=0) for rows in drawn]) for how in (_none, np.all))
    assert (everybody.any(axis=1) & ~nobody.any(axis=1)).any()
    lacking, without_any = (nobody | everybody).any(axis=1).sum(), (nobody | everybody).all(axis=1).sum()
    row = summaries(STUDY.run({"start": table}, manifest), metric="auroc", shots=4, probe="knn")[0]
    assert lacking > without_any
    assert (row.replicates, row.replicates_lacking_class) == (60 - without_any, lacking - without_any)


def _none(rows: np.ndarray, axis: int) -> np.ndarray:
    return ~rows.any(axis=axis)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["|"], r"no unit of blobs in train or test has a label besides '\|'"),
        (["mass"], "label 'mass' has 0 training patients without it, fewer than 4 shots"),
    ],
)
def test_labels_that_carry_no_study_are_refused(texts: list[str], message: str, make_manifest) -> None:
    with pytest.raises(InputError, match=message):
        STUDY.check(make_manifest().with_column("label", texts * 216))
