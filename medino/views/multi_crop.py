"""Multi-crop: two global and n local views of each image, ready for the backbone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from medino.core import InputError, UnreadableImageError
from medino.data import Pixels, Window
from medino.data.intensity import Intensity
from medino.views import resample
from medino.views.blur import SMALLEST_BLURRED_SIDE
from medino.views.changes import Change, change_views, lay_views
from medino.views.geometry import Crop, draw_crop
from medino.views.grey import look_through
from medino.views.kinds import BLUR_PROBABILITIES, KINDS, Kind, Place
from medino.views.resample import interleaved, resize_colour, resize_colours, resize_crops
from medino.views.tone import change_one_by_one

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and deviation of red, green and blue in [0, 1] that DINOv2's released weights expect."""

SMALLEST_SIDE = 2
"""An image needs at least this many pixels on each side: one row of pixels has no shape to learn from."""

COLOUR_RANGE = (0.0, 255.0)
"""Full range of colours of 8 bits, which are resized as such."""

LARGE_BLOCK = 31 << 20
"""Bytes of `_keep_memory`."""


@dataclass(frozen=True)
class Views:
    """The crops of b images, normalised. They lie crop-major: all first crops, then all second ones.

    Attributes:
        global_crops: (2 * b, 3, G, G) float32.
        local_crops: (n * b, 3, L, L) float32.
    """

    global_crops: torch.Tensor
    local_crops: torch.Tensor


class ViewDraws(NamedTuple):
    """All that is drawn for the views of one image, global crops first.

    Attributes:
        crops: where each view is taken.
        windows: through which windows it is looked at; none for colours of 8 bits.
        changes: what is done to it.
        inverted: whether low values of the image are to be shown bright.
    """

    crops: tuple[Crop, ...]
    windows: tuple[tuple[Window, ...], ...]
    changes: tuple[Change, ...]
    inverted: bool


