"""What a file is, by its first bytes: an image that can be read, or something else that folders hold."""

import zlib
from pathlib import Path

from medino.data.readers.failures import decoding
from medino.data.slides.openslide_file import is_slide
from medino.data.source import Source

NOT_AN_IMAGE = "no image of a kind that is read"
"""The reason for files that are nothing known here."""

START_BYTES = 540
"""As many as a NIfTI-2 header has; all other marks come before."""

_SUFFIXES = {
    "dicom": (".dcm", ".dicom", ".ima", ".dc3"),
    "nifti": (".nii", ".nii.gz"),
    "raster": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RASTER_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", *_TIFF_STARTS)

_DICOMDIR = b"1.2.840.10008.1.3.10\2\0"
"""The class Media Storage Directory and the group of the element that follows it (PS3.4, table F.5)."""

_OTHERS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"%PDF",), "a PDF document"),
    ((b"MZ", b"\x7fELF", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe"), "a program"),
    ((b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",), "an Office document, or the thumbnails of Windows (Thumbs.db)"),
    (
        (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\xfd7zXZ\0", b"BZh"),
        "an archive of a kind that is not read: unpack it",
    ),
    ((b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02"), "an HDF5, MATLAB or MINC file"),
    ((b"MATLAB 5.0 MAT-file",), "a MATLAB file"),
    ((b"NRRD000",), "an NRRD volume: convert it to NIfTI"),
    ((b"ObjectType =", b"NDims ="), "a MetaImage volume: convert it to NIfTI"),
    ((b"SQLite format 3\0",), "a database"),
    ((b"PAR1", b"ARROW1"), "a table"),
    ((b"\0\0\x01\xba", b"\x1a\x45\xdf\xa3", b"OggS"), "a film"),
    ((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 image outside DICOM: convert it to PNG or TIFF"),
    ((b"<?xml", b"<!DOCTYPE", b"<html", b"<HTML"), "an XML or HTML text"),
    ((b"{\\rtf",), "a text document"),
    ((b"{", b"["), "a JSON text, such as stands beside converted images"),
)
"""How other files begin, and what they are."""


def sniff(file: Source | Path) -> str | None:
    """The format of a file, by its first bytes and, where these don't tell, by its name.

    Returns:
        One of `medino.data.readers.FORMATS`; None for what is no image file that medino knows.

    Raises:
        UnreadableImageError: the file can't be opened.
    """
    source = Source.of(file)
    start, name = _start(source), source.name.lower()
    if start[128:132] == b"DICM" or _is_bare_dicom(start):
        return None if _DICOMDIR in start else "dicom"
    if is_slide(source, start):
        return "slide"
    if start.startswith(_RASTER_STARTS) or _is_webp(start) or _is_bmp(start):
        return "raster"
    if is_nifti(start) or is_nifti(_unzipped(start)):
        return "nifti"
    if start.startswith(b"\x93NUMPY") and source.member is not None:
        return "npz"
    if _what_else(start):
        return None
    return next((format for format, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), None)


def why_no_image(source: Source) -> str:
    """What a file is that `sniff` does not know, as the reason for which it is rejected.

    Raises:
        UnreadableImageError: the file can't be opened.
    """
    start = _start(source)
    what = _what_else(start) or _what_else(_unzipped(start))
    if what:
        return f"no image: {what}"
    if source.name.lower().endswith((".img", ".img.gz")):
        return "no image by itself: the voxels of a pair of files; they are read through its .hdr"
    return NOT_AN_IMAGE


def is_nifti(start: bytes) -> bool:
    """Whether a file begins with a header of NIfTI-1 or NIfTI-2, of one file or of the two of a pair."""
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:12] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")


def _start(source: Source) -> bytes:
    with decoding("the file"):
        return source.start()[: 2 * START_BYTES]


def _what_else(start: bytes) -> str | None:
    if _DICOMDIR in start:
        return "a DICOMDIR, the index of other DICOM files"
    if start.startswith(b"PK\3\4"):
        return "an archive or a document; if it is a zip of images, end its name in .zip"
    if start.startswith(b"\x93NUMPY"):
        return "a NumPy array by itself: put it into an NPZ file"
    if start[4:8] == b"ftyp" or (start[:4] == b"RIFF" and start[8:11] == b"AVI"):
        return "a film"
    if start[257:262] == b"ustar":
        return "an archive of a kind that is not read: unpack it"
    if start[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c") and not is_nifti(start):
        return "an Analyze 7.5 header, which does not say where left and right are: convert it to NIfTI"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for starts, what in _OTHERS if text.startswith(starts)), None)


def _unzipped(start: bytes) -> bytes:
    """The first bytes of what is compressed by gzip; none where it is not."""
    if not start.startswith(b"\x1f\x8b"):
        return b""
    try:
        return zlib.decompressobj(wbits=31).decompress(start, START_BYTES)
    except zlib.error:
        return b""


def _is_webp(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def _is_bmp(start: bytes) -> bool:
    """Whether a Windows bitmap begins: its mark, two reserved words of zero and a known length of its second header."""
    return start[:2] == b"BM" and start[6:10] == bytes(4) and start[14:18] in _BMP_HEADERS


_BMP_HEADERS = tuple(length.to_bytes(4, "little") for length in (12, 40, 52, 56, 64, 108, 124))


def _is_bare_dicom(start: bytes) -> bool:
    """Whether the bytes are an element of the groups 0002 or 0008, with which a data set without preamble starts."""
    if start[:2] in (b"\x02\0", b"\x08\0"):
        group_then_element, length = start[3:4] == b"\0", start[6:8]
    elif start[:2] in (b"\0\x02", b"\0\x08"):
        group_then_element, length = start[2:3] == b"\0", start[4:6]
    else:
        return False
    return group_then_element and (length == b"\0\0" or start[4:6].isalpha())
