"""The few-shot study of masks, on drawn images whose truth is known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from medino.core import InputError
from medino.data import Manifest
from medino.features import BackboneMaps, EvaluationTransform, MapStore, PatchPixels, keep_maps
from medino.models import PRESETS, build_backbone
from medino.probes import differences, of_kind, patient_counts, summaries
from medino.segmentation import HeadTraining, MaskStudy, Training
from medino.segmentation.case_overlays import CaseOverlays
from medino.segmentation.kept import class_shares

SHAPES = {"background": 0, "bright": 128, "dark": 255}
QUICK = HeadTraining(steps=30, batch_size=4)
TINY_UNET = Training(steps=2, batch_size=2, learning_rate=1e-3, weight_decay=0.0)


def study_of(**changes: object) -> MaskStudy:
    settings = {"shots": (1, 3), "episodes": 2, "replicates": 40, "training": QUICK, "unet": None, **changes}
    return MaskStudy(**{"class_values": SHAPES, **settings})


@pytest.fixture(scope="module")
def drawn(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Mapping[str, MapStore]]:
    """Drawn squares, with the maps of their pixels and of an untrained backbone, as they are and mirrored."""
    folder, manifest = tmp_path_factory.mktemp("maps"), Manifest.read(shapes)
    backbone = build_backbone(PRESETS["mini"].replace(embed_dim=24, depth=2, image_size=64))
    makers = {"pixels": PatchPixels(8), "untrained": BackboneMaps(backbone)}
    transform = EvaluationTransform(size=64)
    variants = ["as_is", "left_right"]
    return manifest, {
        name: keep_maps(folder / name, maker, manifest, transform, variants=variants) for name, maker in makers.items()
    }


@pytest.fixture(scope="module")
def evidence(drawn: tuple[Manifest, Mapping[str, MapStore]]) -> pa.Table:
    manifest, stores = drawn
    seen = {"untrained": list(manifest.column("patient")[manifest.column("split") == "test"][:2])}
    return study_of(unet=TINY_UNET).run(stores, manifest, seen)


def test_squares_are_found_from_the_masks_of_three_patients(evidence: pa.Table) -> None:
    (found,) = [row for row in summaries(evidence, backbone="pixels", metric="dice", shots=3) if row.target is None]
    assert found.value > 0.8
    assert found.low <= found.value <= found.high
    assert found.patients == 6


def test_all_learn_from_the_same_patients_and_none_is_tested(
    evidence: pa.Table, drawn: tuple[Manifest, Mapping[str, MapStore]]
) -> None:
    manifest, _ = drawn
    support = of_kind(evidence, "support", shots=3).to_pylist()
    sets = {
        name: {(row["episode"], row["unit_id"]) for row in support if row["backbone"] == name}
        for name in ("pixels", "untrained", "unet")
    }
    assert sets["pixels"] == sets["untrained"] == sets["unet"]
    assert len(sets["pixels"]) == 2 * 3
    train = set(manifest.column("patient")[manifest.column("split") == "train"])
    assert {row["patient"] for row in support} <= train


def test_a_summary_can_be_recomputed_from_the_outcomes(evidence: pa.Table) -> None:
    for metric in ("dice", "surface_dice_2px", "hausdorff95_px"):
        chosen = of_kind(evidence, "outcome", backbone="untrained", metric=metric, target="dark", shots=1)
        outcomes = chosen.to_pylist()
        episodes = [[row["value"] for row in outcomes if row["episode"] == episode] for episode in range(2)]
        (row,) = summaries(evidence, backbone="untrained", metric=metric, target="dark", shots=1)
        known = [np.mean([value for value in values if value is not None]) for values in episodes]
        assert row.value == pytest.approx(np.mean(known))
    (undefined,) = summaries(evidence, backbone="untrained", metric="hausdorff95_px_undefined", target="dark", shots=1)
    assert undefined.value == pytest.approx(sum(row["value"] is None for row in outcomes) / 2)


def test_a_paired_interval_can_be_recomputed_from_the_evidence_alone(evidence: pa.Table) -> None:
    chosen = [row for row in differences(evidence, metric="dice", shots=1) if row.target == "dark"]
    (row,) = [row for row in chosen if (row.backbone, row.compared_with) == ("untrained", "pixels")]
    # Two numbers of patients and two others to compare with: p needs more resamples than the forty of the interval.
    assert (row.resamples, row.p_resamples) == (40, 4 * 50)
    values = {}
    for backbone in ("untrained", "pixels"):
        outcomes = of_kind(evidence, "outcome", backbone=backbone, metric="dice", target="dark", shots=1)
        values[backbone] = outcomes["value"].to_numpy().reshape(2, -1).mean(axis=0)
    patients = outcomes["patient"].to_pylist()[: len(values["pixels"])]
    place = {patient: index for index, patient in enumerate(dict.fromkeys(patients))}
    counts = patient_counts(row.patients, row.resamples, row.seed)[:, [place[patient] for patient in patients]]
    replicates = counts @ (values["untrained"] - values["pixels"]) / counts.sum(axis=1)
    assert (row.low, row.high) == pytest.approx(np.quantile(replicates, [0.025, 0.975]), abs=1e-6)


def test_each_is_compared_with_the_first_and_with_the_unet(evidence: pa.Table) -> None:
    rows = [row for row in differences(evidence, metric="dice") if row.target is None]
    pairs = {(row.backbone, row.compared_with) for row in rows}
    assert pairs == {("untrained", "pixels"), ("pixels", "unet"), ("untrained", "unet")}
    values = {(row.backbone, row.shots): row.value for row in summaries(evidence, metric="dice") if row.target is None}
    for row in rows:
        expected = values[row.backbone, row.shots] - values[row.compared_with, row.shots]
        assert row.value == pytest.approx(expected)
        assert row.p_holm >= row.p_value
        assert row.patients_seen == (0 if "untrained" not in (row.backbone, row.compared_with) else 2)


def test_two_references_are_compared_with_each_other_once(drawn: tuple[Manifest, Mapping[str, MapStore]]) -> None:
    manifest, stores = drawn
    study = study_of(shots=(1,), references=("pixels", "untrained"), unet=TINY_UNET)
    evidence = study.run({**stores, "learned": stores["untrained"]}, manifest)
    rows = [row for row in differences(evidence, metric="dice") if row.target is None]
    assert sorted((row.backbone, row.compared_with) for row in rows) == [
        *(("learned", reference) for reference in ("pixels", "unet", "untrained")),
        *(("pixels", "unet"), ("untrained", "pixels"), ("untrained", "unet")),
    ]
    # Holm's correction counts what is told.
    assert {(row.compared_with, row.comparisons) for row in rows} == {("pixels", 2), ("untrained", 1), ("unet", 3)}


def test_every_summary_row_tells_how_many_tested_patients_were_seen(evidence: pa.Table) -> None:
    rows = [*summaries(evidence), *differences(evidence)]
    assert any((row.metric or "").endswith("_undefined") for row in rows)
    for row in rows:
        assert row.patients_seen == (2 if "untrained" in (row.backbone, row.compared_with) else 0)


def test_a_backbone_of_unknown_patients_says_so_in_every_row(drawn: tuple[Manifest, Mapping[str, MapStore]]) -> None:
    manifest, stores = drawn
    evidence = study_of(shots=(1,)).run({"pixels": stores["pixels"]}, manifest, {"pixels": None})
    assert {row.patients_seen for row in summaries(evidence)} == {None}


def test_the_same_seed_gives_the_same_evidence_and_another_one_other_patients(
    drawn: tuple[Manifest, Mapping[str, MapStore]],
) -> None:
    manifest, stores = drawn
    one = {"pixels": stores["pixels"]}
    first, again, other = (study_of(shots=(1,), seed=seed).run(one, manifest) for seed in (0, 0, 1))
    # As text, in which an undefined distance equals itself.
    assert str(first.to_pylist()) == str(again.to_pylist())
    chosen = [of_kind(table, "support")["unit_id"].to_pylist() for table in (first, other)]
    assert chosen[0] != chosen[1]


def test_both_ways_of_an_image_are_shown_with_its_mask_likewise(
    drawn: tuple[Manifest, Mapping[str, MapStore]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pixels of the mirrored image with the mask of the unmirrored one could not be learned.
    manifest, stores = drawn
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(
        "medino.segmentation.kept.draw_channel_factors",
        lambda channels, rate, generators: shown.append(torch.ones(len(generators), channels)) or shown[-1],
    )
    evidence = study_of(shots=(3,), training=HeadTraining(steps=120, batch_size=2)).run(
        {"pixels": stores["pixels"]}, manifest
    )
    assert len(shown) == 2 * 120
    (found,) = [row for row in summaries(evidence, metric="dice") if row.target is None]
    assert found.value > 0.75


def test_a_class_can_be_several_values_of_the_masks(drawn: tuple[Manifest, Mapping[str, MapStore]]) -> None:
    manifest, stores = drawn
    classes = {"background": 0, "square": [128, 255]}
    evidence = study_of(shots=(1,), class_values=classes).run({"pixels": stores["pixels"]}, manifest)
    assert {row.target for row in summaries(evidence, metric="dice")} == {None, "square"}


def test_shares_of_classes_sum_to_one_and_count_pixels() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.int64)
    masks[0, :3, :4] = 1
    shares = class_shares(masks, 3, 2)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(1, 2, 2))
    torch.testing.assert_close(shares[0, 1], torch.tensor([[0.75, 0.0], [0.0, 0.0]]))


def test_what_cannot_carry_a_study_is_refused_in_words(
    drawn: tuple[Manifest, Mapping[str, MapStore]], tmp_path: Path
) -> None:
    manifest, stores = drawn
    with pytest.raises(InputError, match=r"14 training patients have masks, fewer than 15"):
        study_of(shots=(15,)).run(stores, manifest)
    with pytest.raises(InputError, match="reference 'dinov2' is not among the maps"):
        study_of(references=("dinov2",)).run(stores, manifest)
    with pytest.raises(InputError, match="'dinov2', whose masks are to be drawn, is not among pixels, untrained"):
        study_of().run(stores, manifest, overlays=CaseOverlays(tmp_path / "drawn", "dinov2", 3))
    with pytest.raises(InputError, match="holds the values 255"):
        study_of(class_values={"background": 0, "bright": 128}).run(stores, manifest)
    with pytest.raises(InputError, match="another manifest"):
        study_of().run(stores, manifest.select(range(20)))
    smaller = keep_maps(tmp_path / "smaller", PatchPixels(8), manifest, EvaluationTransform(size=32))
    with pytest.raises(InputError, match="another size or fit"):
        study_of().run({**stores, "smaller": smaller}, manifest)
    bare = manifest.with_column("mask_path", [None] * len(manifest))
    store = keep_maps(tmp_path / "bare", PatchPixels(8), bare, EvaluationTransform(size=64))
    with pytest.raises(InputError, match=r"none of the 24 samples of .* has a mask"):
        study_of().run({"pixels": store}, bare)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shots": ()}, "at least one number of labelled patients"),
        ({"shots": (0,)}, "shots is 0"),
        ({"interval": "normal"}, "no interval 'normal'"),
        ({"tolerance": 0.0}, "tolerance is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        study_of(**settings)


def test_heads_that_look_at_images_are_refused() -> None:
    with pytest.raises(InputError, match="looks at the images"):
        HeadTraining(head="unetr")
