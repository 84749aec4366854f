"""The cohort of `adapt`: scan, split by patient, and keep in the run's own folder what can name people."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medino.cli.scan import journal_path
from medino.core import InputError, RunFolder, existing_folder, track
from medino.data import Manifest, PixelDataset, Tiles, check_splits, scan, split_measured


@dataclass(frozen=True)
class Source:
    """What the user points `adapt` at.

    Args:
        data: folder of DICOM, NIfTI or raster images, or of slides.
        labels: CSV file with labels; without it there is no few-shot study.
        masks: folder of masks named like their images; without it there is no segmentation.
        mask_classes: names of the classes and their values in the masks, the background first; None: the values that
            the masks hold.
        patient_pattern: regular expression for files without a PatientID, searched in the path; its first group is the
            patient.
        key: file with the secret that identifiers are hashed with, made if it is not there; None keeps it beside the
            manifest.
        name: what figures and tables call the images.
        tiles: how slides are cut into tiles; without a resolution in it, slides are rejects.
    """

    data: str
    labels: str | None = None
    masks: str | None = None
    mask_classes: dict[str, int] | None = None
    patient_pattern: str | None = None
    key: str | None = None
    name: str = "cohort"
    tiles: Tiles = field(default_factory=Tiles)


def cohort_path(run: RunFolder) -> Path:
    """The manifest of a run; its folder is the only place of the run that holds file paths."""
    return run.path / "cohort" / "cohort.parquet"


def make_cohort(run: RunFolder, source: Source, seed: int, min_side: int) -> Manifest:
    """Scan the images and split them by patient, or read what an earlier start of this run has made.

    Args:
        run: the run's folder.
        source: the images, labels and masks.
        seed: draws who goes to which split.
        min_side: smaller images, which a backbone can't see anything of, become rejects, pixels.

    Raises:
        InputError: a folder or file is missing, or no image can be read.
    """
    path = cohort_path(run)
    if path.is_file():
        return Manifest.read(path)
    existing_folder(source.data, "data folder")
    manifest = scan(
        [source.data],
        labels=source.labels,
        masks=source.masks,
        key=source.key or path.with_name("medino.key"),
        patient_pattern=source.patient_pattern,
        tiles=source.tiles,
        ignore=[run.path],
        name=source.name,
        min_side=min_side,
        journal=journal_path(path),
    )
    manifest = with_splits(manifest, seed)
    manifest.write(path)
    return manifest


def with_splits(manifest: Manifest, seed: int) -> Manifest:
    """Split the patients that can be measured on, those with labels or masks; all others are for training.

    Splits that the labels' CSV gave are kept.
    """
    if any(split is not None for split in manifest.column("split")):
        check_splits(manifest)
        return manifest
    if manifest.labels or has_masks(manifest):
        return split_measured(manifest, seed=seed)
    return manifest.with_column("split", ["train"] * len(manifest))


def has_labels(manifest: Manifest) -> bool:
    """Whether there is something for a few-shot study to learn.

    Raises:
        InputError: labels were given, but all are one class.
    """
    if len(manifest.labels) == 1:
        raise InputError(
            f"all labels are {manifest.labels[0]!r}; a few-shot study needs two classes or more: correct the labels, "
            "or leave them out"
        )
    return bool(manifest.labels)


def has_masks(manifest: Manifest) -> bool:
    """Whether any image has a mask."""
    return any(path is not None for path in manifest.column("mask_path"))


def mask_classes(manifest: Manifest, source: Source) -> dict[str, int]:
    """The classes and their values in the masks, the background (value 0) first.

    Raises:
        InputError: the masks hold nothing but one value.
    """
    if source.mask_classes is not None:
        return source.mask_classes
    masked = np.flatnonzero([path is not None for path in manifest.column("mask_path")])
    pixels = PixelDataset(manifest)
    values = sorted({int(value) for row in track(masked, "reading masks") for value in pixels.mask(int(row)).unique()})
    if len(values) < 2:
        raise InputError(f"the masks hold only the value {values[0]}; give masks with a background and a class")
    return {"background" if value == 0 else f"class {value}": value for value in values}
