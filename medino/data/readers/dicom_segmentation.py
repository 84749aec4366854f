"""DICOM segmentations: which source image each frame is of, and the mask of all segments on one source image.

Binary, fractional (PS3.3 C.8.20) and label map segmentations. Class numbers are segment numbers, 0 is background.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from medino.core import UnreadableImageError
from medino.data.readers.dicom_header import DicomHeader, read_header
from medino.data.readers.dicom_pixels import stored_values
from medino.data.readers.dicom_values import first_number, numbers
from medino.data.readers.failures import decoding
from medino.data.source import Source

if TYPE_CHECKING:
    import torch

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes: Segmentation Storage, Label Map Segmentation Storage (PS3.4 B.5)."""

LEAST_FRACTION = 0.5
"""From this fraction of MaximumFractionalValue a pixel belongs to a segment (probability or occupancy)."""

_TAGS = [
    "SegmentationType",
    "MaximumFractionalValue",
    "SegmentsOverlap",
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "DimensionOrganizationType",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns",
    "PixelPaddingValue",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class Plane:
    """A place that a segmentation shows: one source image, or one frame of it.

    Attributes:
        images: the source images by SOP instance UID, each with its frame from 0 on, None where none is given.
        position: centre of the first pixel in the patient, mm, where the segmentation says it.
        orientation: six direction cosines, where it says them.
        frames: frames of the segmentation there, each with its segment's number (0 in a label map, which shows all).
    """

    images: tuple[tuple[str, int | None], ...]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    frames: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Segmentation:
    """What a segmentation's header says. It holds identifiers: to be hashed and thrown away, never stored.

    Attributes:
        kind: BINARY, FRACTIONAL or LABELMAP.
        planes: the places that it shows, in the order of their first frames: `read_mask` counts them.
        series: the series that it refers to.
        instances: the images that it lists as its sources. Writers leave out frames without a pixel (highdicom does
            so unless told otherwise), so that an image which is listed, and shown by no frame, is background.
        size: rows and columns.
        overlap: whether it says that segments overlap.
        maximum: the value of a fractional segmentation that means 1.
        background: the value of a label map that means none of the segments.
    """

    kind: str
    planes: tuple[Plane, ...]
    series: tuple[str, ...]
    instances: tuple[str, ...]
    size: tuple[int, int]
    overlap: bool
    maximum: float
    background: int


def is_segmentation(header: DicomHeader) -> bool:
    """Whether a DICOM file is a segmentation."""
    return header.text("SOPClassUID") in SEGMENTATION_CLASSES


def read_segmentation(source: Source) -> Segmentation:
    """Read what a segmentation is of. No pixel is decoded.

    Raises:
        UnreadableImageError: the file is no segmentation, or does not say what its frames are of.
    """
    with decoding("the segmentation's header"):
        return _read(source, source.stamp)


def read_mask(source: Source, frame: int) -> "torch.Tensor":
    """All segments on one source image.

    Where binary segments overlap, the one with the higher number lies on top. Of fractional segments, the one with the
    largest fraction counts, if that is at least `LEAST_FRACTION`; of equal ones again the higher number.

    Args:
        source: the segmentation.
        frame: k for the k-th distinct source image in the order of the segmentation's frames, from 0; their number, one
            past the last, for a source image that no frame shows: background.

    Returns:
        (H, W) int64 segment numbers, 0 for background.

    Raises:
        UnreadableImageError: a frame can't be decoded, or there is no such source image.
    """
    import torch

    found = read_segmentation(source)
    if not 0 <= frame <= len(found.planes):
        raise UnreadableImageError(f"plane {frame} is asked for, and the segmentation has {len(found.planes)}")
    mask = np.zeros(found.size, dtype=np.int64)
    if frame == len(found.planes):
        return torch.from_numpy(mask)
    header, best = read_header(source), np.zeros(found.size)
    for index, segment in sorted(found.planes[frame].frames, key=lambda pair: pair[1]):
        stored = stored_values(source, header, index)
        if stored.shape != found.size:
            raise UnreadableImageError("the segmentation is in colour")
        if found.kind == "LABELMAP":
            mask = np.where(stored == found.background, 0, stored).astype(np.int64)
        elif found.kind == "BINARY":
            mask[stored > 0] = segment
        else:
            fraction = stored / found.maximum
            larger = (fraction >= LEAST_FRACTION) & (fraction >= best)
            mask[larger], best[larger] = segment, fraction[larger]
    return torch.from_numpy(mask)


# The masks of one segmentation are often read one after the other, and its functional groups are long.
@lru_cache(maxsize=4)
def _read(source: Source, stamp: tuple[int, int]) -> Segmentation:
    """The header of a file; `stamp` keeps a rewritten file from the cache."""
    header = read_header(source)
    if not is_segmentation(header):
        raise UnreadableImageError("the DICOM object is no segmentation")
    with source.open() as file:
        dataset = dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
    kind = str(dataset.get("SegmentationType") or "")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UnreadableImageError("the segmentation is neither binary nor fractional nor a label map")
    series = [item for item in dataset.get("ReferencedSeriesSequence") or () if item.get("SeriesInstanceUID")]
    listed = [image for item in series for image in item.get("ReferencedInstanceSequence") or ()]
    instances = tuple(str(image.ReferencedSOPInstanceUID) for image in listed if "ReferencedSOPInstanceUID" in image)
    size = (header.whole("Rows", 0), header.whole("Columns", 0))
    if dataset.get("PerFrameFunctionalGroupsSequence"):
        planes = _planes_of_groups(dataset, header.frames, kind == "LABELMAP")
    elif dataset.get("DimensionOrganizationType") == "TILED_FULL":
        planes = _planes_of_tiles(dataset, header.frames, size, instances, kind == "LABELMAP")
    else:
        planes = ()
    if not planes:
        raise UnreadableImageError("the segmentation does not say what images its frames are of")
    return Segmentation(
        kind=kind,
        planes=planes,
        series=tuple(str(item.SeriesInstanceUID) for item in series),
        instances=instances,
        size=size,
        overlap=dataset.get("SegmentsOverlap") == "YES",
        maximum=first_number(dataset, "MaximumFractionalValue") or 255.0,
        background=int(first_number(dataset, "PixelPaddingValue") or 0),
    )


def _planes_of_groups(dataset: Dataset, frames: int, label_map: bool) -> tuple[Plane, ...]:
    """The planes of a segmentation whose frames each say what they are of."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    planes: dict[object, Plane] = {}
    for index, own in enumerate(dataset.PerFrameFunctionalGroupsSequence[:frames]):

        def group(name: str, own: Dataset = own) -> Dataset:
            return (own.get(name) or shared.get(name) or [Dataset()])[0]

        derivations = own.get("DerivationImageSequence") or shared.get("DerivationImageSequence") or ()
        images = tuple(image for item in derivations for image in _images_of(item))
        position = _vector(group("PlanePositionSequence"), "ImagePositionPatient", 3)
        orientation = _vector(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        if not images and (position is None or orientation is None):
            raise UnreadableImageError(
                "a frame of the segmentation says neither of which image it is nor where it lies"
            )
        segment = first_number(group("SegmentIdentificationSequence"), "ReferencedSegmentNumber")
        if segment is None and not label_map:
            raise UnreadableImageError("a frame of the segmentation does not say of which segment it is")
        place = None if position is None else tuple(np.round((*position, *(orientation or ())), 2).tolist())
        known = planes.get((images, place), Plane(images, position, orientation, ()))
        shown = (*known.frames, (index, 0 if label_map else int(segment or 0)))
        planes[images, place] = Plane(images, position, orientation, shown)
    return tuple(planes.values())


def _vector(dataset: Dataset, name: str, length: int) -> tuple[float, ...] | None:
    found = numbers(dataset, name)
    return tuple(found) if len(found) == length else None


def _images_of(derivation: Dataset) -> Iterator[tuple[str, int | None]]:
    """The source images that a frame was derived from, each with its frame from 0 on."""
    for image in derivation.get("SourceImageSequence") or ():
        if "ReferencedSOPInstanceUID" in image:
            name, frames = str(image.ReferencedSOPInstanceUID), numbers(image, "ReferencedFrameNumber")
            yield from ((name, int(number) - 1) for number in frames)
            if not frames:
                yield name, None


def _planes_of_tiles(
    dataset: Dataset, frames: int, size: tuple[int, int], instances: tuple[str, ...], label_map: bool
) -> tuple[Plane, ...]:
    """The planes of a tiled segmentation that shows all tiles, row by row, segment after segment (PS3.3 C.7.6.17.3)."""
    matrix = [first_number(dataset, f"TotalPixelMatrix{name}") or 0 for name in ("Rows", "Columns")]
    tiles = int(np.prod([np.ceil(whole / side) for whole, side in zip(matrix, size, strict=True)]))
    segments = [0] if label_map else [int(item.SegmentNumber) for item in dataset.get("SegmentSequence") or ()]
    if len(instances) != 1 or tiles * len(segments) != frames:
        raise UnreadableImageError("the tiles of the segmentation are not those of one source image")
    return tuple(
        Plane(
            images=((instances[0], tile),),
            position=None,
            orientation=None,
            frames=tuple((number * tiles + tile, segment) for number, segment in enumerate(segments)),
        )
        for tile in range(tiles)
    )
