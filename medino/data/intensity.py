"""From physical units to [0, 1] in three channels: which window, and how grey becomes three channels."""

from dataclasses import dataclass
from typing import Literal

import torch

from medino.core import InputError, to_device
from medino.data.pixels import Pixels, Window
from medino.data.windows import (
    GREY_CHANNELS,
    PERCENTILES,
    WINDOW_PRESETS,
    ct_body_part,
    percentile_window,
    valid_values,
)

CHANNELS = ("repeat", "windows", "neighbours")
_FEW = 256
_NAMES = ("auto", "file", "full", *PERCENTILES, *WINDOW_PRESETS)
# One bit and eight bits: what was made for display already.
_DISPLAY_RANGES = ((0.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True)
class Intensity:
    """How pixels in physical units become the three channels in [0, 1] that a backbone takes.

    Colour passes by its full range, whatever the window: it has no physical unit.

    Attributes:
        window: for grey images. `auto`: full range for 8-bit images other than CT (they were made for display); else
            the file's own first window (a VOI LUT before a centre and width), which was made for this image by who knew
            its reconstruction; else for CT the preset of the body part; else the 0.5 and 99.5 percentiles. `file`: the
            file's own first window, as `auto` where it has none. `full`: the range of the stored bits. A name in
            `PERCENTILES` or `WINDOW_PRESETS` (`medino.data.windows`).
        channels: how grey becomes three channels. `repeat`: copies. `windows`: three windows of the one image.
            `neighbours`: the slices before and after (put there by `PixelDataset`), all in the same window; copies
            where there are none.
        windows: the three names for `channels="windows"`; None: for CT those of the body part (`CT_BODY_PARTS`),
            `GREY_CHANNELS` for others.

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
        names = self.windows or _channels(pixels)
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
    """Values in physical units to [0, 1], by the window's curve; without width a step: 0 up to the centre, 1 above."""
    if window.width <= 0:
        return (values > window.center).to(values.dtype)
    if window.shape == "sigmoid":
        return torch.sigmoid(4 * (values - window.center) / window.width)
    places = ((values - window.low) / window.width).clamp(0, 1)
    return _looked_up(places, window.table) if window.shape == "table" else places


def _looked_up(places: torch.Tensor, table: tuple[float, ...]) -> torch.Tensor:
    """Entries of a table at places in [0, 1], linear between two."""
    entries = to_device(torch.tensor(table, dtype=places.dtype), places.device)
    scaled = places * (len(table) - 1)
    below = scaled.long().clamp_(max=len(table) - 2)
    return torch.lerp(entries[below], entries[below + 1], scaled - below)


def _named(name: str, pixels: Pixels) -> Window:
    if name in WINDOW_PRESETS:
        return WINDOW_PRESETS[name].window
    if name in PERCENTILES:
        return percentile_window(pixels, *PERCENTILES[name])
    if name == "full":
        return Window.between(*pixels.full_range)
    return _automatic(pixels, file_first=name == "file")


def _channels(pixels: Pixels) -> tuple[str, str, str]:
    return ct_body_part(pixels.body_part).channels if pixels.modality == "CT" else GREY_CHANNELS


def _automatic(pixels: Pixels, file_first: bool) -> Window:
    own = next((window for window in pixels.windows if _shows_something(window, pixels)), None)
    if own is not None and file_first:
        return own
    if pixels.full_range in _DISPLAY_RANGES and pixels.modality != "CT":
        return Window.between(*pixels.full_range)
    if own is not None:
        return own
    if pixels.modality == "CT":
        return WINDOW_PRESETS[ct_body_part(pixels.body_part).window].window
    return percentile_window(pixels, *PERCENTILES["percentile"])


def _shows_something(window: Window, pixels: Pixels) -> bool:
    """False for a window beside all values: some files carry another image's, and all would be one grey."""
    values = valid_values(pixels).numpy()
    # A few values mostly tell, and one that is shown settles it.
    some = values[:: len(values) // _FEW | 1]
    if bool(((window.low < some) & (some < window.high)).any()):
        return True
    return bool(window.low < values.max()) and bool(window.high > values.min())
