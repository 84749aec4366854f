"""The slices before and after each slice, for images of three channels; echoes, phases and orientations never mix."""

import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from medino.data.manifest import Manifest
from medino.data.volumes.find import Volume, find_volumes

SAME_VOLUME_STEPS = 1.5
"""Frames of a file follow each other unless the position jumps by more than this many median steps."""


def adjacent_slices(manifest: Manifest) -> np.ndarray:
    """For each row, the rows of the slices before and after it; the row itself where there is none.

    Slices of a volume (`find_volumes`) are linked in its order, also where uneven distances make it unsound. Where
    nothing parts slices that lie at one place, and where nobody knows the place, it goes by frame within a file (not
    across a jump of the position, where a new volume begins), and by position along the normal within a series, the
    n-th slice of one place with the n-th of the next. Packed rows are taken as the files that they came from: those of
    one DICOM instance, and of one series where the format has no instances.

    Args:
        manifest: its columns alone are looked at; no file is opened.

    Returns:
        (N, 2) int64 indices.
    """
    beside = np.repeat(np.arange(len(manifest))[:, None], 2, axis=1)
    columns = _Columns(manifest)
    unplaced = np.ones(len(manifest), dtype=bool)
    for volume in _volumes_and_copies(manifest):
        unplaced[volume.rows] = False
        if volume.arrangement is not None:
            beside[volume.rows[1:], 0] = volume.rows[:-1]
            beside[volume.rows[:-1], 1] = volume.rows[1:]
        else:
            _unparted(beside, columns, volume.rows)
    for rows in _groups(columns, np.flatnonzero(unplaced)):
        _unparted(beside, columns, rows)
    return beside


class _Columns:
    """The columns that slices of unknown place are linked by."""

    def __init__(self, manifest: Manifest) -> None:
        names = ("frame", "series", "instance", "format", "root", "path", "member", "transfer_syntax")
        columns = {name: manifest.column(name) for name in (*names, "rows", "columns", "plane")}
        self.frame, self.series = columns["frame"], columns["series"]
        self.position = np.array(
            [np.nan if value is None else value for value in manifest.column("slice_position_mm")], dtype=np.float64
        )
        packed = columns["format"] == "packed"
        # Of what was packed, DICOM alone has a transfer syntax.
        dicom = (columns["format"] == "dicom") | (packed & (columns["transfer_syntax"] != None))  # noqa: E711
        places = zip(*(columns[name] for name in ("root", "path", "member")), strict=True)
        origins = zip(columns["series"], columns["instance"], strict=True)
        files = [origin if was else place for was, origin, place in zip(packed, origins, places, strict=True)]
        numbers: dict[tuple[object, ...], int] = {}
        self.file = np.array([numbers.setdefault(file, len(numbers)) for file in files], dtype=np.int64)
        several = set(self.file[self.frame > 0].tolist())
        self.one_file = ~dicom | np.array([file in several for file in self.file.tolist()], dtype=bool)
        self.kind = list(zip(columns["rows"], columns["columns"], columns["plane"], strict=True))


def _volumes_and_copies(manifest: Manifest) -> Iterable[Volume]:
    """The volumes of a manifest, and those of images that are there again, which `find_volumes` leaves out."""
    rows = np.arange(len(manifest))
    while len(rows):
        left = np.ones(len(rows), dtype=bool)
        found = find_volumes(manifest.select(rows))
        for volume in found:
            left[volume.rows] = False
            yield Volume(volume.series, rows[volume.rows], volume.stack, volume.arrangement, volume.problems)
        if not any(problem.kind == "copies" for volume in found for problem in volume.problems):
            return
        rows = rows[left]


def _groups(columns: _Columns, rows: np.ndarray) -> Iterable[np.ndarray]:
    """Rows of unknown place that may follow each other: of one file, or of one series of files of one frame."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for row in rows.tolist():
        one_file = bool(columns.one_file[row])
        groups[one_file, columns.file[row] if one_file else columns.series[row], columns.kind[row]].append(row)
    for members in groups.values():
        yield np.array(members)


def _unparted(beside: np.ndarray, columns: _Columns, rows: np.ndarray) -> None:
    """Link rows of one group by frame or by position, in place."""
    if len(rows) == 1:
        return
    rows = rows[np.lexsort((columns.frame[rows], columns.file[rows]))]
    position = columns.position[rows]
    if columns.one_file[rows].all() and len(set(columns.file[rows].tolist())) == 1:
        _by_frame(beside, rows, columns.frame[rows].astype(np.int64), position)
    elif np.isfinite(position).all():
        _by_position(beside, rows, position)


def _by_frame(beside: np.ndarray, rows: np.ndarray, frames: np.ndarray, position: np.ndarray) -> None:
    """Link frames that follow each other, in place."""
    steps = np.abs(np.diff(position))
    following = np.diff(frames) == 1
    if following.any() and np.isfinite(steps[following]).all():
        following &= steps <= SAME_VOLUME_STEPS * np.median(steps[following])
    beside[rows[1:][following], 0] = rows[:-1][following]
    beside[rows[:-1][following], 1] = rows[1:][following]


def _by_position(beside: np.ndarray, rows: np.ndarray, position: np.ndarray) -> None:
    """Link slices of neighbouring positions, in place; positions within a hundredth of a millimetre are the same."""
    levels: dict[float, list[int]] = defaultdict(list)
    for row, where in zip(rows, np.round(position, 2), strict=True):
        levels[float(where)].append(int(row))
    ordered = [levels[where] for where in sorted(levels)]
    for lower, upper in itertools.pairwise(ordered):
        for nth, row in enumerate(upper):
            beside[row, 0] = lower[min(nth, len(lower) - 1)]
        for nth, row in enumerate(lower):
            beside[row, 1] = upper[min(nth, len(upper) - 1)]
