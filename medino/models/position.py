"""The learned position embedding at any image size, resized as the network was trained to have it resized."""

import math

import torch
import torch.nn.functional as F


def resize_position_embedding(
    embedding: torch.Tensor, grid: tuple[int, int], offset: float, antialias: bool
) -> torch.Tensor:
    """Resize a position embedding to another grid of patches, bicubic and in float32.

    The choice of `offset` and `antialias` belongs to the weights: with the wrong one the features change silently.
    Meta's DINO and its DINOv2 models without registers were trained with offset 0.1 and no antialias, those with
    registers with offset 0 and antialias.

    Args:
        embedding: (1, 1 + M * M, D); the class token's position first, then a square grid.
        grid: rows and columns of patches wanted.
        offset: added to both before they are divided by M to give the scale factors of the bicubic sampling; 0 resizes
            by explicit size instead. The two sample at different places.
        antialias: whether the bicubic sampling is antialiased when it shrinks.

    Returns:
        (1, 1 + h * w, D) in float32; the class token's position is untouched.
    """
    rows, columns = grid
    side = math.isqrt(embedding.shape[1] - 1)
    embedding = embedding.float()
    if (rows, columns) == (side, side):
        return embedding
    class_position, patch_positions = embedding[:, :1], embedding[:, 1:]
    square = patch_positions.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if offset:
        scale = ((rows + offset) / side, (columns + offset) / side)
        resized = F.interpolate(square, scale_factor=scale, mode="bicubic", antialias=antialias)
    else:
        resized = F.interpolate(square, size=(rows, columns), mode="bicubic", antialias=antialias)
    return torch.cat([class_position, resized.flatten(2).transpose(1, 2)], dim=1)
