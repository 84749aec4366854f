"""Where the frames of a DICOM image lie in the patient, and what parts the volumes that they belong to."""

import math
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from medino.data.readers.dicom_values import first_number, numbers, value_of
from medino.data.stack import TERMS, stack_text

if TYPE_CHECKING:
    from medino.data.readers.dicom_header import DicomHeader

_NOTHING = Dataset()

SKEW = 0.05
"""How far from 1 a direction cosine's length may be, and from 0 the product of two: beyond, they place nothing."""


def place(header: "DicomHeader", frame: int) -> dict[str, object]:
    """The geometry of one frame: the fields of `Sample` from `spacing_row_mm` to `stack`.

    Functional groups (the frame's own, then the shared ones) come before the top level. Frames of a dose grid are
    moved by GridFrameOffsetVector (PS3.3 C.8.8.3.2), those of reconstructed nuclear medicine by SliceVector and
    SpacingBetweenSlices (PS3.3 C.8.4.8, C.8.4.15).
    """
    distance = spacing(header, frame)
    orientation = _orientation(header, frame)
    thickness = first_number(header.macro("PixelMeasuresSequence", frame), "SliceThickness")
    return {
        "spacing_row_mm": distance[0] if distance else None,
        "spacing_column_mm": distance[1] if distance else None,
        "slice_thickness_mm": thickness if thickness and thickness > 0 else None,
        "orientation": orientation,
        **own_place(header, orientation, frame),
    }


def own_place(header: "DicomHeader", orientation: list[float] | None, frame: int = 0) -> dict[str, object]:
    """Of the geometry of one frame what differs between the images of a series."""
    position = _position(header, frame, orientation)
    along = None
    if position is not None and orientation is not None:
        along = float(np.dot(position, _normal(orientation)))
    return {"slice_position_mm": along, "position_mm": position, "stack": stack(header, frame)}


def spacing(header: "DicomHeader", frame: int) -> tuple[float, float] | None:
    """Distance between rows and between columns in mm, None where the header does not say.

    In the patient where it is known (PixelSpacing), else at the detector (ImagerPixelSpacing), else on the film.
    """
    measures = header.macro("PixelMeasuresSequence", frame)
    for source, name in (
        (measures, "PixelSpacing"),
        (header.dataset, "PixelSpacing"),
        (header.dataset, "ImagerPixelSpacing"),
        (header.dataset, "NominalScannedPixelSpacing"),
    ):
        found = numbers(source, name)
        if len(found) == 2 and min(found) > 0:
            return found[0], found[1]
    return None


def stack(header: "DicomHeader", frame: int) -> str | None:
    """All that could part this frame from others at its place: numbers and known terms only, never free text."""
    # Some scanners count an acquisition for each slice: it comes last, so that the rest is found once a series.
    content = header.macro("FrameContentSequence", frame)
    acquisition = {"acquisition": _number(content, "FrameAcquisitionNumber", "AcquisitionNumber")}
    if header.frames > 1:
        common = _common_stack(header, frame)
    else:
        if "stack" not in header.alike:
            header.alike["stack"] = _common_stack(header, frame)
        common = header.alike["stack"]
    return "; ".join(filter(None, (common, stack_text(acquisition)))) or None


