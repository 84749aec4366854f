"""Settings of `DINOv2` that belong together, by name: what differs from the recipe, and why."""

from typing import Any

SMALL_SCALE: dict[str, Any] = {
    "prototypes": 1024,
    "head_hidden_dim": 512,
    "head_bottleneck_dim": 128,
    "drop_path_rate": 0.0,
    "layer_decay": 1.0,
    "centering": "sinkhorn_knopp",
    "momentum": 0.95,
    "backbone_settings": {"layerscale_init": 0.1},
}
"""From scratch on two CPU cores, some hundred steps of a small batch."""

CONTINUED: dict[str, Any] = {
    "base_lr": 2e-4,
    "centering": "sinkhorn_knopp",
    "drop_path_rate": 0.0,
}
"""From released weights: the long recipe's rate, which held where 3.5e-4 collapsed (OpenMidnight); its
centering."""

DINO_V1: dict[str, Any] = {
    "objective": "dino",
    "drop_path_rate": 0.1,
    "backbone_settings": {"layerscale_init": None, "mask_token": False, "drop_path": "per_sample"},
    "base_lr": 5e-4,
    "lr_scaling": "linear",
    "layer_decay": 1.0,
    "patch_embed_multiplier": 1.0,
    "momentum": 0.996,
    "fixed_gain": True,
}
"""Where DINO v1 (facebookresearch/dino, ViT-B) differs: `DINOv2(**DINO_V1)`. Its ViT-S is usually trained with
`fixed_gain: False`."""
