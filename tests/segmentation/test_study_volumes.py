"""The few-shot study of masks on small volumes: measured and drawn as volumes, or slice by slice."""

from pathlib import Path

import nibabel
import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from matplotlib.figure import Figure

from medino.data import Manifest, PixelDataset, assign_splits, scan
from medino.features import EvaluationTransform, PatchPixels, keep_maps
from medino.probes import of_kind, summaries
from medino.segmentation import HeadTraining, MaskStudy, dice
from medino.segmentation.case_overlays import CaseOverlays
from medino.segmentation.mask_design import MaskedImages

QUICK = HeadTraining(steps=30, batch_size=4)


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
