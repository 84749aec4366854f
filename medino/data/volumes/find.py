"""The volumes in a manifest: which slices belong together, in which order, and what is wrong with them.

Slices are ordered by their position along the normal, never by instance number or file name. No file is opened.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.data.manifest import Manifest
from medino.data.volumes.arrangement import Arrangement, arrange, levels_of, normal_of
from medino.data.volumes.parting import known_parts, part, part_interleaved
from medino.data.volumes.problems import Problem, of_arrangement, of_series, of_thickness

SAME_SPACING = 1e-3
"""Pixel spacings that differ by less, as a part of them, are taken as one."""

SAME_ORIENTATION = 1e-3
"""Largest difference of direction cosines of one orientation: 0.06 degrees."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices of one series, one size and one orientation.

    Attributes:
        series: the keyed hash of the series.
        rows: rows of the manifest, sorted along the normal (row cosines x column cosines).
        stack: what parts it from other volumes at its place ("echo 2"), where something does.
        arrangement: how the slices follow each other; None for a single one, or where several lie at one place.
        problems: what is wrong, with it or with its series.
    """

    series: str
    rows: np.ndarray
    stack: str | None
    arrangement: Arrangement | None
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """Whether one affine places all slices, each at a place of its own."""
        return not any(problem.blocks for problem in self.problems)


def find_volumes(manifest: Manifest) -> list[Volume]:
    """Find the volumes of all series; single images and unsound volumes are among them.

    Returns:
        Volumes in the order of the first of their series' rows. Rows whose position or orientation is not known are in
        none of them.
    """
    columns = _Columns(manifest)
    order = np.flatnonzero(columns.placed)
    order = order[np.argsort(columns.series[order], kind="stable")]
    bounds = np.flatnonzero(np.diff(columns.series[order])) + 1
    found = [volume for rows in np.split(order, bounds) if len(rows) for volume in _of_series(columns, rows)]
    return sorted(found, key=lambda volume: volume.rows.min())


class _Columns:
    """The columns that volumes are found by, as arrays."""

    def __init__(self, manifest: Manifest) -> None:
        table = manifest.table
        self.position = vectors(table["position_mm"], 3)
        self.orientation = vectors(table["orientation"], 6)
        with np.errstate(invalid="ignore"):
            self.normal = normal_of(self.orientation)
        self.placed = np.isfinite(self.position).all(axis=1) & np.isfinite(self.orientation).all(axis=1)
        series = table["series"].combine_chunks().dictionary_encode()
        self.name, self.names = np.asarray(series.indices), series.dictionary
        # Whoever takes names out of files may give all patients' series one UID.
        patient = np.where(pc.equal(table["patient_unit"], "patient"), _codes(table["patient"])[0], -1)
        self.series = self.name + len(self.names) * (patient.astype(np.int64) + 1)
        self.size = np.stack([table[name].to_numpy() for name in ("rows", "columns", "samples_per_pixel")], axis=1)
        self.spacing = np.stack([_floats(table[name]) for name in ("spacing_row_mm", "spacing_column_mm")], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.scale = np.nan_to_num(np.round(np.log(self.spacing) / SAME_SPACING))
        self.thickness = _floats(table["slice_thickness_mm"])
        self.stack, self.stacks = _codes(table["stack"])
        self.instance, _ = _codes(table["instance"])
        self.frame = table["frame"].to_numpy()
        self._table = table

    @cached_property
    def file(self) -> np.ndarray:
        """A number for each file; the instance tells it also where files were packed."""
        path, _ = _codes(self._table["path"])
        member, _ = _codes(self._table["member"])
        place = np.stack([self._table["root"].to_numpy(), path, member])
        place[:, self.instance >= 0] = -1
        return np.unique(np.stack([*place, self.instance]), axis=1, return_inverse=True)[1].ravel()


def _of_series(columns: _Columns, rows: np.ndarray) -> Iterator[Volume]:
    """The volumes of one series' rows."""
    if len(rows) == 1:
        yield _volume(columns, rows, None, [])
        return
    sizes, spacings = _groups(columns.size[rows]), _groups(columns.scale[rows])
    orientations = _orientations(columns.orientation[rows])
    problems = of_series(sizes.max() + 1, spacings.max() + 1, orientations.max() + 1)
    groups = _groups(np.stack([sizes, spacings, orientations], axis=1))
    for number in range(groups.max() + 1):
        yield from _of_group(columns, rows[groups == number], problems)


