"""Slices between their neighbours (2.5D): which slices a head sees, from NIfTI volumes and from DICOM series."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytorch_lightning as pl
import torch
from archive_files import write_dicom
from PIL import Image
from pydicom import dcmread

from medino.data import Intensity, Manifest, scan
from medino.features import EvaluationTransform
from medino.segmentation import Segmentation, SegmentationData

TrainerMaker = Callable[..., pl.Trainer]

VALUES = {"background": 0, "organ": 1}
SIDE = 16
UNCHANGED = EvaluationTransform(
    size=SIDE, intensity=Intensity(window="full", channels="neighbours"), mean=(0, 0, 0), std=(1, 1, 1)
)


def grey_of(volume: int, position: int) -> int:
    """The one grey value of a slice."""
    return 100 * volume + 10 * position


def seen(path: Path) -> dict[str, list[int]]:
    """The grey values of the three channels of each training case."""
    data = SegmentationData(str(path), VALUES, UNCHANGED)
    data.setup("fit")
    cases = data.training_cases()
    found = {}
    for case in (cases[index] for index in range(len(cases))):
        assert torch.equal(case.image, case.image[:, :1, :1].expand_as(case.image))
        found[case.sample_id] = (case.image[:, 0, 0] * 255).round().int().tolist()
    return found


def expected(manifest: Manifest, volume_of: dict[int, int], position_of: dict[int, int]) -> dict[str, list[int]]:
    """Before, itself and after, with the ends repeated, of four slices a volume."""
    return {
        manifest.sample(row).sample_id: [
            grey_of(volume_of[row], min(max(position_of[row] + step, 0), 3)) for step in (-1, 0, 1)
        ]
        for row in volume_of
    }


def test_slices_of_nifti_volumes_stand_between_those_of_their_own_volume(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for volume in (0, 1):
        voxels = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
        voxels[:] = [grey_of(volume, position) for position in range(4)]
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "images" / f"{volume}.nii.gz")
        nib.save(nib.Nifti1Image((voxels > 120).astype(np.uint8), np.eye(4)), tmp_path / "masks" / f"{volume}.nii.gz")
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks")
    manifest.with_column("split", ["train"] * 8).write(tmp_path / "cohort.parquet")
    rows = range(len(manifest))
    volume_of = {row: int(manifest.sample(row).path[0]) for row in rows}
    position_of = {row: manifest.sample(row).frame for row in rows}
    assert seen(tmp_path / "cohort.parquet") == expected(manifest, volume_of, position_of)


def test_slices_of_dicom_series_stand_between_those_of_their_own_series_without_masks_too(tmp_path: Path) -> None:
    # The files' names and the order of instances say nothing of the order in space.
    for volume in (0, 1):
        for position, name in zip(range(4), "dacb", strict=True):
            path = write_dicom(
                tmp_path / "images" / f"{name}{volume}.dcm",
                size=(SIDE, SIDE),
                Modality="MR",
                PatientID=f"P{volume}",
                StudyInstanceUID=f"1.2.{volume}",
                SeriesInstanceUID=f"1.2.{volume}.4",
                PixelSpacing=[1, 1],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                ImagePositionPatient=[0, 0, 3 * position],
            )
            dataset = dcmread(path)
            dataset.PixelData = bytes([grey_of(volume, position)]) * SIDE**2
            dataset.save_as(path)
    (tmp_path / "masks").mkdir()
    # Position 0 of one series and position 2 of the other are labelled.
    for name in ("d0", "c1"):
        Image.fromarray(np.ones((SIDE, SIDE), dtype=np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks")
    manifest.with_column("split", ["train"] * 8).write(tmp_path / "cohort.parquet")
    row_of = {Path(manifest.sample(row).path).stem: row for row in range(len(manifest))}
    volume_of = {row_of["d0"]: 0, row_of["c1"]: 1}
    position_of = {row_of["d0"]: 0, row_of["c1"]: 2}
    assert seen(tmp_path / "cohort.parquet") == expected(manifest, volume_of, position_of)


def test_a_head_may_need_the_neighbours(tmp_path: Path, trainer: TrainerMaker) -> None:
    # The slice itself is the same noise everywhere: only the one after it tells what is labelled.
    generator = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for volume in range(12):
        voxels, mask = np.full((32, 32, 3), 90, dtype=np.uint8), np.zeros((32, 32, 3), dtype=np.uint8)
        top, left = generator.integers(0, 3, 2) * 8
        where = slice(top, top + 16), slice(left, left + 16)
        voxels[(*where, 2)], mask[(*where, 1)] = 220, 1
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "images" / f"{volume}.nii.gz")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "masks" / f"{volume}.nii.gz")
    manifest = scan([tmp_path / "images"], masks=tmp_path / "masks")
    of_volume = [int(path.removesuffix(".nii.gz")) for path in manifest.column("path")]
    split = np.array(["train"] * 8 + ["test"] * 4)[of_volume].tolist()
    manifest.with_column("split", split).write(tmp_path / "cohort.parquet")

    def dice(channels: str) -> float:
        transform = EvaluationTransform(size=32, intensity=Intensity(window="full", channels=channels))  # type: ignore[arg-type]
        data = SegmentationData(str(tmp_path / "cohort.parquet"), VALUES, transform, batch_size=8)
        model, runner = Segmentation(list(VALUES), learning_rate=3e-2), trainer(60)
        runner.fit(model, data)
        runner.test(model, datamodule=data, verbose=False)
        middle = [result for result in model.test_results if frame_of[result.sample_id] == 1]
        return float(np.mean([result.dice for result in middle]))

    frame_of = dict(zip(manifest.column("sample_id"), manifest.column("frame"), strict=True))
    assert dice("neighbours") > 0.9
    assert dice("repeat") < 0.6
