"""All volumes of a manifest to NIfTI files, with a table of what was written, what was not, and why."""

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medino.core import InputError, UnreadableImageError, column, optional, schema_of, write_json, write_table
from medino.data.manifest import Manifest
from medino.data.volumes.assembly import Slice, assemble, decode_slice, why_not
from medino.data.volumes.find import Volume, find_volumes
from medino.data.volumes.nifti_file import write_nifti
from medino.data.workers import Workers, read_all

VOLUMES_VERSION = 1
"""Schema version of the table of volumes and of the JSON file beside each."""

TABLE_NAME = "volumes.parquet"


@dataclass(frozen=True, kw_only=True)
class VolumeRecord:
    """One volume: what was written of it, or why nothing was. Neither identifiers nor paths of images."""

    file: str | None = optional("NIfTI file, relative to the table's folder; null where nothing was written")
    reason: str | None = optional("why nothing was written")
    patient: str = column("keyed hash of the patient")
    study: str = column("keyed hash of the study")
    series: str = column("keyed hash of the series")
    modality: str | None = optional("DICOM modality")
    manufacturer: str | None = optional("manufacturer of the scanner")
    manufacturer_model: str | None = optional("model of the scanner")
    body_part: str | None = optional("body part examined, as coded")
    stack: str | None = optional("what parts it from other volumes of its series, such as `echo 2`")
    slices: int = column("images that belong to it")
    voxels: str | None = optional("type of the written voxels: int16 (with slope and intercept) or float32")
    units: str | None = optional("HU for CT; null where the physical unit is not known")
    spacing_mm: list[float] | None = optional("distance of the written voxels along column, row and slice index, mm")
    tilt_degrees: float | None = optional("angle between the slices' normal and the way from slice to slice")
    steps_mm: list[float] | None = optional("distances from slice to slice as found, mm")
    resampled: bool = column("whether slices were interpolated to an even grid", default=False)
    deskewed: bool = column("whether the shear of a gantry tilt was undone", default=False)
    problems: list[str] | None = optional("what a person should know of it, in words")


def convert(
    manifest: Manifest,
    folder: str | Path,
    *,
    resample: bool = False,
    deskew: bool = False,
    workers: int | Workers = 1,
) -> list[VolumeRecord]:
    """Write each sound volume as `SERIES-NUMBER.nii.gz` with a JSON file of its facts beside it, and the table of all.

    Args:
        manifest: where the slices are.
        folder: where to write; made if it is not there.
        resample: interpolate slices of uneven distances to an even grid; otherwise such volumes are not written, as no
            affine places their slices.
        deskew: undo the shear of a gantry tilt by interpolation; otherwise the affine is sheared, which is exact, but
            which some programs refuse.
        workers: who decodes; the volumes are the same. A slice that takes more than a file may costs its volume alone.

    Returns:
        What became of each volume, and of the images of each series whose place is not known.
    """
    folder = Path(folder)
    volumes = find_volumes(manifest)
    counts: dict[str, int] = {}
    records = []
    reasons = [why_not(manifest, volume, resample) for volume in volumes]
    rows = [int(row) for volume, why in zip(volumes, reasons, strict=True) if why is None for row in volume.rows]
    tasks = ((manifest.source(row), manifest.sample(row)) for row in rows)
    with closing(read_all(decode_slice, tasks, workers, "converting slices", total=len(rows))) as slices:
        for volume, why in zip(volumes, reasons, strict=True):
            number = counts[volume.series] = counts.get(volume.series, 0) + 1
            # 64 bits of the keyed hash: enough that no two of a million series share a name.
            path = folder / f"{volume.series[:16]}-{number}.nii.gz"
            if why is not None:
                records.append(replace(_record(manifest, volume), reason=why))
                continue
            own = islice(slices, len(volume.rows))
            records.append(_converted(manifest, volume, own, path, resample, deskew))
            deque(own, maxlen=0)  # what was left of a volume that could not be put together
    records += _unplaced(manifest, volumes)
    table = pa.Table.from_pylist([vars(record) for record in records], schema=schema_of(VolumeRecord))
    write_table(folder / TABLE_NAME, table, "volumes", VOLUMES_VERSION, {})
    return records


def _converted(
    manifest: Manifest, volume: Volume, slices: Iterable[Slice | str], path: Path, resample: bool, deskew: bool
) -> VolumeRecord:
    """Write one volume if it can be."""
    record = _record(manifest, volume)
    try:
        grid, full_range = assemble(manifest, volume, slices, resample=resample, deskew=deskew)
    except (UnreadableImageError, InputError) as error:
        return replace(record, reason=str(error))
    found = volume.arrangement
    record = replace(
        record,
        file=path.name,
        voxels=write_nifti(path, grid, full_range, manifest.sample(int(volume.rows[0])).bits_stored),
        spacing_mm=list(grid.spacing),
        resampled=resample and found is not None and not found.even,
        deskewed=deskew and found is not None and found.tilted,
    )
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), _plain(record))
    return record


def _record(manifest: Manifest, volume: Volume) -> VolumeRecord:
    """What is known of a volume before it is written."""
    first, found = manifest.sample(int(volume.rows[0])), volume.arrangement
    kept = ("patient", "study", "series", "modality", "manufacturer", "manufacturer_model", "body_part")
    return VolumeRecord(
        **{name: getattr(first, name) for name in kept},
        stack=volume.stack,
        slices=len(volume.rows),
        units="HU" if first.modality == "CT" else None,
        # The manifest keeps positions with seven digits.
        tilt_degrees=round(found.tilt, 3) if found else None,
        steps_mm=found.steps.round(3).tolist() if found else None,
        problems=[problem.words for problem in volume.problems] or None,
    )


def _unplaced(manifest: Manifest, volumes: list[Volume]) -> list[VolumeRecord]:
    """A record for each series with images whose place in the patient is not known."""
    left = manifest.table["position_mm"].is_null().to_numpy() | manifest.table["orientation"].is_null().to_numpy()
    for volume in volumes:
        left[volume.rows] = False
    rows = np.flatnonzero(left)
    names, first, counts = np.unique(
        manifest.table["series"].to_numpy(zero_copy_only=False)[rows].astype(str), return_index=True, return_counts=True
    )
    records = []
    for index in range(len(names)):
        alone = Volume(names[index], rows[first[index] : first[index] + 1], None, None, ())
        nifti = manifest.sample(int(alone.rows[0])).format == "nifti"
        reason = "a NIfTI file already" if nifti else "the images have no place in the patient"
        records.append(replace(_record(manifest, alone), slices=int(counts[index]), reason=reason))
    return records


def _plain(record: VolumeRecord) -> dict[str, Any]:
    """The JSON file of a volume."""
    facts = {name: value for name, value in vars(record).items() if name != "reason"}
    return {"schema_version": VOLUMES_VERSION, **facts}
