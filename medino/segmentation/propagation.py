"""A mask of one slice or of a few through the volume, by the likeness of patch tokens; nothing is trained.

DINO follows objects through a video this way (Caron et al. 2021, 2104.14294, section 4.2.2, by the protocol of Jabri et
al. 2020, 2006.14613): each patch takes the labels of the patches most like it, in the labelled frame and in the last
few frames, near its own place. Here slices are the frames, and the way leads in both directions.

It departs from the video's protocol in two things. Labels go down to patches as shares of area, not by one pixel in
each. And a slice's soft labels are not stretched to [0, 1] class by class before the largest wins: an object that ends
within the volume would be found again in every slice beyond its end.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from medino.core import InputError
from medino.features import EvaluationTransform, MapMaker

IMAGES_AT_ONCE = 16
"""Slices that pass through the backbone together."""


@dataclass(frozen=True)
class Propagation:
    """How labels pass from slice to slice; but for the radius the defaults are those of DINO's evaluation on DAVIS.

    Attributes:
        context: how many of the last slices a slice looks at, beside the labelled one.
        top_k: patches that a patch takes its label from.
        radius: how far from its own place these may lie, patches, along rows and along columns. DINO's is 12 of some
            60 x 107 patches; slices are shown in fewer, and what is in them moves less from one to the next
            (docs/benchmarks/propagation.md has what larger ones cost).
        temperature: of the softmax over their cosines.

    Raises:
        InputError: a number has no meaning.
    """

    context: int = 7
    top_k: int = 5
    radius: int = 2
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.context < 0 or self.top_k < 1 or self.radius < 0 or self.temperature <= 0:
            raise InputError(
                f"propagation with context {self.context}, top_k {self.top_k}, radius {self.radius} and temperature "
                f"{self.temperature}; give at least 0, 1, 0 and a temperature above 0"
            )

    def __call__(self, tokens: torch.Tensor, given: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Soft labels of all slices.

        A slice between two labelled ones gets the mean of what comes from both, each weighted by how near it is.

        Args:
            tokens: (S, h, w, D) patch tokens of the slices in order.
            given: soft labels (C, h, w) of some slices by their place, from 0; they sum to 1 over the classes.

        Returns:
            (S, C, h, w), those of the given slices as given.

        Raises:
            InputError: no slice is given, or one that the volume has not.
        """
        slices = len(tokens)
        if not given or not set(given) <= set(range(slices)):
            told = ", ".join(map(str, sorted(given))) or "none"
            raise InputError(f"labelled slices: {told}; the volume has slices 0 to {slices - 1}, give some of them")
        tokens = F.normalize(tokens.float(), dim=-1)
        classes = next(iter(given.values())).shape[0]
        labels = tokens.new_zeros(slices, classes, *tokens.shape[1:3])
        weights = tokens.new_zeros(slices)
        known = sorted(given)
        for place, following in zip(known, [*known[1:], None], strict=True):
            labels[place], weights[place] = given[place], 1.0
            ends = slices if following is None else following
            self._one_way(tokens, given[place], range(place, ends), following, labels, weights)
        for place, before in zip(known, [None, *known[:-1]], strict=True):
            ends = -1 if before is None else before
            self._one_way(tokens, given[place], range(place, ends, -1), before, labels, weights)
        return labels / weights[:, None, None, None]

    def _one_way(
        self,
        tokens: torch.Tensor,
        start: torch.Tensor,
        way: range,
        other: int | None,
        labels: torch.Tensor,
        weights: torch.Tensor,
    ) -> None:
        """From the labelled slice at the way's start along it; adds to `labels` and `weights`, by nearness to both."""
        last: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=self.context)
        for place in way[1:]:
            found = self.step(tokens[place], [(tokens[way[0]], start), *last])
            last.append((tokens[place], found))
            near = 1.0 if other is None else abs(other - place) / abs(other - way[0])
            labels[place] += near * found
            weights[place] += near

    def step(self, tokens: torch.Tensor, context: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Soft labels (C, h, w) of one slice.

        Args:
            tokens: (h, w, D) of the slice, of length 1.
            context: tokens (h, w, D), of length 1, and labels (C, h, w) of the slices looked at.
        """
        height, width, channels = tokens.shape
        target = tokens.reshape(-1, channels)
        near, beyond = _neighbours(height, width, self.radius, tokens.device)
        cosines, found = [], []
        # One slice of the context at a time, and only its best patches kept: all at once would take much memory.
        for source, labels in context:
            likeness = (target @ source.reshape(-1, channels).T).gather(1, near).masked_fill_(beyond, -torch.inf)
            best, place = likeness.topk(min(self.top_k, near.shape[1]), dim=1)
            cosines.append(best)
            found.append(labels.flatten(1)[:, near.gather(1, place)])
        best, place = torch.cat(cosines, dim=1).topk(min(self.top_k, sum(each.shape[1] for each in cosines)), dim=1)
        shares = (best / self.temperature).softmax(dim=1)
        labels = torch.cat(found, dim=2).gather(2, place.expand(len(found[0]), -1, -1))
        return (labels * shares).sum(dim=2).reshape(-1, height, width)


def _neighbours(height: int, width: int, radius: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The places within `radius` rows and columns of each of the N = height * width patches.

    Returns:
        (N, K) numbers of patches, and (N, K) whether one is beyond the grid and its number means nothing.
    """
    reaches = [
        torch.arange(-min(radius, side - 1), min(radius, side - 1) + 1, device=device) for side in (height, width)
    ]
    place = torch.arange(height * width, device=device)
    rows = (place // width)[:, None, None] + reaches[0][:, None]
    columns = (place % width)[:, None, None] + reaches[1]
    beyond = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    numbers = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return numbers.flatten(1), beyond.flatten(1)


def labels_on_patches(
    mask: torch.Tensor, values: Sequence[int], transform: EvaluationTransform, patch_size: int
) -> torch.Tensor:
    """What share of each patch has each label: a mask (H, W) of an image to (C, h, w).

    Args:
        mask: labels of the image's pixels.
        values: the C labels, 0 (the background) first.
        transform: places the image, and the mask with it.
        patch_size: side of a patch, pixels.
    """
    placed = transform.place_mask(mask)
    shares = torch.stack([placed == value for value in values]).float()
    return F.avg_pool2d(shares[None], patch_size)[0]


def mask_from_patches(
    labels: torch.Tensor, values: Sequence[int], transform: EvaluationTransform, height: int, width: int
) -> torch.Tensor:
    """The likeliest label of each pixel of the image: soft labels (C, h, w) to a mask (height, width) of `values`."""
    side = transform.size
    fine = F.interpolate(labels[None], size=(side, side), mode="bilinear", align_corners=False)[0]
    return torch.tensor(list(values))[likeliest(fine, transform, height, width)]


def likeliest(shares: torch.Tensor, transform: EvaluationTransform, height: int, width: int) -> torch.Tensor:
    """The likeliest class of each pixel of an image, (height, width) int64; what the transform left out is background.

    Args:
        shares: (C, size, size) on the transform's grid, summing to 1 over the classes, the background first.
        transform: places the image.
        height: of the image, pixels.
        width: of the image, pixels.
    """
    objects = transform.place_back(shares[1:], height, width)
    return torch.cat([1 - objects.sum(dim=0, keepdim=True), objects]).argmax(dim=0)


def propagate_masks(
    images: Sequence[torch.Tensor],
    given: Mapping[int, torch.Tensor],
    maker: MapMaker,
    transform: EvaluationTransform,
    propagation: Propagation | None = None,
) -> torch.Tensor:
    """Masks of all slices of a volume from those of a few.

    Args:
        images: the slices in order as `transform` makes them, each (3, S, S).
        given: masks (H, W) of whole numbers by slice, 0 the background; all of the slices' own size.
        maker: makes the tokens by which two patches are alike.
        transform: what made the images.
        propagation: how labels pass; as DINO's if None.

    Returns:
        (S, H, W) int64; the given slices as given.

    Raises:
        InputError: no slice is given, one that is not there, or nothing is marked in any.
    """
    values = sorted({0}.union(*(mask.unique().tolist() for mask in given.values())))
    if given and len(values) < 2:
        raise InputError("the labelled slices hold nothing but background; give a slice in which something is marked")
    tokens = tokens_of(images, maker)
    soft = {place: labels_on_patches(mask, values, transform, maker.patch_size) for place, mask in given.items()}
    labels = (propagation or Propagation())(tokens, soft)
    height, width = next(iter(given.values())).shape
    masks = torch.stack([mask_from_patches(each, values, transform, height, width) for each in labels])
    for place, mask in given.items():
        masks[place] = mask
    return masks


def tokens_of(images: Sequence[torch.Tensor], maker: MapMaker) -> torch.Tensor:
    """Patch tokens (N, h, w, D) float32 of images (3, S, S), on the CPU."""
    parts = [images[start : start + IMAGES_AT_ONCE] for start in range(0, len(images), IMAGES_AT_ONCE)]
    return torch.cat([maker(torch.stack(list(part))).float().cpu() for part in parts])
