"""Pictures of patch tokens: principal components as colours, attention, likeness to one patch. Tensors in and out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from medino.core import InputError
from medino.models import VisionTransformer

COMPONENTS = 3
TAIL = 0.01
"""Share of the values at each end that saturates a colour, so that one odd patch doesn't leave the rest grey."""


def pca_maps(patches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The first three principal components of patch tokens as red, green and blue.

    The components and the scale are those of all images together, so that one colour means one thing in all of them. A
    component's sign means nothing; it is chosen so that the patch furthest from the mean is bright, which makes
    the picture the same at every call. Nothing else is adjusted: what is grey has no share in the three components.

    Args:
        patches: for each image (h, w, D), grids of any size; D alike.

    Returns:
        For each image (h, w, 3) float32 in [0, 1].

    Raises:
        InputError: there is no image, or fewer than four patches in all.
    """
    if not patches:
        raise InputError("there are no patch tokens to draw; give those of one image or more")
    flat = torch.cat([image.detach().reshape(-1, image.shape[-1]) for image in patches]).to("cpu", torch.float64)
    if len(flat) <= COMPONENTS:
        raise InputError(f"{len(flat)} patch tokens have no {COMPONENTS} components; give a larger image")
    centred = flat - flat.mean(dim=0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    scores = centred @ directions.flip(1)[:, :COMPONENTS]
    furthest = scores.abs().argmax(dim=0)
    scores = scores * torch.where(scores[furthest, torch.arange(scores.shape[1])] < 0, -1.0, 1.0)
    low, high = torch.quantile(scores, torch.tensor([TAIL, 1 - TAIL], dtype=scores.dtype), dim=0)
    colours = ((scores - low) / (high - low).clamp_min(torch.finfo(scores.dtype).tiny)).clamp(0, 1).float()
    if colours.shape[1] < COMPONENTS:
        colours = F.pad(colours, (0, COMPONENTS - colours.shape[1]), value=0.5)
    sizes = [image.shape[0] * image.shape[1] for image in patches]
    parts = torch.split(colours, sizes)
    return [part.reshape(*image.shape[:2], COMPONENTS) for part, image in zip(parts, patches, strict=True)]


@torch.no_grad()
def attention_maps(backbone: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    """How much the class token attends to each patch in the last block, head by head.

    Args:
        backbone: in evaluation mode.
        images: (B, 3, H, W), normalised.

    Returns:
        (B, heads, h, w); over the patches of a head the values sum to at most 1: the rest goes to the class token
        itself and to registers.
    """
    attention = backbone.last_attention(images)
    size = backbone.config.patch_size
    height, width = images.shape[-2] // size, images.shape[-1] // size
    to_patches = attention[:, :, 0, 1 + backbone.config.num_register_tokens :]
    return to_patches.reshape(*to_patches.shape[:2], height, width)


def similarity_maps(query: torch.Tensor, patches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Cosine of the angle between one patch token and every patch token.

    Args:
        query: (D,) the patch asked about.
        patches: for each image (h, w, D).

    Returns:
        For each image (h, w), from -1 to 1.
    """
    return [F.cosine_similarity(image.detach(), query.detach(), dim=-1) for image in patches]


def nearest_patches(query: torch.Tensor, patches: Sequence[torch.Tensor], count: int) -> list[tuple[int, int, int]]:
    """The patches most like one patch, the most alike first; the patch itself is among them if its image is.

    Args:
        query: (D,) the patch asked about.
        patches: for each image (h, w, D).
        count: how many to find, at most as many as there are.

    Returns:
        Image, row and column of each.
    """
    found: list[tuple[float, int, int, int]] = []
    for place, likeness in enumerate(similarity_maps(query, patches)):
        values, cells = likeness.flatten().topk(min(count, likeness.numel()))
        width = likeness.shape[1]
        nearest = zip(values.tolist(), cells.tolist(), strict=True)
        found += [(-value, place, *divmod(cell, width)) for value, cell in nearest]
    return [(place, row, column) for _, place, row, column in sorted(found)[:count]]