def _of_group(columns: _Columns, rows: np.ndarray, problems: list[Problem]) -> Iterator[Volume]:
    """The volumes among slices of one size, spacing and orientation."""
    along = columns.position[rows] @ columns.normal[rows[0]]
    spacing = columns.spacing[rows[0]]
    levels = levels_of(along, np.inf if np.isnan(spacing).any() else spacing.min())
    order = np.argsort(levels, kind="stable")
    rows, levels = rows[order], levels[order]
    if levels[-1] + 1 == len(rows):
        volume = _volume(columns, rows, None, problems)
        uneven = volume.arrangement is not None and not volume.arrangement.even
        found = part_interleaved(along[order], _known(columns, rows)) if uneven else None
        if found is None:
            yield volume
        else:
            parts, words = found
            yield from (_volume(columns, rows[parts == code], word, problems) for code, word in enumerate(words))
        return
    kept = _without_copies(columns, rows, levels)
    if not kept.all():
        twice = f"{len(rows) - kept.sum()} of {len(rows)} images are there again, the same; one of each is taken"
        problems = [*problems, Problem("copies", twice)]
        rows, levels = rows[kept], levels[kept]
    parts, words = part(levels, _known(columns, rows))
    for number, stack in enumerate(words):
        members = parts == number
        yield _volume(columns, rows[members], stack or None, problems, levels[members])


def _volume(
    columns: _Columns, rows: np.ndarray, stack: str | None, problems: list[Problem], levels: np.ndarray | None = None
) -> Volume:
    """A volume of sorted rows; `levels` where several could lie at one place."""
    series = columns.names[int(columns.name[rows[0]])].as_py()
    if any("MOSAIC" in (columns.stacks[code] or "") for code in set(columns.stack[rows].tolist())):
        told = Problem("mosaic", "each image is a mosaic of slices, which medino does not take apart")
        return Volume(series, rows, stack, None, (*problems, told))
    if len(rows) == 1:
        return Volume(series, rows, stack, None, (*problems, Problem("single", "a single slice is no volume")))
    if levels is not None and len(np.unique(levels)) < len(rows):
        shared = len(rows) - len(np.unique(levels))
        told = Problem("duplicates", f"{shared} of {len(rows)} slices lie where another does, and nothing parts them")
        return Volume(series, rows, stack, None, (*problems, told))
    found = arrange(columns.position[rows], columns.normal[rows[0]])
    own = [*of_arrangement(found), *of_thickness(columns.thickness[rows])]
    return Volume(series, rows, stack, found, (*problems, *own))


def _without_copies(columns: _Columns, rows: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Which rows to keep so that no instance's frame is there twice at a place; (N,) bool."""
    name = np.stack([columns.instance[rows], columns.frame[rows]])
    # A name that lies at several places is no name: somebody has given it to all.
    several, counts = np.unique(np.unique(np.stack([*name, levels]), axis=1)[:2], axis=1, return_counts=True)
    false = {tuple(each) for each in several[:, counts > 1].T.tolist()}
    nameless = (name[0] < 0) | np.array([tuple(each) in false for each in name.T.tolist()], dtype=bool)
    # Of an instance without a name nobody can say that it is another's copy.
    name[0] = np.where(nameless, -1 - np.arange(len(rows)), name[0])
    first = np.unique(np.stack([levels, *name]), axis=1, return_index=True)[1]
    kept = np.zeros(len(rows), dtype=bool)
    kept[first] = True
    return kept


def _known(columns: _Columns, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What may part slices that lie at one place."""
    known = known_parts([columns.stacks[code] for code in columns.stack[rows]])
    thickness = columns.thickness[rows]
    known["thickness"] = np.array([None if np.isnan(value) else f"{value:g} mm" for value in thickness], dtype=object)
    # A file of several frames is a volume more likely than not; a file for each slice parts nothing.
    numbers = np.unique(columns.file[rows], return_inverse=True)[1].ravel()
    known["file"] = np.array([str(number + 1) for number in numbers], dtype=object)
    return known


def _orientations(orientation: np.ndarray) -> np.ndarray:
    """Number the orientations of slices: (N, 6) cosines to (N,) int64."""
    groups = np.full(len(orientation), -1)
    while (groups < 0).any():
        first = orientation[np.argmax(groups < 0)]
        groups[(groups < 0) & (abs(orientation - first).max(axis=1) <= SAME_ORIENTATION)] = groups.max() + 1
    return groups


def _groups(values: np.ndarray) -> np.ndarray:
    """Number the distinct rows of an array in the order of their first appearance, (N, K) to (N,)."""
    if (values == values[0]).all():
        return np.zeros(len(values), dtype=np.int64)
    _, first, inverse = np.unique(values, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.ravel()]


def vectors(column: pa.ChunkedArray, length: int) -> np.ndarray:
    """A column of lists as (N, length) float64, NaN where null or of another length."""
    values = column.combine_chunks()
    whole = np.asarray(pc.fill_null(pc.equal(pc.list_value_length(values), length), False))
    vectors = np.full((len(values), length), np.nan)
    vectors[whole] = np.asarray(pc.list_flatten(values.filter(pa.array(whole)))).reshape(-1, length)
    return vectors


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.float64)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str | None]]:
    """A column of texts as numbers, -1 for null, and the texts, the last of which is the null."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1)), [*encoded.dictionary.to_pylist(), None]
