"""Images to masks on their own pixels: by a trained head, or by what stands out without any label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from medino.features import EvaluationTransform, MapMaker
from medino.segmentation.module import Segmentation
from medino.segmentation.propagation import likeliest, tokens_of
from medino.segmentation.targets import ClassTarget, bits_of, classes_of
from medino.segmentation.unsupervised import cut_scores, foreground_scores, numbered_objects

Size = tuple[int, int]
"""Height and width of an image as it was read, pixels."""

IMAGES_AT_ONCE = 16
"""Images that pass through the network together."""

CERTAIN = 0.5
"""The probability above which a pixel is of an overlapping class."""


class Masker(Protocol):
    """Makes masks of images that belong together: the slices of a volume, or one image."""

    @property
    def transform(self) -> EvaluationTransform:
        """What it is to be shown."""

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes but the background; none where it finds parts that have no names."""

    def __call__(self, images: Sequence[torch.Tensor], sizes: Sequence[Size]) -> list[torch.Tensor]:
        """Masks (H, W) int64 in the values of mask files, of images (3, S, S) and their sizes (H, W)."""

    def planes(self, mask: torch.Tensor) -> torch.Tensor:
        """(C, H, W) bool: each class of a mask but the background."""


@dataclass(frozen=True, eq=False)
class HeadMasker:
    """The masks of a trained head.

    Attributes:
        model: the module with its head.
        target: which values its classes have in mask files.
        transform: what it was trained on.
    """

    model: Segmentation
    target: ClassTarget
    transform: EvaluationTransform

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""
        return self.model.features.backbone.config.patch_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Masker`."""
        return tuple(self.model.class_names[1:])

    @torch.inference_mode()
    def __call__(self, images: Sequence[torch.Tensor], sizes: Sequence[Size]) -> list[torch.Tensor]:
        """See `Masker`; scores are put back on an image's pixels before the likeliest class is taken."""
        self.model.eval()
        masks = []
        for start in range(0, len(images), IMAGES_AT_ONCE):
            batch = torch.stack(list(images[start : start + IMAGES_AT_ONCE])).to(self.model.device)
            scores = self.model(batch).float().cpu()
            masks += [self._mask(*each) for each in zip(scores, sizes[start:], strict=False)]
        return masks

    def planes(self, mask: torch.Tensor) -> torch.Tensor:
        """See `Masker`."""
        if self.target.overlapping:
            return classes_of(mask, len(self.target.values) - 1)
        return torch.stack([mask == values[0] for values in self.target.values[1:]])

    def _mask(self, scores: torch.Tensor, size: Size) -> torch.Tensor:
        if self.target.overlapping:
            encoded = bits_of(self.transform.place_back(scores.sigmoid(), *size) > CERTAIN)
        else:
            encoded = likeliest(scores.softmax(dim=0), self.transform, *size)
        return self.target.decoded(encoded)


@dataclass(frozen=True, eq=False)
class ForegroundMasker:
    """1 where the first principal component of the patch tokens says foreground, 0 elsewhere.

    Attributes:
        maker: makes the tokens.
        transform: what it is shown.
    """

    maker: MapMaker
    transform: EvaluationTransform

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""
        return self.maker.patch_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Masker`."""
        return ("foreground",)

    def __call__(self, images: Sequence[torch.Tensor], sizes: Sequence[Size]) -> list[torch.Tensor]:
        """See `Masker`; the component is that of all the images together."""
        scores = foreground_scores(shown_tokens(images, sizes, self.maker, self.transform))
        placed = [scores_on_pixels(each, size, self) for each, size in zip(scores, sizes, strict=True)]
        return [(each > 0).long() for each in placed]

    def planes(self, mask: torch.Tensor) -> torch.Tensor:
        """See `Masker`."""
        return (mask > 0)[None]


@dataclass(frozen=True, eq=False)
class CutMasker:
    """The connected parts of each image's foreground by a normalised cut, numbered from the largest.

    Attributes:
        maker: makes the tokens.
        transform: what it is shown.
    """

    maker: MapMaker
    transform: EvaluationTransform

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""
        return self.maker.patch_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Masker`."""
        return ()

    def __call__(self, images: Sequence[torch.Tensor], sizes: Sequence[Size]) -> list[torch.Tensor]:
        """See `Masker`; each image is cut on its own."""
        tokens = shown_tokens(images, sizes, self.maker, self.transform)
        placed = [scores_on_pixels(cut_scores(each), size, self) for each, size in zip(tokens, sizes, strict=True)]
        return [numbered_objects(each > 0) for each in placed]

    def planes(self, mask: torch.Tensor) -> torch.Tensor:
        """See `Masker`."""
        return F.one_hot(mask).permute(2, 0, 1)[1:].bool()


def shown_tokens(
    images: Sequence[torch.Tensor], sizes: Sequence[Size], maker: MapMaker, transform: EvaluationTransform
) -> list[torch.Tensor]:
    """Patch tokens (h, w, D) of images, without the patches that show nothing but what was put around them."""
    tokens = tokens_of(images, maker)
    found = []
    for each, size in zip(tokens, sizes, strict=True):
        top, left, bottom, right = shown_box(size, transform, maker.patch_size)
        found.append(each[top:bottom, left:right])
    return found


def shown_box(size: Size, transform: EvaluationTransform, patch_size: int) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the patches of which an image fills at least half, half open."""
    placed = transform.place_mask(torch.ones(size, dtype=torch.int64)).float()
    shares = F.avg_pool2d(placed[None], patch_size)[0]
    rows, columns = (torch.nonzero(shares.amax(dim=dim) >= 0.5)[:, 0] for dim in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def scores_on_pixels(scores: torch.Tensor, size: Size, masker: Masker) -> torch.Tensor:
    """Scores (h, w) of the patches that show an image, on its pixels (H, W); 0 where the transform left it out."""
    transform, patch = masker.transform, masker.patch_size
    across = transform.size // patch
    top, left, bottom, right = shown_box(size, transform, patch)
    around = (left, across - right, top, across - bottom)
    whole = F.pad(scores[None, None], around, mode="replicate")
    fine = F.interpolate(whole, size=transform.size, mode="bilinear", align_corners=False)[0]
    return transform.place_back(fine, *size)[0]
