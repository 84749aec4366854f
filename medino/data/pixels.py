"""Pixels as they pass from the readers to the views: values in physical units, with what is known of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Window:
    """How a range of values (physical units) becomes [0, 1]; what lies beyond it takes the value of its end.

    Attributes:
        center: the middle of the range.
        width: its width.
        shape: of the curve. `linear`: `center - width/2` becomes 0 and `center + width/2` becomes 1. `sigmoid`:
            `1 / (1 + exp(-4 (value - center) / width))` (DICOM PS3.3 C.11.2.1.3.1), which has the line's slope at the
            centre and never reaches its ends. `table`: the values of `table`, evenly spaced over the range.
        table: what `shape="table"` looks up, in [0, 1]; between two entries the result lies on the line.
    """

    center: float
    width: float
    shape: Literal["linear", "sigmoid", "table"] = "linear"
    table: tuple[float, ...] = ()

    @property
    def low(self) -> float:
        """Where the range begins."""
        return self.center - self.width / 2

    @property
    def high(self) -> float:
        """Where the range ends."""
        return self.center + self.width / 2

    @classmethod
    def between(cls, low: float, high: float) -> "Window":
        """The linear window that maps `low` to 0 and `high` to 1."""
        return cls((low + high) / 2, high - low)


@dataclass(frozen=True)
class Pixels:
    """One image, slice or frame, decoded.

    Attributes:
        values: (C, H, W) float32 in physical units: HU for CT, Gy for a dose, stored units after the modality
            transformation elsewhere, code values for colour. C is 1 or 3. Colours of 8 bits may be uint8, as they lie
            in their file. MONOCHROME1 is not inverted here: see `inverted`. What is not valid is filled with the valid
            value that is shown darkest, so that it adds no structure of its own.
        full_range: lowest and highest value that the stored bits can express, in the units of `values`.
        spacing: distance between rows and between columns, mm; None where the format does not say.
        valid: (H, W) bool, False where the file marks a pixel as padding; None where all of the image is valid.
        box: top, left, bottom, right of the smallest rectangle around what is valid, in pixels, half open; None where
            that is all of the image.
        windows: the file's own windows, first one preferred.
        inverted: True where low values are to be shown bright (MONOCHROME1).
        modality: DICOM modality, where known.
        body_part: body part examined, as DICOM codes it, where known.
        stacked: True where the three channels are adjacent slices of one grey volume, not colours.
    """

    values: "torch.Tensor"
    full_range: tuple[float, float]
    spacing: tuple[float, float] | None = None
    box: tuple[int, int, int, int] | None = None
    windows: tuple[Window, ...] = ()
    inverted: bool = False
    modality: str | None = None
    stacked: bool = False
    valid: "torch.Tensor | None" = None
    body_part: str | None = None

    @property
    def colour(self) -> bool:
        """True where the three channels are red, green and blue."""
        return self.values.shape[0] == 3 and not self.stacked


def box_around(valid: "torch.Tensor") -> tuple[int, int, int, int] | None:
    """The smallest box (top, left, bottom, right, half open) around what is True in a mask (H, W).

    Returns:
        None where that is all of the mask, or where nothing is True.
    """
    mask = valid.numpy()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return None if box == (0, 0, *valid.shape) else box
