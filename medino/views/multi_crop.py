"""Multi-crop: two global and n local views of one image, ready for the backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from medino.core import InputError, UnreadableImageError
from medino.data import Pixels, Window
from medino.data.intensity import Intensity
from medino.views.blur import SMALLEST_BLURRED_SIDE
from medino.views.geometry import Crop, draw_crop, resize_crop
from medino.views.kinds import BLUR_PROBABILITIES, KINDS, Kind, Place

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and deviation of red, green and blue in [0, 1] that DINOv2's released weights expect."""

SMALLEST_SIDE = 2
"""An image needs at least this many pixels on each side: one row of pixels has no shape to learn from."""


@dataclass(frozen=True)
class Views:
    """The crops of one image, normalised.

    Attributes:
        global_crops: (2, 3, G, G) float32.
        local_crops: (n, 3, L, L) float32.
    """

    global_crops: torch.Tensor
    local_crops: torch.Tensor


class MultiCrop:
    """Makes the views of an image: crop and resize in physical units, window, change by kind, normalise.

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
        places = (Place.FIRST_GLOBAL, Place.SECOND_GLOBAL)
        self.global_crops = tuple((place, global_size, global_scale) for place in places)
        self.local_crops = ((Place.LOCAL, local_size, local_scale),) * num_local_crops
        self.local_size = local_size
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]

    def __call__(self, pixels: Pixels, generator: np.random.Generator) -> Views:
        """Make the views of one image; crops are taken inside its valid box and enlarged where it is small.

        Args:
            pixels: the image, in physical units.
            generator: where all randomness comes from.

        Raises:
            UnreadableImageError: the image, or its valid box, is thinner than two pixels.
        """
        top, left, bottom, right = pixels.box or (0, 0, *pixels.values.shape[-2:])
        if min(bottom - top, right - left) < SMALLEST_SIDE:
            raise UnreadableImageError(
                f"the image's valid part is {bottom - top} x {right - left} px, too small to take views from; "
                "leave it out"
            )
        windows = self.intensity.choose(pixels)
        inside = replace(pixels, values=pixels.values[:, top:bottom, left:right], box=None, valid=None)

        def views_of(crops: Sequence[tuple[Place, int, tuple[float, float]]]) -> list[torch.Tensor]:
            return [self._view(inside, windows, place, size, scale, generator) for place, size, scale in crops]

        global_crops = torch.stack(views_of(self.global_crops))
        local_crops = views_of(self.local_crops)
        stacked = torch.stack(local_crops) if local_crops else torch.empty(0, 3, self.local_size, self.local_size)
        return Views(self._normalise(global_crops), self._normalise(stacked))

    def _view(
        self,
        pixels: Pixels,
        windows: Sequence[Window],
        place: Place,
        size: int,
        scale: tuple[float, float],
        generator: np.random.Generator,
    ) -> torch.Tensor:
        """Make one view (3, size, size) in [0, 1]."""
        crop: Crop = draw_crop(pixels.values.shape[-2], pixels.values.shape[-1], scale, generator)
        resized = replace(pixels, values=resize_crop(pixels.values, crop, size))
        image = self.intensity.apply(resized, self.kind.windows(windows, generator))
        return self.kind(image, place, generator)

    def _normalise(self, crops: torch.Tensor) -> torch.Tensor:
        """Subtract the mean and divide by the deviation, in place: `crops` is a fresh stack."""
        return crops.sub_(self.mean).div_(self.std)
