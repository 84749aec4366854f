"""Weighted sums of rows, and what they make: antialiased bicubic resizing of many crops, on any device.

A row of a resized image is a weighted sum of a few rows of the image, a row of a blurred one likewise; columns are rows
of the transposed image. `torch.nn.functional.embedding_bag` computes such sums in one pass that keeps each row in
registers, several times faster on a CPU than shifted images or matrix products, and alike for any number of threads.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from medino.core import to_device
from medino.views.geometry import Crop

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
        (n, size, T) int32 and (n, size, T) float32; places that are not needed have weight 0.
    """
    # By NumPy, whose calls cost less than torch's: these are many, and of few numbers.
    length = np.array(lengths, np.float32)[:, None]
    scale = length / np.float32(size)
    stretch = np.maximum(scale, 1)
    center = np.arange(0.5, size, dtype=np.float32) * scale
    first = np.maximum(np.floor(center - 2 * stretch + np.float32(0.5)), 0)
    taps = int(4 * max(*lengths, size) / size) + 2
    # The taps come first here, since loops over a last axis of ten are slow.
    places = first + np.arange(taps, dtype=np.float32)[:, None, None]
    last = length - 1
    far = np.abs(places + (np.float32(0.5) - center))
    far /= stretch
    # Beyond the crop as good as out of reach.
    far += 2 * np.maximum(places - last, 0)
    # The cubic's two pieces without a branch, from where each begins: u^2 (u - 1) / 2 + v^2 (1 - 2 v).
    u = np.maximum(2 - far, 0)
    v = np.maximum(u - 1, 0)
    weights = u - 1
    weights *= u
    weights *= u
    weights *= 0.5
    v *= v - 2 * v * v
    weights += v
    weights /= weights.sum(axis=0)
    index = np.minimum(places, last).astype(np.int32)
    index, weights = (np.ascontiguousarray(np.moveaxis(each, 0, 2)) for each in (index, weights))
    return to_device(torch.from_numpy(index), device), to_device(torch.from_numpy(weights), device)


def resize_crops(image: torch.Tensor, crops: Sequence[Crop], size: int) -> torch.Tensor:
    """Cut crops out of an image and resize each, bicubic and antialiased, to a square.

    As `resize_crop` of each, to float32's precision. On a CPU large ones are made one by one, which leaves out what
    lies beside them; else all are made at once.

    Args:
        image: (C, H, W) float32.
        crops: n rectangles, inside the image.
        size: side of the results, in pixels.

    Returns:
        (n, C, size, size) float32, columns contiguous. Bicubic weights overshoot: it may leave the range of the image.
    """
    n = len(crops)
    index, weights = cubic_taps([crop.height for crop in crops] + [crop.width for crop in crops], size, image.device)
    if not (one_by_one(image.device) and size >= LARGE_SIDE):
        return _resized(image, crops, (index[:n], weights[:n]), (index[n:], weights[n:])).mT
    taps = list(zip(index.split(1), weights.split(1), strict=True))
    each = zip(crops, taps[:n], taps[n:], strict=True)
    return torch.cat([_resized(image, [crop], rows, columns) for crop, rows, columns in each]).mT


Taps = tuple[torch.Tensor, torch.Tensor]


def _resized(image: torch.Tensor, crops: Sequence[Crop], rows: Taps, columns: Taps) -> torch.Tensor:
    """Some crops of an image, by their taps (n, size, T) along both axes; rows and columns swapped."""
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
    return weighted_rows(turned.flatten(0, 2), index, weights).view(n, channels, size, size)


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
    offsets = offsets + to_device(torch.tensor(starts, dtype=torch.int32), index.device)[:, None]
    spread = weights[:, None].expand(-1, channels, -1, -1)
    return (index[:, None] + offsets[..., None, None]).flatten(0, 2), spread.flatten(0, 2)


def interleaved(image: torch.Tensor) -> torch.Tensor:
    """Colours of 8 bits as they are resized: the three of a pixel side by side, as files have them.

    Args:
        image: (3, H, W), uint8, or float32 in 0 .. 255, which is rounded.

    Returns:
        (H, W, 3) uint8, the image's own memory where that is laid out so.
    """
    colours = image.permute(1, 2, 0)
    if image.dtype == torch.uint8 and colours.stride()[1:] == (3, 1):
        return colours
    result = np.empty(colours.shape, np.uint8)
    for channel, plane in enumerate(image.numpy()):
        # Plane by plane, by NumPy: less than half of the time of a copy with its axes turned.
        result[..., channel] = plane if plane.dtype == np.uint8 else np.rint(plane)
    return torch.from_numpy(result)


def resize_colours(image: torch.Tensor, crops: Sequence[Crop], size: int) -> torch.Tensor:
    """`resize_crops` of interleaved colours, rounded to 8 bits.

    On a CPU in whole numbers, by torch's vectorised resizing.

    Args:
        image: (H, W, 3) uint8 of `interleaved`.
        crops: n rectangles, inside the image.
        size: side of the results, in pixels.

    Returns:
        (n, 3, size, size) uint8.
    """
    if one_by_one(image.device):
        return torch.stack([resize_colour(image, crop, size) for crop in crops])
    planes = image.permute(2, 0, 1).float().contiguous()
    return resize_crops(planes, crops, size).round_().clamp_(0, 255).to(torch.uint8)


def resize_colour(image: torch.Tensor, crop: Crop, size: int) -> torch.Tensor:
    """One of `resize_colours` on a CPU, (3, size, size) uint8, contiguous."""
    row, start = image.stride(0), image.storage_offset() + crop.top * image.stride(0) + 3 * crop.left
    # Where the batch's stride is 0, torch reads interleaved channels and writes planes, which saves a pass.
    part = image.as_strided((1, 3, crop.height, crop.width), (0, 1, row, 3), start)
    return F.interpolate(part, size=(size, size), mode="bicubic", align_corners=False, antialias=True)[0]
