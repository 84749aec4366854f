"""The evaluation transform: how an image becomes what a frozen backbone sees; part of the features' identity."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F

from medino.core import InputError
from medino.data import Intensity, Pixels
from medino.models import BackboneConfig
from medino.views import IMAGENET_MEAN, IMAGENET_STD, Crop, central_crop, resize_crop

LARGEST_DEFAULT_SIZE = 224
"""DINOv2's own size for evaluating features, pixels."""


@dataclass(frozen=True)
class EvaluationTransform:
    """Resize in physical units, window, normalise; no randomness.

    The whole image is shown, padding that a scanner put around it included: a mask then lies on it by the same
    geometry without knowing the image.

    Args:
        size: side of the square result, pixels.
        fit: "crop": the shorter side becomes `size` and the centre is kept; "pad": the longer side becomes `size` and
            black is put around.
        intensity: how physical units become three channels in [0, 1].
        mean: of the three channels, subtracted; the backbone's own.
        std: what they are divided by.

    Raises:
        InputError: a setting has no meaning.
    """

    size: int = LARGEST_DEFAULT_SIZE
    fit: Literal["crop", "pad"] = "crop"
    intensity: Intensity = field(default_factory=Intensity)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"the evaluation transform's size is {self.size}; give a number of pixels")
        if self.fit not in ("crop", "pad"):
            raise InputError(f"the evaluation transform's fit is {self.fit!r}; choose crop or pad")
        for name in ("mean", "std"):
            # Out of JSON and YAML comes a list.
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            if len(getattr(self, name)) != 3:
                raise InputError(f"the evaluation transform's {name} has not three numbers, one for each channel")
        if min(self.std) <= 0:
            raise InputError(f"the evaluation transform's std is {self.std}; give numbers above 0")

    @classmethod
    def for_backbone(cls, config: BackboneConfig, **changes: Any) -> "EvaluationTransform":
        """The transform for a backbone: its mean and std, at most 224 pixels and a multiple of its patch.

        Args:
            config: the backbone's settings.
            changes: arguments to use instead; None leaves the default.
        """
        side = min(LARGEST_DEFAULT_SIZE, config.image_size)
        settings = {"size": side // config.patch_size * config.patch_size, "mean": config.mean, "std": config.std}
        return cls(**{**settings, **{name: value for name, value in changes.items() if value is not None}})

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """An image (3, size, size) float32, normalised."""
        windows = self.intensity.choose(pixels)
        values = self._resize(pixels.values.float(), "bicubic")
        resized = dataclasses.replace(pixels, values=values, box=None, valid=None)
        image = self._pad(self.intensity.apply(resized, windows))
        return (image - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def place_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Put a mask (H, W) of integers where its image is put: (size, size), nearest neighbour, 0 in the padding."""
        # float64 holds every label up to 2^53.
        resized = self._resize(mask[None].double(), "nearest-exact").to(mask.dtype)
        return self._pad(resized)[0]

    def place_back(self, values: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Put values of the result's pixels back on the image, bilinear: (C, size, size) to (C, height, width).

        What the transform left out of the image is 0.
        """
        source, (down, right) = self._source(height, width), self._target(height, width)
        top, left = (self.size - down) // 2, (self.size - right) // 2
        shown = values[:, top : top + down, left : left + right]
        back = F.interpolate(
            shown[None], size=(source.height, source.width), mode="bilinear", align_corners=False, antialias=True
        )[0]
        placed = values.new_zeros(len(values), height, width)
        placed[:, source.top : source.top + source.height, source.left : source.left + source.width] = back
        return placed

    def spacing(self, pixels: Pixels) -> tuple[float, float] | None:
        """Distance between rows and between columns of the result, mm, where the image's is known."""
        if pixels.spacing is None:
            return None
        height, width = pixels.values.shape[-2:]
        source, target = self._source(height, width), self._target(height, width)
        return (
            pixels.spacing[0] * source.height / target[0],
            pixels.spacing[1] * source.width / target[1],
        )

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, JSON-plain."""
        return dataclasses.asdict(self)

    @property
    def fingerprint(self) -> str:
        """BLAKE2b-128 of the settings, as 32 hexadecimal digits."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _source(self, height: int, width: int) -> Crop:
        """The part of an image that is shown."""
        if self.fit == "crop":
            return central_crop(height, width, aspect_ratios=(1.0, 1.0))
        return Crop(0, 0, height, width)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that this part gets, pixels."""
        if self.fit == "crop":
            return self.size, self.size
        longer = max(height, width)
        return max(1, round(self.size * height / longer)), max(1, round(self.size * width / longer))

    def _resize(self, image: torch.Tensor, mode: str) -> torch.Tensor:
        """(C, H, W) to (C, h, w): the part that is shown, at its new size."""
        source, target = self._source(*image.shape[-2:]), self._target(*image.shape[-2:])
        if mode == "bicubic" and target == (self.size, self.size):
            return resize_crop(image, source, self.size)
        part = image[None, :, source.top : source.top + source.height, source.left : source.left + source.width]
        if mode == "bicubic":
            return F.interpolate(part, size=target, mode=mode, align_corners=False, antialias=True)[0]
        return F.interpolate(part, size=target, mode=mode)[0]

    def _pad(self, image: torch.Tensor) -> torch.Tensor:
        """(C, h, w) with zeros around it to (C, size, size)."""
        down, right = self.size - image.shape[-2], self.size - image.shape[-1]
        return F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))
