"""The images of a batch, each once, on their way to the device that cuts the views out of them."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from medino.views import MultiCrop, ViewDraws, Views

ALIGNMENT = 4
"""Each image begins at a multiple of this many bytes."""


@dataclass(frozen=True)
class Images:
    """Images of any sizes, one after the other in one tensor: a worker hands over one piece of memory, not one each.

    Attributes:
        data: (bytes,) uint8.
        kinds: of each image, the name of its dtype and its shape.
        draws: of each image, its views.
    """

    data: torch.Tensor
    kinds: list[tuple[str, tuple[int, ...]]]
    draws: list[ViewDraws]

    @classmethod
    def of(cls, sources: Sequence[torch.Tensor], draws: Sequence[ViewDraws]) -> "Images":
        """Put images together, each in as few bytes as hold it.

        Args:
            sources: images as `medino.views.source_of` gives them.
            draws: their views.
        """
        fewest = [_fewest_bytes(source) for source in sources]
        data = torch.zeros(sum(_room(source) for source in fewest), dtype=torch.uint8)
        start = 0
        for source in fewest:
            data[start : start + source.nbytes] = source.contiguous().flatten().view(torch.uint8)
            start += _room(source)
        kinds = [(str(source.dtype).removeprefix("torch."), tuple(source.shape)) for source in fewest]
        return cls(data, kinds, list(draws))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Images":
        """The images on another device."""
        return dataclasses.replace(self, data=self.data.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Images":
        """The images in page-locked memory."""
        return dataclasses.replace(self, data=self.data.pin_memory())

    def views(self, multi_crop: MultiCrop) -> Views:
        """The views that were drawn, made where the images are."""
        sources, start = [], 0
        for name, shape in self.kinds:
            dtype = getattr(torch, name)
            size = math.prod(shape) * dtype.itemsize
            sources.append(self.data[start : start + size].view(dtype).view(shape))
            start += -(-size // ALIGNMENT) * ALIGNMENT
        return multi_crop.make(sources, self.draws)


def _fewest_bytes(source: torch.Tensor) -> torch.Tensor:
    """Grey values that are whole numbers of 16 bits, as nearly all are, as such; others as they are."""
    if source.dtype != torch.float32:
        return source
    low, high = source.aminmax()
    if low < -(2**15) or high >= 2**15:
        return source
    whole = source.to(torch.int16)
    return whole if torch.equal(whole.float(), source) else source


def _room(source: torch.Tensor) -> int:
    return -(-source.nbytes // ALIGNMENT) * ALIGNMENT
