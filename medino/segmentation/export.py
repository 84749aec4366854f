"""Masks of a manifest's images as files: NIfTI for volumes, PNG for single images, overlays, DICOM segmentations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Subset

from medino.core import UnreadableImageError, column, optional, schema_of, track, write_table
from medino.data import Manifest
from medino.data.volumes.stacks import SliceStack, find_stacks
from medino.features.embed import ReadImages, readable_and_not
from medino.segmentation.dicom_seg import write_dicom_seg
from medino.segmentation.overlays import write_picture
from medino.segmentation.prediction import Masker
from medino.segmentation.writers import write_mask

MASKS_VERSION = 1
"""Schema version of the table of masks."""

TABLE_NAME = "masks.parquet"
MASKS, OVERLAYS, SEGMENTATIONS = "masks", "overlays", "dicom_seg"
"""Folders of what is written."""


@dataclass(frozen=True, kw_only=True)
class MaskRecord:
    """One volume, or one image that is in none: which masks were written of it, and why others were not. No paths."""

    file: str | None = optional("mask, relative to the table's folder; null where none was written")
    reason: str | None = optional("why no mask was written, or why a volume's were written slice by slice")
    dicom_seg: str | None = optional("DICOM segmentation, relative to the table's folder")
    dicom_seg_reason: str | None = optional("why there is none, where one was asked for")
    patient: str = column("keyed hash of the patient")
    study: str = column("keyed hash of the study")
    series: str = column("keyed hash of the series")
    sample_id: str | None = optional("the manifest's id of a single image; null for a volume")
    images: int = column("images that the mask is of")


@dataclass(frozen=True)
class Segment:
    """What DICOM segmentations say of masks.

    Attributes:
        class_names: of the classes without the background.
        model: what made them.
    """

    class_names: tuple[str, ...]
    model: str


def export_masks(
    manifest: Manifest,
    masker: Masker,
    folder: Path,
    *,
    overlays: bool = False,
    dicom_seg: Segment | None = None,
    num_workers: int = 0,
) -> tuple[list[MaskRecord], dict[int, str]]:
    """Make and write the masks of all images, each file whole or not at all, and the table of them.

    A volume becomes `masks/SERIES-NUMBER.nii.gz` on its source's grid. An image that is in none, and each slice of a
    volume that no affine places, becomes `masks/SAMPLE_ID.png`. A volume with a slice that can't be decoded gets none.

    Args:
        manifest: the images.
        masker: makes the masks.
        folder: where to write; made if it is not there.
        overlays: also write `overlays/SAMPLE_ID.png`, the images with their masks drawn in: images of patients.
        dicom_seg: also write `dicom_seg/SERIES-NUMBER.dcm` of DICOM images; None writes none.
        num_workers: processes that decode.

    Returns:
        What became of each volume and of each single image; and the rows that could not be decoded, with the reasons.
    """
    reader = ReadImages(manifest, masker.transform)
    records: list[MaskRecord] = []
    failures: dict[int, str] = {}
    groups = list(_groups(manifest))
    for stack in track(groups, "segmenting (volumes and images)", total=len(groups)):
        rows = stack.rows.tolist()
        images, unreadable = _read(reader, rows, num_workers)
        failures |= unreadable
        record = _record(manifest, stack)
        if unreadable:
            place = rows.index(next(iter(unreadable)))
            where = f"slice {place + 1} of {len(rows)}: " if len(rows) > 1 else ""
            records.append(MaskRecord(**{**vars(record), "reason": f"{where}{unreadable[rows[place]]}"}))
            continue
        samples = [manifest.sample(row) for row in rows]
        masks = masker(images, [(sample.rows, sample.columns) for sample in samples])
        names = [sample.sample_id for sample in samples]
        written = {"file": _write(folder, stack, masks, names), "reason": stack.reason}
        if overlays:
            for row, name, mask in zip(rows, names, masks, strict=True):
                shown = masker.transform.intensity.apply(reader.pixels[row])
                write_picture(folder / OVERLAYS / f"{name}.png", shown, masker.planes(mask), masker.class_names)
        if dicom_seg is not None:
            written |= _write_dicom(folder, manifest, stack, [masker.planes(mask) for mask in masks], dicom_seg)
        records.append(MaskRecord(**{**vars(record), **written}))
    table = pa.Table.from_pylist([vars(record) for record in records], schema=schema_of(MaskRecord))
    write_table(folder / TABLE_NAME, table, "masks", MASKS_VERSION, {})
    return records, failures


def _groups(manifest: Manifest) -> Iterator[SliceStack]:
    """The volumes, and each row that is in none as a stack of its own."""
    alone = np.ones(len(manifest), dtype=bool)
    stacks = find_stacks(manifest)
    for stack in stacks:
        alone[stack.rows] = False
    yield from stacks
    ids = manifest.column("sample_id")
    for row in np.flatnonzero(alone).tolist():
        yield SliceStack(ids[row], np.array([row]), None)


def _read(reader: ReadImages, rows: list[int], workers: int) -> tuple[list[torch.Tensor], dict[int, str]]:
    loader = DataLoader(
        Subset(reader, rows),
        batch_size=1,
        num_workers=workers if len(rows) > 1 else 0,
        collate_fn=readable_and_not,
    )
    images: list[torch.Tensor] = []
    unreadable: dict[int, str] = {}
    for readable, batch, failed in loader:
        images += [batch[0]] if readable else []
        unreadable |= failed
    return images, unreadable


def _record(manifest: Manifest, stack: SliceStack) -> MaskRecord:
    first = manifest.sample(int(stack.rows[0]))
    single = first.sample_id if stack.name == first.sample_id else None
    return MaskRecord(
        patient=first.patient, study=first.study, series=first.series, sample_id=single, images=len(stack.rows)
    )


def _write(folder: Path, stack: SliceStack, masks: Sequence[torch.Tensor], names: Sequence[str]) -> str:
    if stack.affine is not None:
        file = f"{MASKS}/{stack.name}.nii.gz"
        (folder / MASKS).mkdir(parents=True, exist_ok=True)
        stack.write(folder / file, torch.stack(list(masks)).numpy())
        return file
    for name, mask in zip(names, masks, strict=True):
        write_mask(folder / MASKS / f"{name}.png", mask)
    return f"{MASKS}/{names[0]}.png" if len(names) == 1 else MASKS


def _write_dicom(
    folder: Path, manifest: Manifest, stack: SliceStack, planes: Sequence[torch.Tensor], segment: Segment
) -> dict[str, str | None]:
    """Write a volume's segmentation; the columns of the table that say so."""
    rows = stack.rows.tolist()
    if manifest.sample(rows[0]).format != "dicom":
        return {"dicom_seg_reason": "the images are not DICOM"}
    file = f"{SEGMENTATIONS}/{stack.name}.dcm"
    sources = [(manifest.source(row), manifest.sample(row).frame) for row in rows]
    stacked = torch.stack(list(planes)).permute(0, 2, 3, 1).numpy()
    try:
        write_dicom_seg(folder / file, sources, stacked, segment.class_names, segment.model)
    except UnreadableImageError as error:
        return {"dicom_seg_reason": str(error)}
    return {"dicom_seg": file}
