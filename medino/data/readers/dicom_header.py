"""DICOM headers: which frames a file holds, where they lie, whose they are. No pixel is touched."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medino.core import UnreadableImageError
from medino.data.readers import vocabulary
from medino.data.readers.description import description
from medino.data.readers.dicom_elements import read_elements
from medino.data.readers.dicom_geometry import own_place, place
from medino.data.readers.dicom_person import age, burned_in, sex, standard_uid
from medino.data.readers.dicom_syntaxes import READABLE
from medino.data.readers.dicom_values import first_number, is_given, tag_of, text_of, value_of, whole_of
from medino.data.readers.failures import check_size, decoding
from medino.data.source import Source

_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation")
_OWN = frozenset(
    tag_of(name)
    for name in (
        "AcquisitionNumber",
        "SOPInstanceUID",
        "ImagePositionPatient",
        "WindowCenter",
        "WindowWidth",
        "RescaleSlope",
        "RescaleIntercept",
    )
)
"""What differs between the images of a series and is worked out for each, or is not described."""
_ALIKE: dict[tuple, dict[str, Any]] = {}
_ALIKE_MOST = 256
"""Series whose headers' descriptions are kept: a scan comes to the next image of one soon."""
_CODE = re.compile(r"[A-Za-z0-9_ /.-]{1,16}|[0-9.]{1,64}")
_DEFLATE_MOST = 1032
"""The largest factor by which deflate can shrink anything (zlib's technical notes)."""


@dataclass(frozen=True)
class DicomHeader:
    """What the header of one DICOM image says.

    Attributes:
        dataset: the elements that medino reads, pixel data excluded.
        transfer_syntax: as declared, or as the data elements are encoded where nothing is declared.
        frames: number of frames, at least 1.
        pixels_at: where the element of the pixel data begins in the file, bytes; where the data set is deflated it has
            no place of its own, and this means nothing.
        alike: what was worked out for one image, shared by all whose headers say the same but for their place.
    """

    dataset: Dataset
    transfer_syntax: UID
    frames: int
    pixels_at: int
    alike: dict[str, Any] = field(default_factory=dict)

    def number(self, name: str) -> float | None:
        """The first value of a numeric element, None where it is absent or no number."""
        return first_number(self.dataset, name)

    def whole(self, name: str, default: int) -> int:
        """The value of an integer element, `default` where it is absent or no number."""
        value = self.number(name)
        return default if value is None else int(value)

    def text(self, name: str) -> str | None:
        """The text of an element, None where it is absent or blank."""
        return text_of(self.dataset, name)

    def code(self, name: str) -> str | None:
        """The text of an element if it is a code or an identifier of the standard, not free text."""
        text = self.text(name)
        return text if text and _CODE.fullmatch(text) else None

    def macro(self, name: str, frame: int) -> Dataset:
        """The functional group that holds for a frame: its own, else the shared one, else the dataset itself.

        Classic images keep at the top level what enhanced ones keep in functional groups, under the same names.
        """
        groups = value_of(self.dataset, "PerFrameFunctionalGroupsSequence") or ()
        shared = value_of(self.dataset, "SharedFunctionalGroupsSequence") or ()
        for group in (*groups[frame : frame + 1], *shared[:1]):
            items = value_of(group, name)
            if items:
                return items[0]
        return self.dataset

    @property
    def colour(self) -> bool:
        """True where the pixels become RGB."""
        return self.whole("SamplesPerPixel", 1) == 3 or self.text("PhotometricInterpretation") == "PALETTE COLOR"


def read_header(source: Source) -> DicomHeader:
    """Read the header of a DICOM image, with or without preamble and file meta information.

    Raises:
        UnreadableImageError: the file is no DICOM image, or its header can't be right.
    """
    with decoding("the header"):
        return _read_header(source, source.stamp)


# The frames of one file are often read one after the other, and the header of an enhanced image is long.
@lru_cache(maxsize=4)
def _read_header(source: Source, stamp: tuple[int, int]) -> DicomHeader:
    """The header of a file; `stamp` keeps a rewritten file from the cache."""
    size = source.size()
    found = read_elements(source, size)
    dataset, pixels_at = found.dataset, found.pixels_at
    syntax = found.declared or _encoded_as(dataset)
    left = size * _DEFLATE_MOST if syntax == DeflatedExplicitVRLittleEndian else size - pixels_at
    signature = _signature(dataset, syntax)
    if signature in _ALIKE:
        header = DicomHeader(dataset, syntax, 1, pixels_at, _ALIKE[signature])
        _check_length(header, left)
        return header
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        raise UnreadableImageError("there is no DICOM object in the file: neither a SOP class nor an image size")
    missing = [name for name in _NEEDED if not is_given(dataset, name)]
    if missing:
        raise UnreadableImageError(f"the DICOM object holds no image: {', '.join(missing)} missing")
    header = DicomHeader(dataset, syntax, _frames(dataset), pixels_at)
    check_size(*(whole_of(dataset, name) for name in _NEEDED[:3]))
    _check_decoder(syntax)
    _check_length(header, left)
    if signature is not None and header.frames == 1:
        while len(_ALIKE) >= _ALIKE_MOST:
            del _ALIKE[next(iter(_ALIKE))]
        _ALIKE[signature] = header.alike
    return header


