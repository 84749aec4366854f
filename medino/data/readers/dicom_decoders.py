"""Encoded DICOM frames to arrays: by pydicom's plugins where they serve, by imagecodecs where they don't."""

import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, RLELossless

from medino.core import UnreadableImageError
from medino.data.readers.dicom_syntaxes import PLUGINS

_J2K_START = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream, and the marker of its size that must follow (ISO/IEC 15444-1, annex A)."""

_JPEG_START = b"\xff\xd8"
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Starts of a frame of JPEG (ISO/IEC 10918-1, table B.1) and of JPEG-LS (ISO/IEC 14495-1)."""


def decode_encapsulated(file: BinaryIO, syntax: UID, frame: int, options: dict[str, Any]) -> tuple[np.ndarray, bool]:
    """Decode one encapsulated frame; the others are neither read nor decoded.

    Args:
        file: standing at the value of the pixel data.
        syntax: the transfer syntax.
        frame: index of the frame.
        options: what the header says of the pixels, as pydicom's decoders take it.

    Returns:
        (H, W) or (H, W, 3) with colour as RGB; and whether the values can carry bits that are none of theirs.
    """
    encoded = get_frame(
        file, frame, number_of_frames=options["number_of_frames"], extended_offsets=options.get("extended_offsets")
    )
    _check_size(encoded, options["rows"], options["columns"])
    decode = _own_decoder(syntax, options["bits_stored"])
    if decode is None:
        alone = {**options, "number_of_frames": 1, "extended_offsets": None}
        decoder = get_decoder(syntax)
        values, _ = decoder.as_array(encapsulate([encoded]), index=0, decoding_plugin=PLUGINS[syntax], **alone)
        return values, False
    values = decode(encoded, options)
    if values.ndim == 3 and options["photometric_interpretation"] in ("YBR_FULL", "YBR_FULL_422"):
        values = convert_color_space(values, "YBR_FULL", "RGB")
    # What is lossy overshoots, and has no other bits.
    return values, syntax != JPEGExtended12Bit


def _check_size(encoded: bytes, rows: int, columns: int) -> None:
    """Refuse a frame whose own header announces another size, before its decoder makes room for that size."""
    declared = _declared_size(encoded)
    if declared is not None and declared != (rows, columns):
        raise UnreadableImageError(
            f"the pixel data decodes to {declared[0]}x{declared[1]}, the header says {rows}x{columns}"
        )


def _declared_size(encoded: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 frame announces; None where none is found."""
    start = encoded.find(_J2K_START, 0, 1000)
    if start >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", encoded, start + 8)
        return bottom - top, right - left
    place = 2
    while encoded[:2] == _JPEG_START and place + 9 <= len(encoded) and encoded[place] == 0xFF:
        marker = encoded[place + 1]
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack_from(">HH", encoded, place + 5)
            # Zero rows are told by a later marker, which no image of a scanner has.
            return (rows, columns) if rows else None
        place += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", encoded, place + 2)[0]
    return None


def _own_decoder(syntax: UID, bits: int) -> Callable[[bytes, dict[str, Any]], np.ndarray] | None:
    if syntax == RLELossless:
        return _run_lengths
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return _lossless_jpeg
    if syntax == JPEGExtended12Bit and bits > 8:
        return _twelve_bit_jpeg
    return None


def _run_lengths(encoded: bytes, options: dict[str, Any]) -> np.ndarray:
    """Run lengths by imagecodecs, twenty times as fast as pydicom's own loop."""
    kind = "i" if options["pixel_representation"] else "u"
    dtype = np.dtype(f"{kind}{options['bits_allocated'] // 8}")
    flat = np.frombuffer(imagecodecs.dicomrle_decode(encoded, dtype), dtype)
    rows, columns, samples = options["rows"], options["columns"], options["samples_per_pixel"]
    # Colours lie one plane after the other, whatever the planar configuration says (PS3.5 G.2).
    return flat.reshape(rows, columns) if samples == 1 else np.moveaxis(flat.reshape(samples, rows, columns), 0, -1)


def _lossless_jpeg(encoded: bytes, options: dict[str, Any]) -> np.ndarray:
    values = imagecodecs.jpeg8_decode(encoded)
    return values.view(f"i{values.dtype.itemsize}") if options["pixel_representation"] else values


def _twelve_bit_jpeg(encoded: bytes, options: dict[str, Any]) -> np.ndarray:
    """12 bits, which libjpeg as Pillow has it does not read; nothing that was encoded lay above the stored bits."""
    return np.minimum(imagecodecs.jpeg_decode(encoded), 2 ** options["bits_stored"] - 1)
