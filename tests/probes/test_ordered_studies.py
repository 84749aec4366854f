"""Studies of ordered classes and of numbers."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import somersd
from sklearn.linear_model import RidgeCV
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from medino.core import InputError
from medino.data import Manifest
from medino.features import PIXELS, FeatureTable
from medino.probes import FewShotStudy, differences, of_kind, patient_counts, summaries
from medino.probes.continuous import draw_spread
from medino.probes.ridge import PENALTIES

ORDER = ("class 2", "class 0", "class 1")

ORDINAL = FewShotStudy(shots=(2, 5), episodes=4, replicates=60, target="ordinal", order=ORDER)

AGES = FewShotStudy(shots=(1, 2, 10), episodes=4, replicates=60, target="continuous")


@pytest.fixture
def aged(make_manifest) -> Manifest:
    """72 patients of three images, each with an age in half years."""
    manifest = make_manifest()
    ages = np.round(np.random.default_rng(2).uniform(20, 90, size=72) * 2) / 2
    return manifest.with_column("label", [f"{ages[place // 3]}" for place in range(216)])


@pytest.fixture
def table(aged: Manifest) -> FeatureTable:
    """A direction along which the age can be read, with noise."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(216, 12))
    vectors[:, 3] = 0.2 * (aged.column("label").astype(float) - 50) + generator.normal(size=216)
    return FeatureTable(
        sample_ids=aged.column("sample_id"),
        blocks={(1, "class"): vectors.astype(np.float32)},
        backbone="one direction",
        manifest=aged.fingerprint,
        transform="none",
    )


def test_the_order_of_classes_adds_metrics_and_changes_no_other(make_manifest, make_features) -> None:
    manifest = make_manifest()
    features = {"start": make_features(manifest)}
    ordered = ORDINAL.run(features, manifest)
    plain = dataclasses.replace(ORDINAL, target="classes", order=()).run(features, manifest)
    assert {row.task for row in summaries(ordered)} == {"ordinal"}
    assert {tuple(row.classes) for row in summaries(ordered)} == {ORDER}
    assert {tuple(row.classes) for row in summaries(plain)} == {tuple(sorted(ORDER))}
    added = {row.metric for row in summaries(ordered)} - {row.metric for row in summaries(plain)}
    assert added == {"mae", "quadratic_kappa", "concordance"}


def test_ordinal_metrics_can_be_computed_again_from_the_outcomes(make_manifest, make_features) -> None:
    manifest = make_manifest()
    evidence = ORDINAL.run({"start": make_features(manifest)}, manifest)
    for row in summaries(evidence, shots=5):
        if row.metric not in ("mae", "quadratic_kappa", "concordance"):
            continue
        values = []
        for episode in range(ORDINAL.episodes):
            of = of_kind(evidence, "outcome", probe=row.probe, shots=5, episode=episode).to_pylist()
            true, said = (np.array([ORDER.index(one[name]) for one in of]) for name in ("target", "predicted"))
            expected = np.array([one["scores"] for one in of]) @ np.arange(3)
            values.append(
                {
                    "mae": np.abs(true - said).mean(),
                    "quadratic_kappa": cohen_kappa_score(true, said, weights="quadratic"),
                    "concordance": (somersd(true, expected).statistic + 1) / 2,
                }[row.metric]
            )
        assert row.value == pytest.approx(np.mean(values), rel=1e-5)
        assert row.low <= row.value <= row.high


