"""DICOM lookup tables: what turns stored values into units, shades or colours (PS3.3 C.11.1.1, C.7.6.3.1.5)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from medino.core import UnreadableImageError
from medino.data.readers.dicom_header import DicomHeader
from medino.data.readers.dicom_values import numbers

_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class LookupTable:
    """A lookup table; inputs below and above it take its first and last entry.

    Attributes:
        first: the input that the first entry is for.
        entries: (N,) what each input becomes.
        bits: how many bits an entry can have.
    """

    first: int
    entries: np.ndarray
    bits: int

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """The entries for whole numbers."""
        return self.entries[np.clip(values.astype(np.int64) - self.first, 0, len(self.entries) - 1)]


def lookup_table(item: Dataset, header: DicomHeader, highest: float) -> LookupTable:
    """Read an item of a modality or VOI LUT sequence.

    Args:
        item: the item.
        header: of the file that it is in.
        highest: the largest input that there can be.

    Raises:
        UnreadableImageError: the table lacks entries or has nonsensical ones.
    """
    return _table(numbers(item, "LUTDescriptor"), item.get("LUTData"), header, highest)


def palette_colours(stored: np.ndarray, header: DicomHeader) -> tuple[np.ndarray, int]:
    """The colours that a palette gives to stored values.

    Returns:
        (H, W, 3) colours, and how many bits each can have.

    Raises:
        UnreadableImageError: the palette is incomplete.
    """
    name = "{}PaletteColorLookupTable{}"
    if name.format(_COLOURS[0], "Data") not in header.dataset:
        # Segmented ones, which few files have, are left to pydicom; it gives entries of their nominal depth.
        colours = apply_color_lut(stored, header.dataset)
        return colours, colours.dtype.itemsize * 8
    tables = [
        _table(
            numbers(header.dataset, name.format(colour, "Descriptor")),
            header.dataset.get(name.format(colour, "Data")),
            header,
            float(stored.max()),
        )
        for colour in _COLOURS
    ]
    # Entries that are declared to have 8 bits and have more are taken by what they hold.
    fits = all(int(table.entries.max()) < 2**table.bits for table in tables)
    return np.stack([table.look_up(stored) for table in tables], axis=-1), tables[0].bits if fits else 16


def _table(described: list[float], data: Any, header: DicomHeader, highest: float) -> LookupTable:
    """A table from its descriptor (length, first input, bits of an entry) and its data.

    A first input above the highest that there can be is a negative one that was written, or read, without its sign:
    the descriptor's VR is ambiguous.
    """
    if len(described) != 3 or data is None:
        raise UnreadableImageError("a lookup table in the header is incomplete")
    # 0 stands for 65536, which the descriptor's 16 bits can't hold.
    length, first, bits = int(described[0]) & 0xFFFF or 2**16, int(described[1]), int(described[2])
    if isinstance(data, bytes):
        order = "<" if header.dataset.original_encoding[1] else ">"
        entries = np.frombuffer(data, np.uint8 if len(data) < 2 * length else f"{order}u2")[:length]
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64))[:length] & 0xFFFF
    if len(entries) != length or not 1 <= bits <= 16:
        raise UnreadableImageError("a lookup table in the header has not the entries that it announces")
    if first >= 2**15 and first > highest:
        first -= 2**16
    return LookupTable(first, entries, bits)
