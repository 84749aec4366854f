"""The settings of a backbone: all that is needed, beside its weights, to build it again."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from medino.views import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class BackboneConfig:
    """A vision transformer's settings; JSON-plain through `dataclasses.asdict`.

    Attributes:
        name: a name to show; presets have their own.
        embed_dim: token width D.
        depth: number of blocks.
        num_heads: attention heads.
        patch_size: side of a patch, pixels.
        image_size: side of the square image whose grid the position embedding is made for, pixels.
        num_register_tokens: register tokens R.
        ffn_layer: "mlp" (GELU) or "swiglufused" (SwiGLU with the reference's hidden width).
        mlp_ratio: hidden width of the MLP over D.
        ffn_hidden_dim: hidden width of the feed-forward layers; None: that of Meta's networks, `mlp_ratio` D for an
            MLP, two thirds of it rounded up to a multiple of eight for SwiGLU.
        layerscale_init: initial value of LayerScale; None for networks without it (DINO v1).
        mask_token: False for networks without a mask token (DINO v1).
        drop_path_rate: share of samples that a block's branch leaves out in training.
        drop_path: "batch_subset" (DINOv2: uniform, skips the work) or "per_sample" (DINO v1: rising linearly with
            depth, on activations).
        interpolate_offset: added to the grid size when the position embedding is resized by scale factor; 0 resizes
            by explicit size.
        interpolate_antialias: whether that bicubic resize is antialiased.
        mean: what is subtracted from each of the three channels, in units of [0, 1].
        std: what they are divided by.
    """

    name: str = "custom"
    embed_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    patch_size: int = 14
    image_size: int = 518
    num_register_tokens: int = 0
    ffn_layer: Literal["mlp", "swiglufused"] = "mlp"
    mlp_ratio: float = 4.0
    ffn_hidden_dim: int | None = None
    layerscale_init: float | None = 1e-5
    mask_token: bool = True
    drop_path_rate: float = 0.0
    drop_path: Literal["batch_subset", "per_sample"] = "batch_subset"
    interpolate_offset: float = 0.1
    interpolate_antialias: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def ffn_width(self) -> int:
        """The hidden width of the feed-forward layers."""
        if self.ffn_hidden_dim is not None:
            return self.ffn_hidden_dim
        hidden = int(self.embed_dim * self.mlp_ratio)
        return hidden if self.ffn_layer == "mlp" else (int(hidden * 2 / 3) + 7) // 8 * 8

    def replace(self, **changes: Any) -> "BackboneConfig":
        """The same settings with some changed."""
        return dataclasses.replace(self, **changes)
