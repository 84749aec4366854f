"""A network trained on the shots alone: it learns what is plain, sees nothing else, and stands beside the probes."""

import dataclasses

import numpy as np
import pytest
import torch

from medino.core import InputError
from medino.features import PIXELS, FeatureTable
from medino.probes import FewShotStudy, differences, of_kind, summaries
from medino.probes import end_to_end as rooms
from medino.probes.end_to_end import ImageSource, augmented, end_to_end, fitted, probabilities
from medino.probes.episodes import Episodes
from medino.probes.units import first_come, labelled_units

SIDE = 16


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "STEPS", 12)


@pytest.fixture
def make_images():
    """Noise whose red channel is the brighter the later the class."""

    def make(manifest, seed: int = 0) -> FeatureTable:
        images = np.random.default_rng(seed).normal(size=(len(manifest), 3, SIDE, SIDE)).astype(np.float32)
        images[:, 0] += np.array([2.0 * int(label[-1]) for label in manifest.column("label")])[:, None, None]
        return FeatureTable(
            sample_ids=manifest.column("sample_id"),
            blocks={PIXELS: images.reshape(len(images), -1)},
            backbone="pixels",
            manifest=manifest.fingerprint,
            transform="none",
        )

    return make


def asked(units, shots: int, episodes: int) -> Episodes:
    """The first training units of each class, the classes in order, moved on by one an episode."""
    train, names = np.flatnonzero(units.splits == "train"), sorted(set(units.labels))
    support = [
        np.concatenate([train[units.labels[train] == name][episode : episode + shots] for name in names])
        for episode in range(episodes)
    ]
    classes = np.repeat(np.arange(len(names)), shots)
    drawn, patients = np.stack(support), first_come(units.patients)[2]
    return Episodes(drawn, patients[drawn], classes, np.flatnonzero(units.splits == "test"), len(names), seed=0)


def test_a_plain_difference_is_learned(make_manifest, make_images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "STEPS", 60)
    manifest = make_manifest(images_a_patient=1)
    units = labelled_units(manifest, "image")
    scores = end_to_end(ImageSource("cnn", units, make_images(manifest)), asked(units, 8, 1))
    episode = asked(units, 8, 1)
    names = sorted(set(units.labels))
    targets = np.array([names.index(label) for label in units.labels[episode.test]])
    assert (scores[0].argmax(axis=1) == targets).mean() > 0.9
    np.testing.assert_allclose(scores.sum(axis=2), 1, atol=1e-5)


def test_it_is_trained_on_the_support_images_alone_and_the_same_each_time(make_manifest, make_images) -> None:
    manifest = make_manifest(patients_a_class=8, images_a_patient=1)
    units, table = labelled_units(manifest, "image"), make_images(manifest)
    episodes = asked(units, 2, 2)
    scores = end_to_end(ImageSource("cnn", units, table), episodes)
    images = table.blocks[PIXELS].copy()
    order = {sample: row for row, sample in enumerate(table.sample_ids)}
    others = set(range(len(units))) - set(episodes.support[0]) - set(episodes.test)
    images[[order[units.sample_ids[unit]] for unit in others]] = 100
    again = end_to_end(ImageSource("cnn", units, dataclasses.replace(table, blocks={PIXELS: images})), episodes)
    np.testing.assert_array_equal(again[0], scores[0])
    assert (again[1] != scores[1]).any()


def test_a_unit_of_several_images_is_their_mean(make_manifest, make_images) -> None:
    manifest = make_manifest(patients_a_class=8, images_a_patient=3)
    units, table = labelled_units(manifest, "patient"), make_images(manifest)
    episodes = asked(units, 2, 1)
    source = ImageSource("cnn", units, table)
    scores = end_to_end(source, episodes)[0]
    of_support = np.isin(units.unit_of_sample, episodes.support[0])
    classes = dict(zip(episodes.support[0].tolist(), episodes.classes.tolist(), strict=True))
    labels = torch.tensor([classes[unit] for unit in units.unit_of_sample[of_support]])
    network = fitted(source.images[torch.from_numpy(of_support)], labels, 3, 0, episodes.support.shape[1], 0)
    for place, unit in enumerate(episodes.test):
        of_unit = probabilities(network, source.images[torch.from_numpy(units.unit_of_sample == unit)])
        np.testing.assert_allclose(scores[place], of_unit.mean(dim=0).numpy(), atol=1e-5)


def test_a_view_is_a_part_of_its_image_and_half_of_them_are_mirrored() -> None:
    ramp = torch.linspace(0, 1, 64).expand(200, 3, 64, 64)
    views = augmented(ramp, torch.Generator().manual_seed(0))
    assert views.min() >= 0
    assert views.max() <= 1
    slope = views[:, 0, 32, -8] - views[:, 0, 32, 8]
    assert 60 < (slope < 0).sum() < 140
    # A crop of a share of the side shows this share of the ramp.
    shares = slope.abs() * 63 / 48
    assert 0.69 < shares.min() < 0.75
    assert 0.95 < shares.max() < 1.01


def test_a_study_trains_it_on_its_first_support_sets_and_compares_every_probe_with_it(
    make_manifest, make_features, make_images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "EPISODES", 2)
    monkeypatch.setattr("medino.probes.study.EPISODES", 2)
    manifest = make_manifest(patients_a_class=10, images_a_patient=1)
    features = {"start": make_features(manifest), "cnn": make_images(manifest)}
    study = FewShotStudy(shots=(2,), episodes=4, replicates=50, probes=("knn", "logistic"))
    evidence = study.run(features, manifest)
    assert {(row.backbone, row.probe) for row in summaries(evidence)} == {
        ("start", "knn"),
        ("start", "logistic"),
        ("cnn", "end_to_end"),
    }
    assert {(row.backbone, row.probe, row.compared_with) for row in differences(evidence)} == {
        ("start", "knn", "cnn"),
        ("start", "logistic", "cnn"),
    }
    support = {
        name: [row["unit_id"] for row in of_kind(evidence, "support", probe=probe).to_pylist() if row["episode"] < 2]
        for name, probe in (("start", "knn"), ("cnn", "end_to_end"))
    }
    assert support["start"] == support["cnn"]
    of_episode = {
        probe: of_kind(evidence, "episode", probe=probe, metric="auroc")["value"].to_numpy()
        for probe in ("knn", "end_to_end")
    }
    assert (len(of_episode["knn"]), len(of_episode["end_to_end"])) == (4, 2)
    (difference,) = differences(evidence, probe="knn", metric="auroc")
    assert difference.value == pytest.approx(np.mean(of_episode["knn"][:2]) - np.mean(of_episode["end_to_end"]))
    alone = study.run({"start": features["start"]}, manifest)
    for row in summaries(alone):
        assert row in summaries(evidence, backbone="start")


def test_numbers_are_no_classes(make_manifest, make_images) -> None:
    manifest = make_manifest(patients_a_class=8, images_a_patient=1)
    images = make_images(manifest)
    values = manifest.with_column("label", [str(place % 7) for place in range(len(manifest))])
    table = dataclasses.replace(images, manifest=values.fingerprint)
    with pytest.raises(InputError, match="not for a continuous target"):
        FewShotStudy(shots=(4,), episodes=2, target="continuous").run({"cnn": table}, values)