def _signature(dataset: Dataset, syntax: UID) -> tuple | None:
    """What a header says, as it is stored, but for what is each image's own; None where that can't be compared."""
    elements = []
    for tag, element in dataset.items():
        if tag in _OWN:
            continue
        if element.VR == "SQ" and not isinstance(element, RawDataElement):  # it was taken apart
            return None
        # The character set is read before all others: it is no raw element any more.
        value = element.value if isinstance(element, RawDataElement) else str(element.value)
        elements.append((tag, element.VR, value))
    return syntax, dataset.original_encoding, tuple(elements)


def describe_header(header: DicomHeader) -> list[dict[str, object]]:
    """One dict for each frame, as `medino.data.readers.describe` documents it."""
    known = header.alike.get("description")
    if known is not None:
        return [{**known, **own_place(header, known["orientation"]), "sop_instance_uid": header.text("SOPInstanceUID")}]
    described = _describe(header)
    if len(described) == 1:
        header.alike["description"] = described[0]
    return described


def _describe(header: DicomHeader) -> list[dict[str, object]]:
    image = {
        "format": "dicom",
        "modality": vocabulary.modality(header.text("Modality")),
        "sop_class": standard_uid(header.text("SOPClassUID")),
        "transfer_syntax": str(header.transfer_syntax),
        "photometric": header.text("PhotometricInterpretation"),
        "rows": header.whole("Rows", 0),
        "columns": header.whole("Columns", 0),
        "samples_per_pixel": 3 if header.colour else 1,
        "bits_stored": header.whole("BitsStored", header.whole("BitsAllocated", 0)),
        "age": age(header.text("PatientAge")),
        "sex": sex(header.text("PatientSex")),
        "burned_in": burned_in(header),
        "manufacturer": vocabulary.manufacturer(header.text("Manufacturer")),
        "manufacturer_model": vocabulary.scanner_model(header.text("ManufacturerModelName")),
        "body_part": vocabulary.body_part(header.text("BodyPartExamined")),
        "patient_id": header.text("PatientID"),
        "study_uid": header.text("StudyInstanceUID"),
        "series_uid": header.text("SeriesInstanceUID"),
        "sop_instance_uid": header.text("SOPInstanceUID"),
        "accession_number": header.text("AccessionNumber"),
    }
    return [description(**image, **place(header, frame), frame=frame) for frame in range(header.frames)]


def _encoded_as(dataset: Dataset) -> UID:
    """The transfer syntax that the data elements were found in, where none is declared."""
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _frames(dataset: Dataset) -> int:
    value = value_of(dataset, "NumberOfFrames")
    if value is None or value == "":
        return 1
    try:
        return max(int(value), 1)
    except (TypeError, ValueError):
        raise UnreadableImageError("the number of frames in the header is not a number") from None


def _check_decoder(syntax: UID) -> None:
    if syntax not in READABLE:
        name = syntax.name if syntax.is_transfer_syntax else "a transfer syntax that is none of the standard's"
        raise UnreadableImageError(f"no decoder for the pixel data: {name}")


def _check_length(header: DicomHeader, left: int) -> None:
    """Compare what is left of the file after the header with what the frames need at least."""
    if left < 8:
        raise UnreadableImageError("the DICOM object holds no pixel data")
    if "need" not in header.alike:
        if header.transfer_syntax.is_encapsulated:
            header.alike["need"] = 8 * header.frames
        else:
            header.alike["need"] = _length(header)
    if left < header.alike["need"]:
        raise UnreadableImageError("the file is truncated: it is shorter than its rows, columns and frames need")


def _length(header: DicomHeader) -> int:
    """Bytes of the frames as they are stored, not encoded."""
    image = SimpleNamespace(
        **{name: whole_of(header.dataset, name) for name in _NEEDED[:4]},
        PhotometricInterpretation=header.text("PhotometricInterpretation"),
        NumberOfFrames=header.frames,
    )
    # Of a data set pydicom would convert each of these anew, which takes as long as to read it.
    return get_expected_length(cast(Dataset, image), unit="bytes")
