"""Settings of `DINOv2` that belong together, by name: what differs from the recipe, and why."""

from typing import Any

SMALL_SCALE: dict[str, Any] = {
    # 32 images a step can't fill thousands of prototypes.
    "prototypes": 256,
    "head_hidden_dim": 256,
    "head_bottleneck_dim": 64,
    # With so few steps the EMA centre lags behind the teacher, and its outputs collapse to one prototype.
    "centering": "sinkhorn_knopp",
    # 1e-3 for a batch of 32.
    "base_lr": 5.66e-3,
    # Targets at 0.07 say next to nothing of an image while the features are this young.
    "final_teacher_temperature": 0.04,
    "frozen_last_layer": 0.06,
    "weight_decay": 0.04,
    "final_weight_decay": 0.04,
    "layer_decay": 1.0,
    "patch_embed_multiplier": 1.0,
    # The teacher averages some ten steps instead of some hundred: it would stay near its start otherwise.
    "momentum": 0.9,
    "drop_path_rate": 0.0,
    # At 1e-5 the blocks of an untrained network do nothing, and hundreds of steps are too few to open them.
    "backbone_settings": {"layerscale_init": 0.1},
}
"""From scratch on two CPU cores: some hundred steps of a small batch, a small model."""

CONTINUED: dict[str, Any] = {
    "base_lr": 2e-4,
    "centering": "sinkhorn_knopp",
    "drop_path_rate": 0.0,
}
"""From released weights: the long recipe's rate, which held where 3.5e-4 collapsed (OpenMidnight); its centering."""

CONTINUED_LORA = {**CONTINUED, "base_lr": 2e-3}
"""By adapters, which start at zero and hardly move at 2e-4 (docs/adaptation.md)."""

CONTINUED_EXPLORA = {**CONTINUED, "base_lr": 1e-3}
"""By adapters with the last block free, half of their rate."""

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
