"""From a DICOM file to the elements of its header that medino reads, by pydicom's parser, and no further than it must.

Most files are alike in how they begin (PS3.10 7.1: preamble, meta information, a transfer syntax in use), and have
their header within the first bytes. Of these pydicom's parser is asked for the raw elements alone: a whole
`FileDataset`, with the meta information as another one, takes as long again. Every other file is left to
`pydicom.filereader.read_partial`, which knows what else there is.
"""

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from medino.data.readers.dicom_syntaxes import READABLE
from medino.data.readers.dicom_values import tag_of
from medino.data.readers.kept import HASHED_TAGS, KEPT_TAGS
from medino.data.source import Source

_PIXEL_TAGS = (
    "PlanarConfiguration",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "DoseGridScaling",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)
"""What is looked at when pixels are decoded, besides what a manifest keeps."""

_KEPT = (name for names in KEPT_TAGS.values() for name in names)
HEADER_TAGS = frozenset((*HASHED_TAGS.values(), *_KEPT, *_PIXEL_TAGS))
"""Keywords of all elements that are read."""

_TAGS: list[Any] = [int(tag_of(name)) for name in sorted(HEADER_TAGS)]
_PIXELS = frozenset(int(tag_of(name)) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
_TAGS_AND_PIXELS = [*_TAGS, *_PIXELS]
_SYNTAX, _CHARACTER_SET = BaseTag(0x00020010), tag_of("SpecificCharacterSet")
_NAMED = {int(tag): tag for tag in (*map(tag_of, HEADER_TAGS), _CHARACTER_SET)}
"""The tags that `tag_of` gives, by their numbers."""

_PREAMBLE = 128
_USUAL_START = b"DICM\x02\0\0\0UL\x04\0"
"""What follows the preamble: the mark, and the length of the meta information, which comes first (PS3.10 7.1)."""

_USUAL_SYNTAXES: dict[Any, UID] = {
    ("UI", str(uid).encode() + b"\0" * (len(uid) % 2)): uid for uid in READABLE if uid != DeflatedExplicitVRLittleEndian
}
"""Transfer syntaxes as they are stored: UIDs, with a zero behind those of odd length."""


@dataclass(frozen=True)
class Elements:
    """What the parser found.

    Attributes:
        dataset: the elements of `HEADER_TAGS`.
        declared: the transfer syntax that the meta information gives, None where it gives none.
        pixels_at: where the element of the pixel data begins, or the file ends without any, bytes.
    """

    dataset: Dataset
    declared: UID | None
    pixels_at: int


def read_elements(source: Source, size: int) -> Elements:
    """Read the elements of a DICOM file that come before its pixels.

    Args:
        source: the file, with or without preamble and meta information.
        size: its length, bytes.

    Raises:
        Exception: whatever pydicom raises for what is no DICOM file.
    """
    start = source.start()
    with suppress(Exception):
        usual = _usual(start)
        if usual is not None:
            return usual
    with suppress(Exception):
        found, reached = _any(BytesIO(start))
        if reached or len(start) == size:
            return found
    # A long header, or a deflated one, whose length says nothing.
    with source.open() as file:
        return _any(file)[0]


def _usual(start: bytes) -> Elements | None:
    """The elements of a file that is as most are; None where it may be anything else."""
    if not start.startswith(_USUAL_START, _PREAMBLE):
        return None
    file = BytesIO(start)
    file.seek(_PREAMBLE + len(b"DICM"))
    meta = {
        element.tag: (element.VR, element.value)
        for element in data_element_generator(file, False, True, _is_beyond_meta, specific_tags=[_SYNTAX])
    }
    begin = file.tell()
    syntax = _USUAL_SYNTAXES.get(meta.get(_SYNTAX))
    if syntax is None or start[begin : begin + 2] == b"\0\0":  # elements of a command, which no file should hold
        return None
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    # Files are not always encoded as they say: the first element tells.
    vr = start[begin + 4 : begin + 6]
    if (vr.isalpha() and vr.isupper()) == implicit:
        return None
    found, pixels_at = (_before_fragments if syntax.is_encapsulated else _before_pixels)(file, implicit, little)
    if pixels_at is None or not _is_plain(found.get(_CHARACTER_SET)):
        return None
    dataset = Dataset(found)
    dataset.set_original_encoding(implicit, little)
    return Elements(dataset, syntax, pixels_at)


def _before_fragments(file: BytesIO, implicit: bool, little: bool) -> tuple[dict[BaseTag, Any], int | None]:
    """The elements before pixels in fragments, and where these begin; None where they are not reached."""
    reached: list[BaseTag] = []
    parser = data_element_generator(file, implicit, little, _until_pixels(reached), specific_tags=_TAGS)
    found: dict[BaseTag, Any] = {_NAMED[int(element.tag)]: element for element in parser}
    return found, file.tell() if reached else None


def _before_pixels(file: BytesIO, implicit: bool, little: bool) -> tuple[dict[BaseTag, Any], int | None]:
    """The same for pixels of a known length, which are an element like others here.

    To be asked at each element whether it is to stop takes the parser nearly half as long again. Of an element that
    goes on beyond the start of the file it passes over the value.
    """
    found: dict[BaseTag, Any] = {}
    element: Any
    for element in data_element_generator(
        file, implicit, little, defer_size=len(file.getbuffer()), specific_tags=_TAGS_AND_PIXELS
    ):
        tag = int(element.tag)
        if tag in _PIXELS:
            return found, element.value_tell - (12 if element.VR in EXPLICIT_VR_LENGTH_32 else 8)
        found[_NAMED[tag]] = element
    return found, None


def _is_plain(character_set: Any) -> bool:
    return character_set is None or (isinstance(character_set, RawDataElement) and character_set.VR in (None, "CS"))


def _any(file: Any) -> tuple[Elements, bool]:
    """The elements of any file, and whether its pixels were reached."""
    reached: list[BaseTag] = []
    # As dcmread, which makes tags of the keywords anew for each file.
    dataset = read_partial(file, _until_pixels(reached), force=True, specific_tags=_TAGS)
    declared = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    return Elements(dataset, UID(str(declared)) if declared else None, file.tell()), bool(reached)


def _is_beyond_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def _until_pixels(reached: list[BaseTag]) -> Any:
    """A condition for the parser to stop at the pixels; the list gets their tag."""

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXELS:
            reached.append(tag)
            return True
        return False

    return at_pixels