def _common_stack(header: "DicomHeader", frame: int) -> str | None:
    """What the images of a series say alike of it."""
    content = header.macro("FrameContentSequence", frame)
    heart = header.macro("CardiacSynchronizationSequence", frame)
    diffusion = header.macro("MRDiffusionSequence", frame)
    gradient = (value_of(diffusion, "DiffusionGradientDirectionSequence") or [diffusion])[0]
    direction = numbers(gradient, "DiffusionGradientOrientation")
    identifier = str(value_of(content, "StackID") or "")
    return stack_text(
        {
            "echo": _number(header.dataset, "EchoNumbers"),
            "echo time": _number(header.macro("MREchoSequence", frame), "EffectiveEchoTime", "EchoTime"),
            "inversion time": _number(header.macro("MRModifierSequence", frame), "InversionTimes", "InversionTime"),
            "b": _number(diffusion, "DiffusionBValue"),
            "direction": " ".join(f"{cosine:.4f}" for cosine in direction) if len(direction) == 3 else None,
            "temporal position": _number(content, "TemporalPositionIndex", "TemporalPositionIdentifier"),
            "cardiac phase": _number(heart, "NominalPercentageOfCardiacPhase"),
            "contrast": _terms(header.macro("ContrastBolusUsageSequence", frame), "ContrastBolusAgentPhase"),
            "type": _image_type(header, frame),
            "kV": _number(header.macro("CTXRayDetailsSequence", frame), "KVP"),
            "trigger time": _number(heart, "NominalCardiacTriggerDelayTime", "TriggerTime"),
            "stack": identifier if identifier.isdecimal() and len(identifier) < 4 else None,
        }
    )


def _orientation(header: "DicomHeader", frame: int) -> list[float] | None:
    """Six direction cosines that truly span a plane."""
    for source in (header.macro("PlaneOrientationSequence", frame), _detector(header)):
        found = numbers(source, "ImageOrientationPatient")
        if len(found) != 6:
            continue
        row, column = found[:3], found[3:]
        product = sum(x * y for x, y in zip(row, column, strict=True))
        if max(abs(math.hypot(*row) - 1), abs(math.hypot(*column) - 1), abs(product)) < SKEW:
            return found
    return None


def _position(header: "DicomHeader", frame: int, orientation: list[float] | None) -> list[float] | None:
    """The centre of the frame's first pixel in the patient, mm."""
    found = numbers(header.macro("PlanePositionSequence", frame), "ImagePositionPatient")
    found = found or numbers(_detector(header), "ImagePositionPatient")
    if len(found) != 3:
        return None
    offset = _offset(header, frame)
    if not offset:
        return found
    if orientation is None:
        return None
    return [float(value) for value in np.array(found) + offset * _normal(orientation)]


def _offset(header: "DicomHeader", frame: int) -> float:
    """How far a frame lies from the image's position, along the normal; 0 where its own position is given."""
    grid = numbers(header.dataset, "GridFrameOffsetVector")
    if frame < len(grid):
        # Absolute offsets are allowed for axial grids: then the first is the position itself.
        return grid[frame] - grid[0]
    slices = numbers(header.dataset, "SliceVector")
    step = header.number("SpacingBetweenSlices") if frame < len(slices) else None
    return (slices[frame] - slices[0]) * step if step else 0.0


def _detector(header: "DicomHeader") -> Dataset:
    """Where nuclear medicine keeps what others keep at the top level."""
    return (value_of(header.dataset, "DetectorInformationSequence") or [_NOTHING])[0]


def _normal(orientation: list[float]) -> np.ndarray:
    # As numpy's cross product and norm, which take thirty times as long for three numbers.
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    return np.array([value / length for value in normal])


def _number(dataset: Dataset, *names: str) -> float | None:
    return next((value for name in names if (value := first_number(dataset, name)) is not None), None)


def _image_type(header: "DicomHeader", frame: int) -> str | None:
    """FrameType or ImageType, and whether it is magnitude, phase, real or imaginary."""
    for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        macro = header.macro(sequence, frame)
        if value_of(macro, "FrameType") is not None:
            return _terms(macro, "FrameType", "ComplexImageComponent")
    return _terms(header.dataset, "ImageType")


def _terms(dataset: Dataset, *names: str) -> str | None:
    """The values of coded elements that are known terms."""
    found: list[str] = []
    for name in names:
        value = value_of(dataset, name) or ()
        found += [value] if isinstance(value, str) else [str(item) for item in value]
    found = [text.strip().upper().replace(" ", "_") for text in found]
    return " ".join(term for term in found if term in TERMS) or None
