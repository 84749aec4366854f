"""What token maps are made by: the patch tokens of a frozen backbone, or the patches' own pixels as a floor."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F

from medino.core import InputError
from medino.models import VisionTransformer, backbone_fingerprint

PATCH_PIXELS = "patch_pixels"
"""Name of the floor: what a linear head can do with the pixels of a patch alone."""


class MapMaker(Protocol):
    """Images (B, 3, H, W), normalised, to maps (B, h, w, channels)."""

    fingerprint: str
    """Of the checkpoint, or a name where there is none."""
    patch_size: int
    """Side of a patch, pixels."""
    channels: int
    """Numbers that a patch has."""
    layers: tuple[int, ...]
    """Blocks that the tokens come from, counted from 0; none where there is no backbone."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Make the maps of a batch."""


class BackboneMaps:
    """The patch tokens of some blocks, each through the final norm, side by side.

    Args:
        backbone: put into evaluation mode on `device`.
        layers: which blocks, counted from 0; or how many of the last ones.
        device: where the backbone runs.

    Raises:
        InputError: the backbone has no such block.
    """

    def __init__(
        self, backbone: VisionTransformer, layers: int | Sequence[int] = 1, device: str | torch.device = "cpu"
    ) -> None:
        self.layers = block_numbers(backbone, layers)
        self.fingerprint = backbone_fingerprint(backbone)
        self.backbone = backbone.to(device).eval()
        self.device = device
        self.patch_size = backbone.config.patch_size
        self.channels = backbone.config.embed_dim * len(self.layers)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(B, h, w, channels) of images (B, 3, H, W)."""
        return patch_tokens(self.backbone, images.to(self.device), self.layers)


class PatchPixels:
    """The pixels of each patch, as they are: a floor that has learned nothing.

    Args:
        patch_size: side of a patch, pixels.
    """

    def __init__(self, patch_size: int) -> None:
        self.patch_size = patch_size
        self.channels = 3 * patch_size**2
        self.layers: tuple[int, ...] = ()
        self.fingerprint = hashlib.blake2b(f"{PATCH_PIXELS} {patch_size}".encode(), digest_size=16).hexdigest()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(B, h, w, 3 * patch_size^2) of images (B, 3, H, W)."""
        return F.pixel_unshuffle(images, self.patch_size).permute(0, 2, 3, 1)


def block_numbers(backbone: VisionTransformer, layers: int | Sequence[int]) -> tuple[int, ...]:
    """The blocks that are meant, counted from 0, in their order.

    Args:
        backbone: whose blocks.
        layers: which ones, or how many of the last ones.

    Raises:
        InputError: the backbone has no such block.
    """
    depth = backbone.config.depth
    asked = range(depth - layers, depth) if isinstance(layers, int) else layers
    if not asked or not set(asked) <= set(range(depth)):
        raise InputError(f"layers {list(asked)} asked for, but the backbone has blocks 0 to {depth - 1}")
    return tuple(sorted(set(asked)))


def patch_tokens(backbone: VisionTransformer, images: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
    """Patch tokens (B, h, w, D * layers) of some blocks side by side, of images (B, 3, H, W)."""
    return torch.cat([layer.patches for layer in backbone.intermediate(images, layers)], dim=-1)
