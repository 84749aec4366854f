"""The windows that a DICOM file brings along: VOI LUTs and windows of every function (PS3.3 C.11.2)."""

from typing import Literal

import numpy as np

from medino.data.pixels import Window
from medino.data.readers.dicom_header import DicomHeader
from medino.data.readers.dicom_tables import lookup_table
from medino.data.readers.dicom_values import numbers


def windows_of(header: DicomHeader, frame: int, full_range: tuple[float, float]) -> tuple[Window, ...]:
    """The windows of a frame: tables first, then centres and widths; each is one of the views that the file offers.

    Where a file has both, the table is what the maker tuned for the image and the window its approximation.
    Explanations of windows are free text and are not looked at.

    Args:
        header: the file's header.
        frame: index of the frame; enhanced images have windows for each.
        full_range: lowest and highest value after the modality transformation, which is what windows are for.
    """
    return (*_tables(header, full_range), *_centers_and_widths(header, frame))


def _tables(header: DicomHeader, full_range: tuple[float, float]) -> tuple[Window, ...]:
    sequence = header.dataset.get("VOILUTSequence") or ()
    found = []
    for item in sequence:
        try:
            table = lookup_table(item, header, full_range[1])
        except Exception:
            # It only says how the image may be shown: a damaged one costs the view and not the pixels.
            continue
        if len(table.entries) < 2:
            continue
        shown = np.clip(table.entries / (2.0**table.bits - 1), 0, 1)
        last = table.first + len(shown) - 1
        found.append(
            Window((table.first + last) / 2, float(last - table.first), "table", tuple(float(each) for each in shown))
        )
    return tuple(found)


def _centers_and_widths(header: DicomHeader, frame: int) -> tuple[Window, ...]:
    """Windows as exact ones.

    LINEAR maps `center - 0.5 ± (width - 1) / 2` to the ends, LINEAR_EXACT `center ± width / 2` (PS3.3 C.11.2.1.2.1).
    """
    macro = header.macro("FrameVOILUTSequence", frame)
    centers, widths = numbers(macro, "WindowCenter"), numbers(macro, "WindowWidth")
    function = str(macro.get("VOILUTFunction") or "LINEAR").upper()
    if function == "LINEAR":
        return tuple(
            Window(center - 0.5, width - 1) for center, width in zip(centers, widths, strict=False) if width >= 1
        )
    shape: Literal["sigmoid", "linear"] = "sigmoid" if function == "SIGMOID" else "linear"
    return tuple(Window(center, width, shape) for center, width in zip(centers, widths, strict=False) if width > 0)
