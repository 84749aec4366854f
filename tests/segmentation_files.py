"""Small CT series and segmentations of them, for tests that need pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from archive_files import write_dicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence as Items

SIZE = (6, 8)
AXIAL = [1, 0, 0, 0, 1, 0]
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SERIES = "1.2.3.4"


def write_series(folder: Path, slices: int = 4) -> list[Path]:
    """Axial slices 2 mm apart; instance k has the UID 1.2.9.k."""
    return [
        write_dicom(
            folder / f"slice{index}.dcm",
            size=SIZE,
            Modality="CT",
            PatientID="P1",
            SOPInstanceUID=f"1.2.9.{index}",
            PixelSpacing=[1, 1],
            ImageOrientationPatient=AXIAL,
            ImagePositionPatient=[0, 0, 2 * index],
        )
        for index in range(slices)
    ]


def item(**tags: object) -> Items:
    """A sequence of one item."""
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return Items([dataset])


def write_segmentation(
    path: Path,
    frames: Sequence[tuple[int, int, np.ndarray]],
    *,
    kind: str = "BINARY",
    by_place: bool = False,
    listed: Sequence[str] = (),
    frame_numbers: bool = False,
    **tags: object,
) -> Path:
    """A segmentation.

    Args:
        path: its file.
        frames: slice, segment and pixels of each frame.
        kind: BINARY, FRACTIONAL or LABELMAP.
        by_place: frames say where they lie, and not of which image they are.
        listed: source images.
        frame_numbers: all slices are frames of the instance 1.2.9.0.
        tags: set on top.
    """
    groups = []
    for index, segment, _ in frames:
        group = Dataset()
        if by_place:
            group.PlanePositionSequence = item(ImagePositionPatient=[0, 0, 2 * index])
        elif frame_numbers:
            image = item(ReferencedSOPInstanceUID="1.2.9.0", ReferencedFrameNumber=index + 1)
            group.DerivationImageSequence = item(SourceImageSequence=image)
        else:
            image = item(ReferencedSOPInstanceUID=f"1.2.9.{index}")
            group.DerivationImageSequence = item(SourceImageSequence=image)
        if kind != "LABELMAP":
            group.SegmentIdentificationSequence = item(ReferencedSegmentNumber=segment)
        groups.append(group)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=AXIAL)
    images = Items([item(ReferencedSOPInstanceUID=uid)[0] for uid in listed])
    write_dicom(
        path,
        size=SIZE,
        Modality="SEG",
        PatientID="P1",
        SOPClassUID=LABEL_MAP if kind == "LABELMAP" else SEGMENTATION,
        SeriesInstanceUID="1.2.3.5",
        NumberOfFrames=len(frames),
        SegmentationType=kind,
        MaximumFractionalValue=200,
        SharedFunctionalGroupsSequence=Items([shared]),
        PerFrameFunctionalGroupsSequence=Items(groups),
        ReferencedSeriesSequence=item(SeriesInstanceUID=SERIES, ReferencedInstanceSequence=images),
        **tags,
    )
    dataset = dcmread(path)
    pixels = np.stack([each for _, _, each in frames]).astype(np.uint8)
    if kind == "BINARY":
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        dataset.PixelData = pack_bits(pixels)
    else:
        dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    return path


def box(top: int, left: int, bottom: int, right: int, value: int = 1) -> np.ndarray:
    """A frame with one rectangle."""
    pixels = np.zeros(SIZE, dtype=np.uint8)
    pixels[top:bottom, left:right] = value
    return pixels
