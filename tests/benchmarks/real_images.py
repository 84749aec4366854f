"""The real images that training is measured on: which they are, their labels, and their halves by patient."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from PIL import Image

from medino.core import whole_file
from medino.data import Manifest, assign_splits, scan

SUPPORT = {"train": 0.34, "test": 0.66}
KEY = "00" * 32
"""The images are public, and with one key for all runs the halves are the same in each."""

SLICES = (1 / 3, 2 / 3)
"""Slices of each class that are taken of a volume, by their place among the slices of this class."""

Labels = Callable[[Path], Iterator[tuple[str, str, str | None]]]


@dataclass(frozen=True)
class ImageSet:
    """A set of real images.

    Attributes:
        folder: below the folder of real data.
        views: kind of image.
        labels: yields (path below `folder`, label, patient or None) of the images that count.
        shots: labelled images a class.
        unit: what stands for the patient, in words.
        title: what the images show, in words.
        make: writes the images into a folder, where they don't lie as files; `labels` is then of that folder.
    """

    folder: str
    views: Literal["natural", "radiology", "histology"]
    labels: Labels
    shots: tuple[int, ...]
    unit: str
    title: str
    make: Callable[[Path, Path], None] | None = None


def grouped_tiles(data: Path) -> Iterator[tuple[str, str, str | None]]:
    """LC25000's lung tiles with the group of the original that each was made from."""
    with (data / "MANIFEST.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["path"].startswith("lc25000_lung/"):
                yield row["path"].removeprefix("lc25000_lung/"), row["label"], row["group"]


def cells(data: Path) -> Iterator[tuple[str, str, str | None]]:
    """White blood cells of the three classes that are large enough."""
    with (data / "wbc_dataset1" / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["class label"] in {"1", "2", "3"}:
                yield f"{int(row['image ID']):03d}.png", row["class label"], None


def radiographs(data: Path) -> Iterator[tuple[str, str, str | None]]:
    """Chest radiographs, normal or tuberculosis, as the file's name says."""
    for path in sorted((data / "cxr_shenzhen" / "images").glob("*.jpg")):
        yield path.name, {"0": "normal", "1": "tuberculosis"}[path.stem[-1]], None


def write_hippocampus_slices(data: Path, folder: Path) -> None:
    """Write six coronal slices of each volume as 8-bit PNGs: two each of its front part, its back part and neither.

    Which part a slice shows is what most of its mask is. Grey goes from the volume's 0.5th to its 99.5th percentile.
    """
    for path in sorted((data / "hippocampus" / "images").glob("*.nii.gz")):
        values = np.asarray(nib.load(path).dataobj, dtype=np.float32)
        mask = np.asarray(nib.load(data / "hippocampus" / "labels" / path.name).dataobj)
        low, high = np.percentile(values, [0.5, 99.5])
        grey = (np.clip((values - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        front, back = ((mask == part).sum(axis=(0, 2)) for part in (1, 2))
        parts = {"anterior": front > back, "posterior": back > front, "neither": front + back == 0}
        for name, shown in parts.items():
            slices = np.flatnonzero(shown)
            for share in SLICES:
                place = slices[int(share * len(slices))]
                target = folder / f"{path.name.removesuffix('.nii.gz')}_{name}_{place}.png"
                Image.fromarray(np.rot90(grey[:, place]).copy()).save(target)


def hippocampus_slices(folder: Path) -> Iterator[tuple[str, str, str | None]]:
    """The slices that `write_hippocampus_slices` wrote; the volume is the patient."""
    for path in sorted(folder.glob("*.png")):
        volume, label, _ = path.stem.rsplit("_", 2)
        yield path.name, label, volume


SETS = {
    "histology": ImageSet(
        "lc25000_lung", "histology", grouped_tiles, (5, 20), "group of tiles from one original", "H&E tiles of the lung"
    ),
    "cells": ImageSet("wbc_dataset1", "histology", cells, (5,), "file", "white blood cells"),
    "radiographs": ImageSet("cxr_shenzhen/images", "radiology", radiographs, (5, 20), "file", "chest radiographs"),
    "hippocampus": ImageSet(
        "hippocampus",
        "radiology",
        hippocampus_slices,
        (5, 20),
        "volume, one patient each",
        "coronal MR slices of the hippocampus",
        write_hippocampus_slices,
    ),
}


def cohort(data: Path, images: ImageSet, work: Path) -> Manifest:
    """The manifest of one set; images without a label are left out.

    Args:
        data: folder of real data.
        images: the set.
        work: folder for what is written on the way.
    """
    folder, labelled = data / images.folder, data
    if images.make is not None:
        folder = labelled = work / "images"
        folder.mkdir(parents=True, exist_ok=True)
        images.make(data, folder)
    labels = work / "labels.csv"
    rows = list(images.labels(labelled))
    with whole_file(labels) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient"] if rows[0][2] else ["path", "label"])
        writer.writerows([[value for value in row if value is not None] for row in rows])
    (work / "key").write_text(KEY, encoding="ascii")
    manifest = scan([folder], labels=labels, key=work / "key")
    return manifest.select([label is not None for label in manifest.column("label")])


def halves(manifest: Manifest, seed: int) -> tuple[Manifest, Manifest]:
    """One half to train on without labels, and the other to measure on: a third of it for support sets."""
    parts = assign_splits(manifest, {"train": 0.5, "test": 0.5}, seed=seed)
    seen, unseen = (parts.select(parts.column("split") == name) for name in ("train", "test"))
    return seen, assign_splits(unseen, SUPPORT, seed=seed)
