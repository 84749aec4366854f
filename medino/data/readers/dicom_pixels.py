"""DICOM pixel data: one frame decoded to the numbers that were stored, colour to RGB."""

import struct
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.pixels import get_decoder, pixel_array
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)

from medino.core import UnreadableImageError
from medino.data.readers.dicom_decoders import decode_encapsulated
from medino.data.readers.dicom_header import DicomHeader
from medino.data.readers.failures import check_size, decoding
from medino.data.source import Source

_KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
_UNDEFINED = 0xFFFFFFFF
"""The length of encapsulated pixel data (PS3.5 A.4)."""


def stored_values(source: Source, header: DicomHeader, frame: int) -> np.ndarray:
    """Decode one frame of a DICOM image; the bytes of the others are neither read nor decoded.

    The exception is the deflated transfer syntax, where a frame is reached only by inflating the whole file.

    Args:
        source: the file.
        header: its header.
        frame: index of the frame.

    Returns:
        (H, W) stored values of a grey or palette image, (H, W, 3) RGB of a colour image (YBR is converted).

    Raises:
        UnreadableImageError: there is no such frame, or it can't be decoded.
    """
    if not 0 <= frame < header.frames:
        raise UnreadableImageError(f"frame {frame} is asked for, and the file has {header.frames}")
    name = header.transfer_syntax.name if header.transfer_syntax.is_transfer_syntax else "unknown transfer syntax"
    with decoding(f"the pixel data ({name})"), source.open() as file:
        values = _decode(file, header, frame)
    rows, columns = header.whole("Rows", 0), header.whole("Columns", 0)
    expected = (rows, columns) if header.whole("SamplesPerPixel", 1) == 1 else (rows, columns, 3)
    if values.shape != expected:
        raise UnreadableImageError(
            f"the pixel data decodes to {'x'.join(map(str, values.shape))}, the header says "
            f"{'x'.join(map(str, expected))}"
        )
    check_size(rows, columns, values.size // (rows * columns))
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableImageError("the pixel data holds values that are not numbers (NaN or infinite)")
    return values


def _decode(file: BinaryIO, header: DicomHeader, frame: int) -> np.ndarray:
    syntax = header.transfer_syntax
    grey = header.whole("SamplesPerPixel", 1) == 1
    if syntax == DeflatedExplicitVRLittleEndian:
        values = pixel_array(dcmread(file), index=frame, correct_unused_bits=not grey)
        return _significant_bits(values, header) if grey else values
    options, length = _open_pixel_data(file, header)
    if syntax.is_encapsulated and length != _UNDEFINED:
        # Some archives decompress images and leave the transfer syntax as it was; an element of a defined length can't
        # be encapsulated.
        syntax = ExplicitVRLittleEndian
    if syntax.is_encapsulated:
        values, cells = decode_encapsulated(file, syntax, frame, options)
        return _significant_bits(values, header) if cells and grey else values
    if options["bits_allocated"] in (1, 12) and grey:
        return _significant_bits(_packed_cells(file, header, frame), header)
    options["correct_unused_bits"] = not grey
    values, _ = get_decoder(syntax).as_array(file, index=frame, **options)
    return _significant_bits(values, header) if grey else values


def _open_pixel_data(file: BinaryIO, header: DicomHeader) -> tuple[dict[str, Any], int]:
    """Go to the value of the pixel data; what pydicom's decoders need to know of it, and its length as declared."""
    syntax = header.transfer_syntax
    options = as_pixel_options(header.dataset, number_of_frames=header.frames)
    # Left out by files that are sloppy about what is mandatory.
    options.setdefault("bits_stored", options["bits_allocated"])
    options.setdefault("pixel_representation", 0)
    options.setdefault("planar_configuration", 0)
    file.seek(header.pixels_at)
    order = "<" if syntax.is_little_endian else ">"
    if _is_implicit(header):
        _, element, length = struct.unpack(f"{order}HHL", file.read(8))
    else:
        _, element, vr, length = struct.unpack(f"{order}HH2s2xL", file.read(12))
        options["pixel_vr"] = vr.decode("ascii")
    options["pixel_keyword"] = _KEYWORDS[element]
    return options, length


def _is_implicit(header: DicomHeader) -> bool:
    """How the data elements were found to be encoded; a declared transfer syntax can be wrong about it."""
    return bool(header.dataset.original_encoding[0])


def _packed_cells(file: BinaryIO, header: DicomHeader, frame: int) -> np.ndarray:
    """One frame of cells of 1 or 12 bits from a file that stands at the first frame's.

    Cells and frames follow each other without a gap, lowest bit first (PS3.5 8.1.1; 12 bits are of older editions), so
    that a frame can begin inside a byte: pydicom 3.0 loses the last bits of such a frame of single bits, and reads no
    cells of 12.
    """
    rows, columns, cell = header.whole("Rows", 0), header.whole("Columns", 0), header.whole("BitsAllocated", 1)
    first_byte, first_bit = divmod(frame * rows * columns * cell, 8)
    file.seek(first_byte, 1)
    packed = np.frombuffer(file.read((first_bit + rows * columns * cell + 7) // 8), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[first_bit : first_bit + rows * columns * cell]
    if cell == 1:
        return bits.reshape(rows, columns)
    padded = np.zeros((rows * columns, 16), np.uint8)
    padded[:, :cell] = bits.reshape(-1, cell)
    signed = header.whole("PixelRepresentation", 0) == 1
    return np.packbits(padded, axis=1, bitorder="little").view("<i2" if signed else "<u2").reshape(rows, columns)


def _significant_bits(values: np.ndarray, header: DicomHeader) -> np.ndarray:
    """The bits that belong to the value, as a number with its sign; what else lies in the cell is cut off.

    The cell can hold overlays above the value, or below it where HighBit is not BitsStored - 1 (PS3.5 8.1.1; older
    editions allowed that). JPEG, JPEG-LS and JPEG 2000 keep the value alone, whatever HighBit says.
    """
    cell = values.dtype.itemsize * 8
    stored = header.whole("BitsStored", cell)
    high = header.whole("HighBit", stored - 1)
    if values.dtype.kind not in "iu" or not 0 < stored < cell:
        return values
    if not stored - 1 <= high < cell:
        high = stored - 1
    return (values << (cell - 1 - high)) >> (cell - stored)