def test_support_sets_are_spread_over_the_range() -> None:
    values = np.random.default_rng(0).permutation(40).astype(float)
    drawn = [draw_spread(values, np.arange(40), 4, seed=0, episode=episode) for episode in range(200)]
    for chosen in drawn:
        assert (values[chosen] // 10).tolist() == [0, 1, 2, 3]
    counts = np.bincount(np.concatenate(drawn), minlength=40)
    np.testing.assert_allclose(counts / 200, 1 / 10, atol=0.08)
    whole = draw_spread(values, np.arange(40), 40, seed=0, episode=0)
    assert sorted(whole.tolist()) == list(range(40))


def test_of_each_patient_one_unit_is_drawn() -> None:
    values = np.random.default_rng(0).normal(size=40)
    owners = np.arange(40) // 4
    for episode in range(50):
        chosen = draw_spread(values, owners, 6, seed=0, episode=episode)
        assert len(set(owners[chosen].tolist())) == 6
        assert (np.diff(values[chosen]) > 0).all()


def test_ages_are_predicted_by_ridge_regression_of_the_support_set(aged: Manifest, table: FeatureTable) -> None:
    evidence = AGES.run({"start": table}, aged)
    age = dict(zip(aged.column("sample_id"), aged.column("label").astype(float), strict=True))
    vectors = dict(zip(table.sample_ids, table.blocks[1, "class"].astype(float), strict=True))
    errors = []
    for episode in range(AGES.episodes):
        support = of_kind(evidence, "support", shots=10, episode=episode)["unit_id"].to_pylist()
        asked = of_kind(evidence, "outcome", shots=10, episode=episode)
        ids = asked["unit_id"].to_pylist()
        known = np.stack([vectors[unit] for unit in support])
        centre, values = known.mean(axis=0), np.array([age[unit] for unit in support])
        scale = np.sqrt(((known - centre) ** 2).sum(axis=1).mean())
        peer = RidgeCV(alphas=PENALTIES).fit((known - centre) / scale, values)
        expected = peer.predict((np.stack([vectors[unit] for unit in ids]) - centre) / scale)
        np.testing.assert_allclose(asked["predicted_value"].to_numpy(), expected, rtol=1e-5)
        np.testing.assert_array_equal(asked["target_value"].to_numpy(), [age[unit] for unit in ids])
        errors.append(mean_absolute_error([age[unit] for unit in ids], expected))
    row = summaries(evidence, metric="mae", shots=10)[0]
    assert (row.task, row.probe, row.classes, row.replicates_lacking_class) == ("regression", "ridge", None, None)
    assert row.value == pytest.approx(np.mean(errors))
    assert row.spread == pytest.approx(np.std(errors, ddof=1))


def test_the_interval_of_the_error_can_be_computed_again_from_the_outcomes(aged: Manifest, table: FeatureTable) -> None:
    evidence = AGES.run({"start": table}, aged)
    rows = of_kind(evidence, "outcome", shots=10)
    errors = np.abs(rows["target_value"].to_numpy() - rows["predicted_value"].to_numpy()).reshape(4, -1).mean(axis=0)
    patients = of_kind(rows, "outcome", episode=0)["patient"].to_pylist()
    place = {patient: index for index, patient in enumerate(dict.fromkeys(patients))}
    counts = patient_counts(len(place), AGES.replicates, AGES.seed)[:, [place[patient] for patient in patients]]
    row = summaries(evidence, metric="mae", shots=10)[0]
    expected = np.quantile(counts @ errors / counts.sum(axis=1), [0.025, 0.975])
    assert (row.low, row.high) == pytest.approx(expected.tolist())
    assert row.patients == 36


def test_better_features_err_less(aged: Manifest, table: FeatureTable) -> None:
    noise = np.random.default_rng(9).normal(size=(216, 12)).astype(np.float32)
    features = {"noise": dataclasses.replace(table, blocks={(1, "class"): noise}), "start": table}
    for row in differences(AGES.run(features, aged), shots=10):
        assert (row.high < 0) if row.metric == "mae" else (row.low > 0)
        assert row.p_holm is not None


def test_one_labelled_patient_predicts_its_own_value_for_all(aged: Manifest, table: FeatureTable) -> None:
    evidence = AGES.run({"start": table}, aged)
    assert {row.value for row in summaries(evidence, metric="concordance", shots=1)} == {0.5}
    for episode in range(AGES.episodes):
        said = of_kind(evidence, "outcome", shots=1, episode=episode)["predicted_value"].to_pylist()
        (label,) = of_kind(evidence, "support", shots=1, episode=episode)["target"].to_pylist()
        assert set(said) == {float(label)}


def test_every_backbone_learns_from_the_same_patients(aged: Manifest, table: FeatureTable) -> None:
    evidence = AGES.run({"one": table, "other": table}, aged)
    first, second = (of_kind(evidence, "support", backbone=name)["unit_id"].to_pylist() for name in ("one", "other"))
    assert first == second
    tested = set(of_kind(evidence, "outcome")["patient"].to_pylist())
    assert not tested & set(of_kind(evidence, "support")["patient"].to_pylist())


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("old", "3 of 216 labelled units of blobs have a label that is no finite number, such as 'old'"),
        ("nan", "no finite number, such as 'nan'"),
        ("-inf", "no finite number, such as '-inf'"),
        ("3,5", "such as '3,5'; correct them.* with a decimal point"),
    ],
)
def test_labels_that_are_no_numbers_are_counted(label: str, message: str, aged: Manifest) -> None:
    labels = [label] * 3 + list(aged.column("label"))[3:]
    with pytest.raises(InputError, match=message):
        AGES.check(aged.with_column("label", labels))


