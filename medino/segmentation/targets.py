"""What a head learns to answer, out of a row's mask file: one class a pixel, or any number of overlapping ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from medino.core import InputError
from medino.data import PixelDataset
from medino.features import EvaluationTransform

Target = Callable[[PixelDataset, int, EvaluationTransform], torch.Tensor]
"""From the manifest's pixels, a row and the transform to what is learned there, (S, S) on the transform's grid."""

MOST_OVERLAPPING = 16
"""The bits of a pixel in a PNG file, which predicted masks are written to."""


@dataclass(frozen=True)
class ClassTarget:
    """Classes by the values of mask files.

    A class is one value or a set of values. Overlapping classes share values, as the regions of nnU-Net do (Isensee et
    al. 2020, 2011.00848): where 1 is core and 2 is oedema, the whole tumour is {1, 2}.

    Args:
        class_values: value or values of each class, the background first.
        overlapping: whether a pixel may be of several classes.

    Raises:
        InputError: fewer than two classes, a class without a value, or values shared by classes that may not.
    """

    class_values: Mapping[str, int | Sequence[int]]
    overlapping: bool = False

    def __post_init__(self) -> None:
        given, values = f"class_values is {dict(self.class_values)}", self.values
        if len(values) < 2 or not all(values):
            raise InputError(f"{given}; give the background and at least one class, each with a value")
        classes = values if not self.overlapping else [values[0], tuple({v for each in values[1:] for v in each})]
        if len({value for each in classes for value in each}) < sum(map(len, classes)):
            rule = "share no value with the background" if self.overlapping else "have each a value of its own"
            way = "" if self.overlapping else ", or set overlapping in model and data"
            raise InputError(f"{given}; classes must {rule}{way}")
        if len(set(map(frozenset, values))) < len(values):
            raise InputError(f"{given}; two classes of the same values are one class")
        if self.overlapping and len(values) - 1 > MOST_OVERLAPPING:
            raise InputError(f"{len(values) - 1} overlapping classes are too many; give at most {MOST_OVERLAPPING}")

    @property
    def values(self) -> list[tuple[int, ...]]:
        """The values of each class."""
        return [(each,) if isinstance(each, int) else tuple(each) for each in self.class_values.values()]

    def __call__(self, pixels: PixelDataset, row: int, transform: EvaluationTransform) -> torch.Tensor:
        """The mask of a row, (S, S) int64: indices of classes, or for overlapping ones bits (see `bits_of`).

        Raises:
            InputError: the mask has another size than its image, or holds a value of no class.
            UnreadableImageError: the mask can't be decoded.
        """
        return transform.place_mask(self.encoded(pixels.mask(row), pixels.manifest.sample(row).sample_id))

    def encoded(self, mask: torch.Tensor, sample_id: str) -> torch.Tensor:
        """Values in a mask file to indices or bits, both (H, W) int64.

        Raises:
            InputError: the mask holds a value of no class.
        """
        encoded, known = torch.zeros_like(mask), torch.zeros_like(mask, dtype=torch.bool)
        for index, values in enumerate(self.values):
            of_class = torch.isin(mask, torch.tensor(values))
            known |= of_class
            if index:
                encoded += of_class * (1 << (index - 1) if self.overlapping else index)
        unknown = mask[~known].unique().tolist()
        if unknown:
            raise InputError(
                f"the mask of sample {sample_id} holds the values {', '.join(map(str, unknown[:10]))}, class_values "
                f"has {', '.join(f'{name}: {value}' for name, value in self.class_values.items())}; "
                "name these values as well"
            )
        return encoded

    def decoded(self, encoded: torch.Tensor) -> torch.Tensor:
        """What to write into a mask file: the (first) value of each class; bits of overlapping ones as they are."""
        return encoded if self.overlapping else torch.tensor([values[0] for values in self.values])[encoded]


def bits_of(classes: torch.Tensor) -> torch.Tensor:
    """Overlapping classes but the background (..., C, H, W), boolean, as (..., H, W) int64: bit c is class c + 1."""
    bits = 1 << torch.arange(classes.shape[-3], device=classes.device)
    return (classes * bits[:, None, None]).sum(dim=-3)


def classes_of(bits: torch.Tensor, count: int) -> torch.Tensor:
    """The inverse of `bits_of` for `count` classes."""
    return (bits[..., None, :, :] >> torch.arange(count, device=bits.device)[:, None, None] & 1).bool()
