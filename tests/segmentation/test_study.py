"""The few-shot study of masks, on drawn images whose truth is known and on small volumes."""

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from matplotlib.figure import Figure

from medino.core import InputError
from medino.data import Manifest, PixelDataset, assign_splits, scan
from medino.features import BackboneMaps, EvaluationTransform, MapStore, PatchPixels, keep_maps
from medino.models import PRESETS, build_backbone
from medino.probes import differences, of_kind, patient_counts, summaries
from medino.segmentation import HeadTraining, MaskStudy, Training, dice
from medino.segmentation.case_overlays import CaseOverlays
from medino.segmentation.kept import class_shares
from medino.segmentation.mask_design import MaskedImages

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


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Seven volumes of 6 x 24 x 24 voxels of 3 x 0.5 x 0.5 mm, each with a bright ball; their slices are the rows."""
    folder, generator = tmp_path_factory.mktemp("volumes"), np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    places = np.stack(np.mgrid[:6, :24, :24]) * np.array([3.0, 0.5, 0.5])[:, None, None, None]
    for number in range(7):
        centre = generator.uniform((5, 4, 4), (10, 8, 8))
        ball = ((places - centre[:, None, None, None]) ** 2).sum(axis=0) < 4**2
        image = generator.normal(100, 5, ball.shape) + 100 * ball
        # So that all slices are shown in one window.
        image[..., 0], image[..., -1] = 0, 300
        for part, values in (("images", image.astype(np.float32)), ("labels", ball.astype(np.uint8))):
            nibabel.save(
                nibabel.Nifti1Image(values, np.diag([3.0, 0.5, 0.5, 1.0])), folder / part / f"v{number}.nii.gz"
            )
    manifest = scan([folder / "images"], masks=folder / "labels", plane="sagittal")
    return assign_splits(manifest, {"train": 0.6, "test": 0.4}, seed=0)


def test_a_volume_is_one_case_measured_in_mm_along_three_axes(volumes: Manifest, tmp_path: Path) -> None:
    store = keep_maps(tmp_path / "maps", PatchPixels(4), volumes, EvaluationTransform(size=48))
    study = MaskStudy(
        {"background": 0, "ball": 1}, (2,), 1, "series", training=QUICK, unet=None, tolerance=1.0, replicates=20
    )
    evidence = study.run({"pixels": store}, volumes)
    tested = set(volumes.column("patient")[volumes.column("split") == "test"])
    cases = of_kind(evidence, "outcome", metric="surface_dice_1mm").to_pylist()
    assert {row["patient"] for row in cases} == tested
    assert len(cases) == len(tested)
    # Two patients give all of their slices.
    assert of_kind(evidence, "support").num_rows == 2
    (row,) = summaries(evidence, metric="dice", target="ball")
    assert row.value > 0.7


def test_a_volume_is_drawn_by_the_slice_that_shows_most(
    volumes: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, str]] = []

    def spy(image: torch.Tensor, truth: torch.Tensor, found: torch.Tensor, names: list[str], title: str) -> Figure:
        drawn.append((image, truth, found, title))
        return Figure()

    monkeypatch.setattr("medino.segmentation.case_overlays.overlay_figure", spy)
    transform = EvaluationTransform(size=48)
    store = keep_maps(tmp_path / "maps", PatchPixels(4), volumes, transform)
    study = MaskStudy({"background": 0, "ball": 1}, (1, 2), 2, "series", training=QUICK, unet=None, replicates=20)
    evidence = study.run({"pixels": store}, volumes, overlays=CaseOverlays(tmp_path / "drawn", "pixels", 3))
    paths = sorted((tmp_path / "drawn").iterdir())
    assert len(paths) == len(drawn) == 3
    cases = of_kind(evidence, "outcome", metric="dice", shots=2, episode=0).to_pylist()
    assert len(cases) == 3
    pixels, ids = PixelDataset(volumes), list(volumes.column("sample_id"))
    for path, (image, truth, found, title), case in zip(
        paths, drawn, sorted(cases, key=lambda case: case["value"]), strict=True
    ):
        row = ids.index(path.stem.split("-")[3])
        assert volumes.column("series")[row] == case["unit_id"]
        assert f"case {case['unit_id'][:8]}, slice " in title
        assert f" of 6, Dice {case['value']:.3f}\n" in title
        # The picture is the slice's own, as it was before it was normalised.
        torch.testing.assert_close(truth, transform.place_mask(pixels.mask(row)))
        assert 0 <= image.min() < image.max() <= 1
        of_series = np.flatnonzero(volumes.column("series") == case["unit_id"])
        most = max(int(pixels.mask(int(one)).sum()) for one in of_series)
        assert (truth > 0).sum() + (found > 0).sum() > 0
        assert int(pixels.mask(row).sum()) > most / 2


def test_distances_of_a_volume_count_the_gap_between_slices(
    volumes: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[int, ...], list[float]]] = []
    measured = MaskStudy._measured.__globals__["case_results"]

    def spy(masks: torch.Tensor, truth: torch.Tensor, names, unit, patient, spacing, tolerance):
        seen.append((tuple(masks.shape), list(spacing)))
        assert dice(truth > 0, truth > 0) == 1
        return measured(masks, truth, names, unit, patient, spacing, tolerance)

    monkeypatch.setattr("medino.segmentation.study.case_results", spy)
    store = keep_maps(tmp_path / "maps", PatchPixels(4), volumes, EvaluationTransform(size=48))
    study = MaskStudy({"background": 0, "ball": 1}, (1,), 1, "series", training=QUICK, unet=None, replicates=20)
    study.run({"pixels": store}, volumes)
    assert {shape for shape, _ in seen} == {(6, 48, 48)}
    for _, spacing in seen:
        assert spacing == pytest.approx([3.0, 0.25, 0.25])


def test_all_cases_are_measured_in_pixels_where_one_has_no_spacing(
    volumes: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spacing = MaskedImages.spacing
    first = int(np.flatnonzero(volumes.column("split") == "test")[0])
    monkeypatch.setattr(MaskedImages, "spacing", lambda self, row: None if row == first else spacing(self, row))
    store = keep_maps(tmp_path / "maps", PatchPixels(4), volumes, EvaluationTransform(size=48))
    study = MaskStudy({"background": 0, "ball": 1}, (1,), 1, "image", training=QUICK, unet=None, replicates=20)
    metrics = set(of_kind(study.run({"pixels": store}, volumes), "outcome")["metric"].to_pylist())
    assert metrics == {"dice", "surface_dice_2px", "hausdorff95_px"}


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


def test_cases_of_one_patient_are_resampled_together(volumes: Manifest, tmp_path: Path) -> None:
    # As images the slices of a volume are cases of their own; the patients beside the number stay what they are.
    store = keep_maps(tmp_path / "maps", PatchPixels(4), volumes, EvaluationTransform(size=48))
    study = MaskStudy({"background": 0, "ball": 1}, (1,), 1, "image", training=QUICK, unet=None, replicates=20)
    evidence = study.run({"pixels": store}, volumes)
    tested = len(set(volumes.column("patient")[volumes.column("split") == "test"]))
    rows = of_kind(evidence, "outcome", metric="dice")
    assert rows.num_rows == 6 * tested
    assert len(pc.unique(of_kind(evidence, "support")["patient"])) == 1
    assert of_kind(evidence, "support").num_rows == 6
    (row,) = summaries(evidence, metric="dice", target="ball")
    assert row.patients == tested