def test_one_value_or_too_few_patients_carry_no_study(aged: Manifest) -> None:
    with pytest.raises(InputError, match="in the split 'test' have one value, 7; a study of a continuous target needs"):
        AGES.check(aged.with_column("label", ["7"] * 216))
    with pytest.raises(InputError, match="blobs has 36 labelled training patients, fewer than 37 shots"):
        dataclasses.replace(AGES, shots=(37,)).check(aged)
    dataclasses.replace(AGES, shots=(37,), draw="images").check(aged)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "survival"}, "no target 'survival'; choose one of classes, multilabel, ordinal, continuous"),
        ({"target": "ordinal"}, "an ordinal target needs the order of its classes"),
        ({"order": ("a", "b")}, "an order of classes belongs to an ordinal target, not to 'classes'"),
        ({"target": "ordinal", "order": ("a", "b", "a")}, "names the class 'a' twice"),
        ({"target": "multilabel", "separator": ""}, "the separator of labels is empty"),
        ({"target": "continuous", "probes": ("knn",)}, "no probe 'knn' for the target 'continuous'; choose from ridge"),
        ({"probes": ("ridge",)}, "no probe 'ridge' for the target 'classes'; choose from nearest_mean"),
    ],
)
def test_settings_that_do_not_fit_the_target_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FewShotStudy(**settings)


def test_an_order_has_to_name_the_classes_that_there_are(make_manifest) -> None:
    manifest = make_manifest()
    with pytest.raises(InputError, match=r"the order of classes \(class 2, class 0\) lacks 'class 1'"):
        dataclasses.replace(ORDINAL, order=ORDER[:2]).check(manifest)
    with pytest.raises(InputError, match="no unit of blobs in train or test has the class 'class 3' of the order"):
        dataclasses.replace(ORDINAL, order=(*ORDER, "class 3")).check(manifest)


@pytest.mark.parametrize("target", ["multilabel", "continuous"])
def test_no_network_is_trained_for_labels_and_numbers(target: str, aged: Manifest, table: FeatureTable) -> None:
    pixels = np.zeros((216, 3 * 64), dtype=np.float32)
    images = dataclasses.replace(table, blocks={PIXELS: pixels}, facts={"size": 8})
    manifest = aged if target == "continuous" else aged.with_column("label", ["mass", "|", "nodule"] * 72)
    images = dataclasses.replace(images, manifest=manifest.fingerprint)
    study = FewShotStudy(shots=(1,), episodes=2, replicates=10, target=target)
    with pytest.raises(InputError, match=f"'cnn' is images, .* for one class a unit, not for a {target} target"):
        study.run({"cnn": images}, manifest)
