"""Weighted sums of rows, and what they make: antialiased bicubic resizing of many crops, on any device.

A row of a resized image is a weighted sum of a few rows of the image, a row of a blurred one likewise; columns are rows
of the transposed image. `torch.nn.functional.embedding_bag` computes such sums in one pass that keeps each row in
registers, several times faster on a CPU than shifted images or matrix products, and alike for any number of threads.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from medino.views.geometry import Crop

COLOUR_SHIFTS = (1, 256, 65536)
"""What red, green and blue of 8 bits are multiplied by where they share a number of 32 bits."""

LARGE_SIDE = 128
"""From this side on a crop takes longer than its calls: two of 224 pixels are faster one by one, eight of 98 not."""


def one_by_one(device: torch.device) -> bool:
    """Whether views are made one after the other: a CPU's cache holds one and no batch; a GPU waits for small ones."""
    return device.type == "cpu"


def weighted_rows(rows: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum rows with weights.

    Args:
        rows: (R, L) float32.
        index: (M, T) int, which rows are summed.
        weights: (M, T) float32, what they are multiplied by.

    Returns:
        (M, L) float32.
    """
    return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weights)


def transposed(planes: torch.Tensor) -> torch.Tensor:
    """Swap the last two axes; contiguous."""
    return transpose_into(planes.new_empty(planes.mT.shape), planes)


def transpose_into(result: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Write planes (..., H, W) with the last two axes swapped to `result` (..., W, H)."""
    if planes.device.type == "cpu":
        # NumPy's loop over a transposed plane is twice as fast as torch's.
        np.copyto(result.numpy(), planes.numpy().swapaxes(-1, -2))
        return result
    return result.copy_(planes.mT)


def cubic_taps(lengths: Sequence[int], size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pixels along an axis make each pixel of the resized one, and by which weights.

    The cubic (Keys, IEEE Trans ASSP 29 (1981) 1153, with a = -1/2) is stretched by the factor that the axis shrinks by,
    so that nothing is skipped; where it reaches over an end, the weights that are left sum to one.

    Args:
        lengths: pixels of each crop along the axis.
        size: pixels of the result.
        device: where the result lies.

    Returns:
        (n, size, T) int64 and (n, size, T) float32; places that are not needed have weight 0.
    """
    length = torch.tensor(lengths, dtype=torch.float32, device=device)[:, None]
    scale = length / size
    stretch = scale.clamp_min(1)
    center = torch.arange(0.5, size, device=device) * scale
    first = (center - 2 * stretch + 0.5).floor_().clamp_min_(0)
    taps = int(4 * max(*lengths, size) / size) + 2
    # The taps come first here, since loops over a last axis of ten are slow.
    places = first + torch.arange(taps, dtype=torch.float32, device=device)[:, None, None]
    last = (length - 1).expand_as(first).contiguous()
    far = (places + (0.5 - center)).abs_().mul_((1 / stretch).expand_as(first).contiguous())
    # Beyond the crop as good as out of reach.
    far.add_((places - last).clamp_min_(0), alpha=2)
    # The cubic's two pieces without a branch, from where each begins: u^2 (u - 1) / 2 + v^2 (1 - 2 v).
    u = (2 - far).clamp_min_(0)
    v = (u - 1).clamp_min_(0)
    weights = (u / 2).sub_(0.5).mul_(u).mul_(u).add_((1 - 2 * v).mul_(v).mul_(v))
    weights /= weights.sum(0)
    return torch.minimum(places, last).int().permute(1, 2, 0).contiguous(), weights.permute(1, 2, 0).contiguous()


def resize_crops(image: torch.Tensor, crops: Sequence[Crop], size: int) -> torch.Tensor:
    """Cut crops out of an image and resize each, bicubic and antialiased, to a square.

    As `resize_crop` of each, to float32's precision. On a CPU large ones are made one by one, which leaves out what
    lies beside them; else all are made at once.

    Args:
        image: (C, H, W) float32.
        crops: n rectangles, inside the image.
        size: side of the results, in pixels.

    Returns:
        (n, C, size, size) float32, contiguous. Bicubic weights overshoot: it may leave the range of the image.
    """
    n = len(crops)
    index, weights = cubic_taps([crop.height for crop in crops] + [crop.width for crop in crops], size, image.device)
    if not (one_by_one(image.device) and size >= LARGE_SIDE):
        return _resized(image, crops, (index[:n], weights[:n]), (index[n:], weights[n:]))
    taps = list(zip(index.split(1), weights.split(1), strict=True))
    each = zip(crops, taps[:n], taps[n:], strict=True)
    return torch.cat([_resized(image, [crop], rows, columns) for crop, rows, columns in each])


Taps = tuple[torch.Tensor, torch.Tensor]


def _resized(image: torch.Tensor, crops: Sequence[Crop], rows: Taps, columns: Taps) -> torch.Tensor:
    """Some crops of an image, by their taps (n, size, T) along both axes."""
    box = (
        min(crop.top for crop in crops),
        max(crop.top + crop.height for crop in crops),
        min(crop.left for crop in crops),
        max(crop.left + crop.width for crop in crops),
    )
    part = image[:, box[0] : box[1], box[2] : box[3]]
    channels, height, width = part.shape
    n, size, _ = rows[0].shape
    index, weights = _of_planes(rows, [crop.top - box[0] for crop in crops], channels, height, shared=True)
    down = weighted_rows(part.flatten(0, 1), index, weights)
    # (n, C, size, width) to (n, C, width, size): the columns that are summed now are rows.
    turned = transposed(down.view(n, channels, size, width))
    index, weights = _of_planes(columns, [crop.left - box[2] for crop in crops], channels, width, shared=False)
    across = weighted_rows(turned.flatten(0, 2), index, weights)
    return transposed(across.view(n, channels, size, size))


def _of_planes(
    taps: Taps, starts: Sequence[int], channels: int, length: int, shared: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The taps (n, size, T) of crops for each of their channels, which lie one after the other.

    Args:
        taps: places in a crop, and weights.
        starts: where the crops start.
        channels: C.
        length: rows of a plane.
        shared: whether the crops are taken from the same planes, or each from its own.

    Returns:
        (n * C * size, T) places and weights.
    """
    index, weights = taps
    n = len(starts)
    if n * channels == 1 and starts[0] == 0:
        return index[0], weights[0]
    planes = channels if shared else n * channels
    offsets = torch.arange(planes, dtype=torch.int32, device=index.device).mul_(length).view(-1, channels)
    offsets = offsets + torch.tensor(starts, dtype=torch.int32, device=index.device)[:, None]
    spread = weights[:, None].expand(-1, channels, -1, -1)
    return (index[:, None] + offsets[..., None, None]).flatten(0, 2), spread.flatten(0, 2)


def pack_colours(image: torch.Tensor) -> torch.Tensor:
    """Red, green and blue of 8 bits as one number a pixel, which is resized and turned as a whole.

    Args:
        image: (3, H, W) float32 in 0 .. 255; rounded to whole numbers.

    Returns:
        (H, W) int32.
    """
    # Rounded first: what a fraction of green is would else be red. Plane by plane, which stays in the cache.
    packed = image[0].round()
    whole = torch.empty_like(packed)
    for channel, shift in zip(image[1:], COLOUR_SHIFTS[1:], strict=True):
        packed.add_(torch.round(channel, out=whole), alpha=shift)
    return packed.to(torch.int32)


def unpack_colours(packed: torch.Tensor) -> torch.Tensor:
    """Packed colours (H, W) int32 as (3, H, W) float32 in [0, 1]."""
    result = torch.empty(3, *packed.shape, dtype=torch.float32, device=packed.device)
    for channel, shift in enumerate(COLOUR_SHIFTS):
        torch.mul(packed & (255 * shift), 1 / (255 * shift), out=result[channel])
    return result


def resize_packed(packed: torch.Tensor, crops: Sequence[Crop], size: int) -> torch.Tensor:
    """`resize_crops` of packed colours, rounded to 8 bits.

    On a CPU in whole numbers, by torch's vectorised resizing of four interleaved channels of 8 bits.

    Args:
        packed: (H, W) int32 of `pack_colours`.
        crops: n rectangles, inside the image.
        size: side of the results, in pixels.

    Returns:
        (n, 3, size, size) uint8, contiguous.
    """
    if not one_by_one(packed.device):
        return resize_colours(packed, crops, size)
    resized = torch.empty(len(crops), 3, size, size, dtype=torch.uint8)
    interleaved = packed.view(torch.uint8)
    start, row = interleaved.storage_offset(), interleaved.stride(0)
    for colours, (top, left, height, width) in zip(resized, crops, strict=True):
        # Where the batch's stride is 0, torch reads interleaved channels and writes planes, which saves a pass.
        crop = interleaved.as_strided((1, 4, height, width), (0, 1, row, 4), start + top * row + 4 * left)
        planes = F.interpolate(crop, size=(size, size), mode="bicubic", align_corners=False, antialias=True)
        colours.copy_(planes[0, :3])
    return resized


def resize_colours(packed: torch.Tensor, crops: Sequence[Crop], size: int) -> torch.Tensor:
    """What `resize_packed` does on devices whose torch resizes no whole numbers."""
    return resize_crops(unpack_colours(packed), crops, size).mul_(255).round_().clamp_(0, 255).to(torch.uint8)
