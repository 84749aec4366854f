"""DICOM pixel data: one frame decoded to the numbers that were stored, colour to RGB."""

from typing import BinaryIO

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGExtended12Bit

from medino.core import UnreadableImageError
from medino.data.readers.dicom_header import DicomHeader
from medino.data.readers.failures import check_size, decoding
from medino.data.source import Source


def stored_values(source: Source, header: DicomHeader, frame: int) -> np.ndarray:
    """Decode one frame of a DICOM image; the others stay compressed or unread.

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
    if not np.isfinite(values).all():
        raise UnreadableImageError("the pixel data holds values that are not numbers (NaN or infinite)")
    return values


def _decode(file: BinaryIO, header: DicomHeader, frame: int) -> np.ndarray:
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return pixel_array(dcmread(file), index=frame)
    if header.transfer_syntax == JPEGExtended12Bit and header.whole("BitsStored", 8) > 8:
        # libjpeg as the plugins of pydicom build it reads 8 bits only; imagecodecs has the 12-bit build.
        return imagecodecs.jpeg_decode(get_frame(_pixel_data(file), frame, number_of_frames=header.frames))
    return pixel_array(file, index=frame, transfer_syntax_uid=header.transfer_syntax)


def _pixel_data(file: BinaryIO) -> bytes:
    return dcmread(file, force=True, specific_tags=["PixelData"]).PixelData
