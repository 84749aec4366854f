"""The sizes of backbone that have a name, and how one is built from scratch."""

import torch

from medino.core import InputError, torch_generator
from medino.models.config import BackboneConfig
from medino.models.vision_transformer import VisionTransformer

PRESETS: dict[str, BackboneConfig] = {
    config.name: config
    for config in (
        # For two CPU cores and small images: 64 pixels in 8 x 8 patches.
        BackboneConfig(name="mini", embed_dim=192, depth=6, num_heads=3, patch_size=8, image_size=64),
        BackboneConfig(name="tiny", embed_dim=192, depth=12, num_heads=3),
        # As released by Meta for DINOv2: patch 14, position embedding for 518 pixels.
        BackboneConfig(name="small", embed_dim=384, depth=12, num_heads=6),
        BackboneConfig(name="base", embed_dim=768, depth=12, num_heads=12),
        BackboneConfig(name="large", embed_dim=1024, depth=24, num_heads=16),
        BackboneConfig(name="giant2", embed_dim=1536, depth=40, num_heads=24, ffn_layer="swiglufused"),
    )
}
"""The named settings. Change some with `PRESETS["small"].replace(num_register_tokens=4, ...)`."""


def build_backbone(name_or_config: str | BackboneConfig, seed: int = 0) -> VisionTransformer:
    """Build an untrained backbone; the same seed gives the same weights, and no other draw is disturbed.

    Args:
        name_or_config: a name of `PRESETS`, or settings.
        seed: of the initial weights.

    Raises:
        InputError: there is no preset of that name, or the settings contradict each other.
    """
    if isinstance(name_or_config, str):
        if name_or_config not in PRESETS:
            raise InputError(f"there is no backbone preset '{name_or_config}'; use one of {', '.join(PRESETS)}")
        config = PRESETS[name_or_config]
    else:
        config = name_or_config
    # Without memory first: PyTorch's layers would otherwise draw weights of their own from the global generator.
    backbone = empty_backbone(config).to_empty(device="cpu")
    backbone.initialize(torch_generator(seed, "backbone"))
    return backbone


def empty_backbone(config: BackboneConfig) -> VisionTransformer:
    """A backbone whose weights have shapes but no values (PyTorch's meta device)."""
    with torch.device("meta"):
        return VisionTransformer(config)