class MultiCrop:
    """Makes the views of images: crop and resize in physical units, window, change by kind, normalise.

    What is random is drawn by `draw`, and `make` does it, for one image or many, where their pixels lie: in a loader's
    worker or on the GPU. Colours of 8 bits are resized as such (within a grey level or two of a resize in floats, which
    takes ten times longer), all others as floats.

    Args:
        kind: "natural" (DINOv2's recipe), "radiology" or "histology"; see `medino.views.kinds`.
        global_size: side of the two global crops, in pixels.
        local_size: side of the local crops, in pixels (recipe: 96 for patch 16, 98 for patch 14).
        num_local_crops: how many local crops.
        global_scale: lowest and highest share of the image's area in a global crop.
        local_scale: lowest and highest share of the image's area in a local crop.
        blur: "published" or "reference": how often each crop is blurred (the paper's numbers, or what its code did).
        horizontal_flip: flip half of the crops; None is the kind's own default (radiology: no, the others: yes).
        intensity: how physical units become three channels in [0, 1].
        mean: of the three channels in [0, 1], subtracted.
        std: deviation of the three channels, divided by.

    Raises:
        InputError: a setting has no meaning (unknown kind or blur, scale out of order, crops too small).
    """

    def __init__(
        self,
        kind: str = "natural",
        global_size: int = 224,
        local_size: int = 98,
        num_local_crops: int = 8,
        global_scale: tuple[float, float] = (0.32, 1.0),
        local_scale: tuple[float, float] = (0.05, 0.32),
        blur: str = "published",
        horizontal_flip: bool | None = None,
        intensity: Intensity | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"kind is {kind!r}; choose one of {', '.join(KINDS)}")
        if blur not in BLUR_PROBABILITIES:
            raise InputError(f"blur is {blur!r}; choose one of {', '.join(BLUR_PROBABILITIES)}")
        for name, scale in (("global_scale", global_scale), ("local_scale", local_scale)):
            if not 0 < scale[0] <= scale[1] <= 1:
                raise InputError(f"{name} is [{scale[0]}, {scale[1]}]; give a lower and an upper share within 0 and 1")
        if min(global_size, local_size) < SMALLEST_BLURRED_SIDE:
            raise InputError(
                f"crops of {global_size} and {local_size} px are too small; give at least {SMALLEST_BLURRED_SIDE} px"
            )
        if num_local_crops < 0:
            raise InputError(f"num_local_crops is {num_local_crops}; give 0 or more")
        if min(std) <= 0:
            raise InputError(f"std is {list(std)}; give three numbers above 0")
        flip = KINDS[kind].default_flip if horizontal_flip is None else horizontal_flip
        self.kind: Kind = KINDS[kind](global_size, blur, flip)
        self.intensity = intensity or Intensity()
        self.places = ((Place.FIRST_GLOBAL, global_scale), (Place.SECOND_GLOBAL, global_scale)) + (
            (Place.LOCAL, local_scale),
        ) * num_local_crops
        self.global_size = global_size
        self.local_size = local_size
        # (x - mean) / std as a product and a sum, which is one pass over the pixels.
        self.factors = tuple(1 / deviation for deviation in std)
        self.offsets = tuple(-middle / deviation for middle, deviation in zip(mean, std, strict=True))

    def __call__(self, pixels: Pixels, generator: np.random.Generator) -> Views:
        """Make the views of one image; crops are taken inside its valid box and enlarged where it is small.

        They are tensors of PyTorch's inference mode: stack or copy them, as batches do, before they are trained on.

        Args:
            pixels: the image, in physical units.
            generator: where all randomness comes from.

        Raises:
            UnreadableImageError: the image, or its valid box, is thinner than two pixels.
        """
        draws = self.draw(pixels, generator)
        with torch.inference_mode():
            return self.make([source_of(pixels)], [draws])

    def draw(self, pixels: Pixels, generator: np.random.Generator) -> ViewDraws:
        """Draw the views of one image.

        Args:
            pixels: the image, in physical units.
            generator: where all randomness comes from.

        Raises:
            UnreadableImageError: the image, or its valid box, is thinner than two pixels.
        """
        top, left, bottom, right = _valid_box(pixels)
        height, width = bottom - top, right - left
        if min(height, width) < SMALLEST_SIDE:
            raise UnreadableImageError(
                f"the image's valid part is {height} x {width} px, too small to take views from; leave it out"
            )
        chosen = self.intensity.choose(pixels)
        crops, windows, changes = [], [], []
        for place, scale in self.places:
            crops.append(draw_crop(height, width, scale, generator))
            windows.append(() if _is_of_8_bits(pixels) else self.kind.windows(chosen, generator))
            changes.append(self.kind.draw(place, generator))
        return ViewDraws(tuple(crops), tuple(windows), tuple(changes), pixels.inverted)

    @torch.no_grad()
    def make(self, sources: Sequence[torch.Tensor], draws: Sequence[ViewDraws]) -> Views:
        """Make the views that were drawn, on the device where the images are.

        Args:
            sources: b images as `source_of` gives them.
            draws: what was drawn for each.
        """
        _keep_memory()
        global_crops = self._views(sources, draws, slice(0, 2), self.global_size)
        return Views(global_crops, self._views(sources, draws, slice(2, None), self.local_size))

    def _views(
        self, sources: Sequence[torch.Tensor], draws: Sequence[ViewDraws], some: slice, size: int
    ) -> torch.Tensor:
        """Some views of each image, (n * b, 3, size, size)."""
        count, device = len(self.places[some]), sources[0].device
        if not count:
            return torch.empty(0, 3, size, size, device=device)
        if resample.one_by_one(device):
            # A tenth faster, as these are many calls for few numbers.
            with torch.inference_mode():
                each = [
                    self._one_by_one(source, drawn, some, size) for source, drawn in zip(sources, draws, strict=True)
                ]
            if len(each) == 1 and torch.is_inference_mode_enabled():
                # Without a copy: new memory costs as much as an operation.
                return each[0]
            # Outside of that mode again: what is made in it can't be trained on.
            return torch.stack(each, dim=1).flatten(0, 1)
        views = torch.empty(count, len(sources), 3, size, size, device=device)
        for places in _groups(sources):
            changed = self._changed([sources[i] for i in places], [draws[i] for i in places], some, size)
            views[:, places] = self._normalised(changed)
        return views.flatten(0, 1)

    def _one_by_one(self, source: torch.Tensor, draws: ViewDraws, some: slice, size: int) -> torch.Tensor:
        """Some views of one image on a CPU, (n, 3, size, size)."""
        views: Iterable[torch.Tensor]
        if source.dtype == torch.uint8:
            views, scale = [resize_colour(source, crop, size) for crop in draws.crops[some]], 1 / 255
        else:
            views, scale = self._shown(source, draws, some, size), 1.0
        return change_one_by_one(views, draws.changes[some], size, scale, self.factors, self.offsets)

    def _changed(
        self, sources: Sequence[torch.Tensor], draws: Sequence[ViewDraws], some: slice, size: int
    ) -> torch.Tensor:
        """Some views of k images with as many channels each: (n, k, 1 or 3, size, size) in [0, 1]."""
        shown = [
            lay_views(self._shown(source, drawn, some, size), drawn.changes[some])
            for source, drawn in zip(sources, draws, strict=True)
        ]
        # Through a window that is no straight line, a grey image comes out in three channels.
        channels = max(each.shape[1] for each in shown)
        views = torch.stack([each.expand(-1, channels, -1, -1) for each in shown], dim=1)
        changes = [change for crop in zip(*(drawn.changes[some] for drawn in draws), strict=True) for change in crop]
        return change_views(views.flatten(0, 1), changes).unflatten(0, views.shape[:2])

    def _shown(self, source: torch.Tensor, draws: ViewDraws, some: slice, size: int) -> torch.Tensor:
        """Some views of an image, resized and windowed: (n, 1 or 3, size, size) in [0, 1]."""
        crops = draws.crops[some]
        if source.dtype == torch.uint8:
            return resize_colours(source, crops, size).float().mul_(1 / 255)
        resized = resize_crops(source.float(), crops, size)
        return look_through(resized, draws.windows[some], [draws.inverted] * len(crops), self.intensity)

    def _normalised(self, views: torch.Tensor) -> torch.Tensor:
        """Views (n, k, 1 or 3, S, S) less the mean and divided by the deviation, (n, k, 3, S, S)."""
        shape = (*views.shape[:2], 3, *views.shape[3:])
        factors, offsets = (_of_channels(numbers, views.device) for numbers in (self.factors, self.offsets))
        return torch.addcmul(offsets, views.expand(shape), factors)


