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
