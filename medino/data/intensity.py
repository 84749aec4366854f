"""From physical units to [0, 1] in three channels: which window, and how grey becomes three channels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from medino.core import InputError
from medino.data.pixels import Pixels, Window


@dataclass(frozen=True)
class NamedWindow:
    """A window and what is known of where its numbers come from."""

    window: Window
    source: str


_COMMON = "a common display setting; viewers differ by some 100 HU"

WINDOW_PRESETS: dict[str, NamedWindow] = {
    "lung": NamedWindow(Window(-600, 1500), _COMMON),
    "mediastinum": NamedWindow(Window(50, 350), _COMMON),
    "soft_tissue": NamedWindow(Window(40, 400), _COMMON),
    "liver": NamedWindow(Window(60, 160), "a common display setting, narrow"),
    "bone": NamedWindow(Window(400, 1800), _COMMON),
    "brain": NamedWindow(Window(40, 80), "a common display setting, narrow"),
    "subdural": NamedWindow(Window(75, 215), "the middle of the settings in use, which differ by some 100 HU"),
}
"""CT windows by name, centre and width in Hounsfield units. None has an official value."""

CT_CHANNELS = ("lung", "soft_tissue", "bone")
"""What `channels="windows"` shows of a CT: air, tissue and bone each at their own contrast."""

PERCENTILES = {"percentile": (0.5, 99.5), "dark": (0.5, 70.0), "bright": (30.0, 99.5)}
"""Windows by the percentiles of an image's own values that become 0 and 1. The tails of 0.5 % are what nnU-Net clips at
(Isensee et al. 2021, CT normalisation); `dark` and `bright` spread the lower and the upper part of the values."""

GREY_CHANNELS = ("percentile", "dark", "bright")
"""What `channels="windows"` shows of other grey images, for which no physical unit fixes a window."""

CHANNELS = ("repeat", "windows", "neighbours")
_NAMES = ("auto", "file", "full", *PERCENTILES, *WINDOW_PRESETS)
_SEEN = 2**18
# One bit and eight bits: what was made for display already.
_DISPLAY_RANGES = ((0.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True)
class Intensity:
    """How pixels in physical units become the three channels in [0, 1] that a backbone takes.

    Colour passes by its full range, whatever the window: it has no physical unit.

    Attributes:
        window: for grey images. `auto`: full range for 8-bit images other than CT (they were made for display); else
            the file's own first window; else soft tissue for CT; else the 0.5 and 99.5 percentiles. `file`: the file's
            own first window, as `auto` where it has none. `full`: the range of the stored bits. A name in
            `PERCENTILES` or `WINDOW_PRESETS`.
        channels: how grey becomes three channels. `repeat`: copies. `windows`: three windows of the one image.
            `neighbours`: the slices before and after (put there by `PixelDataset`), all in the same window; copies
            where there are none.
        windows: the three names for `channels="windows"`; None: `CT_CHANNELS` for CT, `GREY_CHANNELS` for others.

    Raises:
        InputError: a name is not known, or `windows` has not three of them.
    """

    window: str = "auto"
    channels: Literal["repeat", "windows", "neighbours"] = "repeat"
    windows: tuple[str, str, str] | None = None

    def __post_init__(self) -> None:
        if self.channels not in CHANNELS:
            raise InputError(f"intensity.channels is {self.channels!r}; choose one of {', '.join(CHANNELS)}")
        if self.windows is not None:
            # Out of JSON and YAML comes a list.
            object.__setattr__(self, "windows", tuple(self.windows))
            if len(self.windows) != 3:
                raise InputError(f"intensity.windows has {len(self.windows)} names; give three, one for each channel")
        for name in (self.window, *(self.windows or ())):
            if name not in _NAMES:
                raise InputError(f"intensity knows no window {name!r}; choose one of {', '.join(_NAMES)}")

    def choose(self, pixels: Pixels) -> tuple[Window, ...]:
        """The windows for an image: one for all channels, or three, in physical units.

        Training jitters them before `apply`; evaluation takes them as they are.
        """
        if pixels.colour:
            return (Window.between(*pixels.full_range),)
        if self.channels != "windows":
            return (_named(self.window, pixels),)
        names = self.windows or (CT_CHANNELS if pixels.modality == "CT" else GREY_CHANNELS)
        return tuple(_named(name, pixels) for name in names)

    def apply(self, pixels: Pixels, windows: tuple[Window, ...] | None = None) -> torch.Tensor:
        """Window an image.

        Args:
            pixels: the image, (1 or 3, H, W).
            windows: one or three windows; those of `choose` where None.

        Returns:
            (3, H, W) float32 in [0, 1]; low values are bright where the file says so (MONOCHROME1).
        """
        windows = self.choose(pixels) if windows is None else windows
        shown = [apply_window(pixels.values, window) for window in windows]
        # Three windows show the image itself, which is the middle one of three slices.
        image = shown[0].expand(3, -1, -1) if len(shown) == 1 else torch.stack([each[len(each) // 2] for each in shown])
        return (1 - image if pixels.inverted else image).contiguous()


def apply_window(values: torch.Tensor, window: Window) -> torch.Tensor:
    """`(values - low) / width` cut to [0, 1]; without width a step: 0 up to the centre, 1 above."""
    if window.width <= 0:
        return (values > window.center).to(values.dtype)
    return ((values - window.low) / window.width).clamp(0, 1)


def percentile_window(pixels: Pixels, low: float, high: float) -> Window:
    """The window between two percentiles of the valid values of an image.

    Values equal to the smallest are left out: they are the air around a patient or the padding around a scan, and in
    most MR they are so many that any low percentile would fall on them. Where the rest is one value, as in a mask, the
    window begins at the smallest; a constant image gets a window without width.
    """
    values = valid_values(pixels)
    # Every n-th value of a large image is enough for a percentile, and sorting all takes longer than decoding them.
    seen = values[:: max(1, values.numel() // _SEEN)].numpy()
    smallest = float(seen.min())
    foreground = seen[seen > smallest]
    if len(foreground) == 0:
        return Window(smallest, 0.0)
    start, end = (float(value) for value in np.percentile(foreground, (low, high)))
    return Window.between(start if end > start else smallest, end)


def valid_values(pixels: Pixels) -> torch.Tensor:
    """The values inside the validity box, flat."""
    top, left, bottom, right = pixels.box or (0, 0, *pixels.values.shape[-2:])
    return pixels.values[:, top:bottom, left:right].flatten()


def _named(name: str, pixels: Pixels) -> Window:
    if name in WINDOW_PRESETS:
        return WINDOW_PRESETS[name].window
    if name in PERCENTILES:
        return percentile_window(pixels, *PERCENTILES[name])
    if name == "full":
        return Window.between(*pixels.full_range)
    return _automatic(pixels, file_first=name == "file")


def _automatic(pixels: Pixels, file_first: bool) -> Window:
    own = next((window for window in pixels.windows if _shows_something(window, pixels)), None)
    if own is not None and file_first:
        return own
    if pixels.full_range in _DISPLAY_RANGES and pixels.modality != "CT":
        return Window.between(*pixels.full_range)
    if own is not None:
        return own
    if pixels.modality == "CT":
        return WINDOW_PRESETS["soft_tissue"].window
    return percentile_window(pixels, *PERCENTILES["percentile"])


def _shows_something(window: Window, pixels: Pixels) -> bool:
    """False for a window beside all values: some files carry another image's, and all would be one grey."""
    values = valid_values(pixels)
    return bool(window.low < values.max()) and bool(window.high > values.min())
