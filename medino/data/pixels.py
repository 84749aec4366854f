"""Pixels as they pass from the readers to the views: values in physical units, with what is known of them."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Window:
    """A linear grey window: `center - width/2` maps to 0 and `center + width/2` to 1 (physical units)."""

    center: float
    width: float

    @property
    def low(self) -> float:
        """The value that becomes 0."""
        return self.center - self.width / 2

    @property
    def high(self) -> float:
        """The value that becomes 1."""
        return self.center + self.width / 2

    @classmethod
    def between(cls, low: float, high: float) -> "Window":
        """The window that maps `low` to 0 and `high` to 1."""
        return cls((low + high) / 2, high - low)


@dataclass(frozen=True)
class Pixels:
    """One image, slice or frame, decoded.

    Attributes:
        values: (C, H, W) float32 in physical units: HU for CT, stored units after the modality transformation
            elsewhere, code values for colour. C is 1 or 3. MONOCHROME1 is not inverted here: see `inverted`.
        full_range: lowest and highest value that the stored bits can express, in the units of `values`.
        spacing: distance between rows and between columns, mm; None where the format does not say.
        box: top, left, bottom, right of the valid part, in pixels, half open; None where all of the image is valid.
        windows: the file's own windows, first one preferred.
        inverted: True where low values are to be shown bright (MONOCHROME1).
        modality: DICOM modality, where known.
        stacked: True where the three channels are adjacent slices of one grey volume, not colours.
    """

    values: torch.Tensor
    full_range: tuple[float, float]
    spacing: tuple[float, float] | None = None
    box: tuple[int, int, int, int] | None = None
    windows: tuple[Window, ...] = ()
    inverted: bool = False
    modality: str | None = None
    stacked: bool = False

    @property
    def colour(self) -> bool:
        """True where the three channels are red, green and blue."""
        return self.values.shape[0] == 3 and not self.stacked
