"""Which rows of a manifest are the slices of one volume, where these lie, and masks of them on their source's grid."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, ornt_transform

from medino.core import UnreadableImageError
from medino.data.manifest import Manifest
from medino.data.readers.nifti_header import Placement, placement
from medino.data.readers.resampling import is_same
from medino.data.volumes.assembly import MAX_VOXELS
from medino.data.volumes.find import Volume, find_volumes
from medino.data.volumes.grid import Grid, affine_of
from medino.data.volumes.nifti_file import write_nifti

CANONICAL = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
"""Axes to the right, to the front, to the head, as nibabel writes an orientation."""


@dataclass(frozen=True, eq=False)
class SliceStack:
    """The slices of one volume.

    Attributes:
        name: of its files: 64 bits of the keyed hash of the series, and a number.
        rows: rows of the manifest in the order of the slices: along the normal (DICOM), to the right, front or head
            (NIfTI).
        affine: (column, row, slice) to mm in NIfTI's axes (RAS), (4, 4); None where no affine places the slices.
        reason: why none does.
        placed: the header of a NIfTI source; None for others.
        plane: the axis that the slices of a NIfTI source are perpendicular to.
    """

    name: str
    rows: np.ndarray
    affine: np.ndarray | None
    reason: str | None = None
    placed: Placement | None = None
    plane: int = 2

    def write(self, path: Path, masks: np.ndarray) -> None:
        """Write masks of all slices as a NIfTI file on the source's own grid, whole or not at all.

        Args:
            path: where to, ending in .nii.gz.
            masks: (slices, rows, columns) whole numbers from 0 to 65535.
        """
        if self.affine is None:
            raise ValueError("only slices that an affine places become a NIfTI file: ask for the reason first")
        voxels, affine = masks.transpose(2, 1, 0).astype(np.float32), self.affine
        if self.placed is not None:
            voxels = np.moveaxis(voxels[::-1, ::-1], 2, self.plane)
            back = ornt_transform(CANONICAL, self.placed.orientation)
            voxels = np.ascontiguousarray(apply_orientation(voxels, back))
            affine = self.placed.affine @ _to_canonical(self.placed)
        largest = float(masks.max(initial=0))
        write_nifti(path, Grid(np.ascontiguousarray(voxels), affine), (0.0, largest), None)


def find_stacks(manifest: Manifest) -> list[SliceStack]:
    """The volumes of a manifest: of DICOM series two slices or more at places that are known, of NIfTI files each one.

    A row that is in none of them stands alone.
    """
    counts: dict[str, int] = {}
    found = []
    for volume in find_volumes(manifest):
        if len(volume.rows) > 1:
            found.append(_of_series(manifest, volume, _name(volume.series, counts)))
    files: dict[tuple[object, ...], list[int]] = defaultdict(list)
    of_nifti = np.flatnonzero(manifest.column("format") == "nifti")
    places = [manifest.column(name) for name in ("root", "path", "member", "plane")]
    for row in of_nifti.tolist():
        files[tuple(column[row] for column in places)].append(row)
    for rows in files.values():
        found += _of_file(manifest, np.array(rows), counts)
    return sorted(found, key=lambda stack: int(stack.rows.min()))


def _name(series: str, counts: dict[str, int]) -> str:
    number = counts[series] = counts.get(series, 0) + 1
    return f"{series[:16]}-{number}"


def _of_series(manifest: Manifest, volume: Volume, name: str) -> SliceStack:
    """The slices of a DICOM series."""
    first, way = manifest.sample(int(volume.rows[0])), volume.arrangement
    reasons = [problem.words for problem in volume.problems if problem.blocks]
    if first.spacing_row_mm is None or first.spacing_column_mm is None:
        reasons.append("the pixel spacing is not known")
    if first.rows * first.columns * len(volume.rows) > MAX_VOXELS:
        reasons.append("it has more voxels than can be held at once")
    if reasons or way is None or first.spacing_row_mm is None or first.spacing_column_mm is None:
        return SliceStack(name, volume.rows, None, "; ".join(reasons) or "several slices lie at one place")
    spacing = (first.spacing_row_mm, first.spacing_column_mm)
    return SliceStack(name, volume.rows, affine_of(np.array(first.orientation), spacing, way.origin, way.step))


def _of_file(manifest: Manifest, rows: np.ndarray, counts: dict[str, int]) -> list[SliceStack]:
    """The volumes of a NIfTI file, one for each of its time points or channels."""
    first = manifest.sample(int(rows[0]))
    try:
        placed = placement(manifest.source(int(rows[0])))
    except UnreadableImageError as error:
        return [SliceStack(_name(first.series, counts), rows, None, str(error))]
    plane = 2 if first.plane is None else first.plane
    frames, slices = manifest.table["frame"].to_numpy()[rows], placed.shape[plane]
    columns_axis, rows_axis = (axis for axis in range(3) if axis != plane)
    own = placed.spacing[[rows_axis, columns_axis, plane]]
    scanned = (first.spacing_row_mm, first.spacing_column_mm, first.slice_thickness_mm)
    if None not in scanned and not is_same(own, np.array(scanned, dtype=np.float64)):
        resampled = "it was scanned in another voxel size (--spacing); scan it in its own"
        return [SliceStack(_name(first.series, counts), rows, None, resampled)]
    stacks = []
    for volume in sorted(set((frames // slices).tolist())):
        members = rows[frames // slices == volume]
        members = members[np.argsort(manifest.table["frame"].to_numpy()[members])]
        whole, name = len(members) == slices, _name(first.series, counts)
        reason = None if whole else f"the manifest holds {len(members)} of its {slices} slices"
        stacks.append(
            SliceStack(name, members, affine_of_slices(placed, plane) if whole else None, reason, placed, plane)
        )
    return stacks


def affine_of_slices(placed: Placement, plane: int) -> np.ndarray:
    """(column, row, slice) of the slices that the reader cuts to mm: both axes of a slice run backwards."""
    columns_axis, rows_axis = (axis for axis in range(3) if axis != plane)
    turn = np.zeros((4, 4))
    turn[columns_axis, 0], turn[columns_axis, 3] = -1, placed.shape[columns_axis] - 1
    turn[rows_axis, 1], turn[rows_axis, 3] = -1, placed.shape[rows_axis] - 1
    turn[plane, 2] = turn[3, 3] = 1
    return placed.affine @ turn


def _to_canonical(placed: Placement) -> np.ndarray:
    """Stored voxels to canonical ones, (4, 4)."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for stored, (axis, direction) in enumerate(placed.orientation.astype(int)):
        turn[axis, stored] = direction
        turn[axis, 3] = placed.shape[axis] - 1 if direction < 0 else 0
    return turn