def source_of(pixels: Pixels) -> torch.Tensor:
    """What the views of an image are made from: its valid box.

    Returns:
        (H, W, 3) uint8 (`interleaved`) for colours of 8 bits; (C, H, W) as it is for others.
    """
    top, left, bottom, right = _valid_box(pixels)
    values = pixels.values[:, top:bottom, left:right]
    return interleaved(values) if _is_of_8_bits(pixels) else values


def _valid_box(pixels: Pixels) -> tuple[int, int, int, int]:
    return pixels.box or (0, 0, *pixels.values.shape[-2:])


def _is_of_8_bits(pixels: Pixels) -> bool:
    return pixels.colour and pixels.full_range == COLOUR_RANGE


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Have the C library keep the memory of views that are done for the next ones.

    The GNU library gives freed memory back once twice as much lies idle as the largest block that it has taken and
    freed so far, up to 32 MB, and takes it again for the next image: 400 page faults an image, a sixth of the time. One
    larger block, never written to, raises that limit. Other libraries lose nothing by it.
    """
    torch.empty(LARGE_BLOCK, dtype=torch.uint8)


@lru_cache(maxsize=8)
def _of_channels(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """A number for each channel, (3, 1, 1), on a device, where it stays: each copy to a GPU costs time."""
    return torch.tensor(numbers, device=device)[:, None, None]


def _groups(sources: Sequence[torch.Tensor]) -> list[list[int]]:
    """The places of the images whose views are made together.

    Those of all images that have as many channels, since until the end grey images have one.
    """
    channels = [3 if source.dtype == torch.uint8 else source.shape[0] for source in sources]
    return [[place for place, each in enumerate(channels) if each == number] for number in sorted(set(channels))]
