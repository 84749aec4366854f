"""DICOM segmentations that were scanned become the masks of the images that they refer to.

A segmentation is no image: its frames leave the manifest. Each row that it refers to (by SOP instance UID and frame,
else by place within the series that it names) gets its file as mask, and as `mask_frame` the number of the source image
in it (see `medino.data.readers.dicom_segmentation.read_mask`). Images that it lists as its sources, and shows no frame
of, get a mask of nothing but background. A segmentation whose source images were not scanned is a reject.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.core import UnreadableImageError
from medino.data.draws import Groups
from medino.data.identity import IdentityKey, clean
from medino.data.manifest import Manifest
from medino.data.readers.dicom_segmentation import read_segmentation
from medino.data.reading import read_all
from medino.data.schema import Reject
from medino.data.source import Source
from medino.data.volumes.find import vectors
from medino.data.workers import Workers

SAME_PLACE_MM = 0.05
"""How far a segmentation's frame may lie from its source image, where it does not name it: half of a tenth, to which
positions are often rounded."""

SAME_COSINES = 1e-3
"""Largest difference of their direction cosines."""

NOT_SCANNED = "a segmentation of images that are not among the scanned files"
OF_A_SLIDE = "a segmentation of a slide, whose tiles are cut anew: it lies on none of them"
OTHER_SIZE = "a segmentation of another size than its images: masks must lie on their images pixel by pixel"
MASKED = "a segmentation of images that have a mask already"


@dataclass(frozen=True)
class HashedPlane:
    """A `Plane` with keyed hashes in place of identifiers."""

    images: tuple[tuple[str, int | None], ...]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


@dataclass(frozen=True)
class HashedSegmentation:
    """A `Segmentation` with keyed hashes in place of identifiers: what a worker hands back."""

    planes: tuple[HashedPlane, ...]
    series: tuple[str, ...]
    instances: tuple[str, ...]
    size: tuple[int, int]
    overlap: bool


def with_segmentations(manifest: Manifest, key: IdentityKey, workers: int | Workers, notes: list[str]) -> Manifest:
    """Take segmentations out of a manifest's rows, and make them masks of the images that they refer to.

    Images that have a mask keep it; of two segmentations of one image, the first by path counts.

    Args:
        manifest: as scanned; segmentations are among its rows, a row a frame.
        key: the key that the manifest's identifiers were hashed with.
        workers: who reads the segmentations' headers.
        notes: gets a sentence for what became of them.

    Returns:
        The manifest without them; those that mask nothing are among its rejects.
    """
    of_segmentation = pc.fill_null(pc.equal(manifest.table["modality"], "SEG"), False).to_numpy()
    if not of_segmentation.any():
        return manifest
    places = _places(manifest, np.flatnonzero(of_segmentation))
    sources = [manifest.source(row) for row in places.values()]
    images = manifest.select(~of_segmentation)
    answers = read_all(
        partial(hashed_or_reason, key), sources, workers, "reading segmentations", len(sources), decodes=False
    )
    join, rejects = _Join(images), []
    for (root, path, member), answer in zip(places, answers, strict=True):
        reason = answer if isinstance(answer, str) else join.add(answer, (root, path, member))
        if reason is not None:
            rejects.append(Reject(root, path, None, reason, member))
    notes += join.notes(len(places) - len(rejects))
    every = sorted(
        [*manifest.rejects, *rejects], key=lambda each: (each.root, each.path, each.member or "", each.frame or 0)
    )
    return replace(join.masked(), rejects=tuple(every))


def hashed_or_reason(key: IdentityKey, source: Source) -> HashedSegmentation | str:
    """Read a segmentation's header, hash its identifiers and drop them; the reason where it can't be used."""
    try:
        found = read_segmentation(source)
    except UnreadableImageError as error:
        return str(error)

    def hashed(uid: str) -> str:
        return key.hash("image", clean(uid))

    return HashedSegmentation(
        planes=tuple(
            HashedPlane(tuple((hashed(uid), frame) for uid, frame in plane.images), plane.position, plane.orientation)
            for plane in found.planes
        ),
        series=tuple(key.hash("series", clean(uid)) for uid in found.series),
        instances=tuple(map(hashed, found.instances)),
        size=found.size,
        overlap=found.overlap,
    )


def _places(manifest: Manifest, rows: np.ndarray) -> dict[tuple[int, str, str | None], int]:
    """The files of some rows, each with its first row, in their order."""
    columns = [manifest.table[name].take(pa.array(rows)).to_pylist() for name in ("root", "path", "member")]
    places: dict[tuple[int, str, str | None], int] = {}
    for row, (root, path, member) in zip(rows.tolist(), zip(*columns, strict=True), strict=True):
        places.setdefault((root, path, member), row)
    return places


class _Join:
    """The masks of a manifest's rows, gathered one segmentation after the other."""

    def __init__(self, images: Manifest) -> None:
        self._images = images
        table = images.table
        self._slide = pc.equal(table["format"], "slide").to_numpy()
        self._frame = table["frame"].to_numpy()
        self._size = np.stack([table["rows"].to_numpy(), table["columns"].to_numpy()], axis=1)
        self._position, self._orientation = vectors(table["position_mm"], 3), vectors(table["orientation"], 6)
        self._taken = table["mask_path"].is_valid().to_numpy()
        self._mask: dict[int, tuple[tuple[int, str, str | None], int]] = {}
        self._counts: Counter[str] = Counter()
        self._indices: dict[str, _Index] = {}

    def add(self, found: HashedSegmentation, place: tuple[int, str, str | None]) -> str | None:
        """Give a segmentation's images their masks; the reason where it has none to give."""
        named = {*found.instances, *(name for plane in found.planes for name, _ in plane.images)}
        listed = self._rows("instance", named)
        near = None if all(plane.images for plane in found.planes) else self._rows("series", set(found.series))
        wanted: dict[int, int] = {}
        missing = 0
        for number, plane in enumerate(found.planes):
            rows = list(self._of_plane(plane, listed, near))
            missing += not rows
            wanted |= {row: number for row in rows if row not in wanted}
        if not wanted:
            return OF_A_SLIDE if self._rows("instance", named, slides=True) else NOT_SCANNED
        for name in found.instances:
            wanted |= {row: len(found.planes) for row in listed.get(name, ()) if row not in wanted}
        fitting = {row: number for row, number in wanted.items() if tuple(self._size[row]) == found.size}
        if not fitting:
            return OTHER_SIZE
        free = {row: number for row, number in fitting.items() if not self._taken[row]}
        if not free:
            return MASKED
        self._counts["planes without image"] += missing
        self._counts["images of another size"] += len(wanted) - len(fitting)
        self._counts["images masked already"] += len(fitting) - len(free)
        self._counts["overlapping"] += found.overlap
        for row, number in free.items():
            self._mask[row] = (place, number)
            self._taken[row] = True
        return None

    def notes(self, used: int) -> list[str]:
        """What became of the segmentations, in sentences."""
        told = [f"{len(self._mask)} images have their mask from {used} DICOM segmentations"] if used else []
        for name, words in (
            ("planes without image", "planes of segmentations are of images that were not scanned"),
            ("images of another size", "images go without a segmentation's mask: it has another size"),
            ("images masked already", "images have a mask already; those of further segmentations are left out"),
            ("overlapping", "segmentations say that segments overlap: the higher segment number lies on top"),
        ):
            if self._counts[name]:
                told.append(f"{self._counts[name]} {words}")
        return told

    def masked(self) -> Manifest:
        """The images with their masks."""
        if not self._mask:
            return self._images
        # A segmentation lies in a scanned folder, which so becomes a folder of masks as well.
        own = len(self._images.mask_roots)
        columns = {
            name: self._images.table[name].to_pylist()
            for name in ("mask_root", "mask_path", "mask_member", "mask_frame")
        }
        for row, ((root, path, member), number) in self._mask.items():
            for name, value in zip(columns, (own + root, path, member, number), strict=True):
                columns[name][row] = value
        images = self._images
        for name, values in columns.items():
            images = images.with_column(name, values)
        return replace(images, mask_roots=(*images.mask_roots, *images.roots))

    def _of_plane(
        self, plane: HashedPlane, listed: dict[str, list[int]], near: dict[str, list[int]] | None
    ) -> Iterator[int]:
        """The rows that a plane is of."""
        for name, frame in plane.images:
            rows = listed.get(name, [])
            if frame is not None:
                yield from (row for row in rows if self._frame[row] == frame)
            elif len(rows) == 1:
                yield rows[0]
            else:
                yield from self._at(plane, rows)
        if not plane.images and near is not None:
            yield from self._at(plane, [row for rows in near.values() for row in rows])

    def _at(self, plane: HashedPlane, rows: list[int]) -> Iterator[int]:
        """Those of some rows that lie where a plane does."""
        if plane.position is None or plane.orientation is None or not rows:
            return
        apart = np.linalg.norm(self._position[rows] - plane.position, axis=1)
        turned = abs(self._orientation[rows] - plane.orientation).max(axis=1)
        yield from np.array(rows)[(apart <= SAME_PLACE_MM) & (turned <= SAME_COSINES)].tolist()

    def _rows(self, column: str, names: set[str], *, slides: bool = False) -> dict[str, list[int]]:
        """The rows of each of some instances or series: of slides, whose frames are cut anew, or of all others."""
        if column not in self._indices:
            self._indices[column] = _Index(self._images.table[column])
        found = {name: self._indices[column].rows(name) for name in sorted(names)}
        chosen = {name: rows[self._slide[rows] == slides].tolist() for name, rows in found.items()}
        return {name: rows for name, rows in chosen.items() if rows}


class _Index:
    """The rows of each name in a column, made once: there are as many segmentations as series."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
        self._number = {name: number for number, name in enumerate(encoded.dictionary.to_pylist())}
        # One group more for the rows without a name.
        codes = encoded.indices.fill_null(len(self._number)).to_numpy()
        self._groups = Groups.of(codes, len(self._number) + 1)

    def rows(self, name: str) -> np.ndarray:
        """The rows that have a name, in their order."""
        number = self._number.get(name)
        return np.empty(0, np.int32) if number is None else self._groups.group(number)
