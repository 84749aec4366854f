"""Crops to tokens: the vision transformer, its heads, checkpoints in and out."""

from medino.models.checkpoints import (
    BACKBONE_VERSION,
    backbone_fingerprint,
    load_backbone,
    network_fingerprint,
    save_backbone,
)
from medino.models.config import BackboneConfig
from medino.models.export import TARGETS, export_backbone
from medino.models.heads import ProjectionHead
from medino.models.known import KNOWN_WEIGHTS, KnownFile, KnownWeights
from medino.models.layouts import INTERPOLATIONS, Interpolation
from medino.models.lora import add_lora, merge_lora
from medino.models.position import resize_position_embedding
from medino.models.presets import PRESETS, build_backbone
from medino.models.published_heads import PublishedHeads, read_heads
from medino.models.tokens import SelectedTokens, Tokens
from medino.models.vision_transformer import VisionTransformer
from medino.models.weights_folder import find_heads, find_weights, known_path, known_weights, weights_folder

__all__ = [
    "BACKBONE_VERSION",
    "INTERPOLATIONS",
    "KNOWN_WEIGHTS",
    "PRESETS",
    "TARGETS",
    "BackboneConfig",
    "Interpolation",
    "KnownFile",
    "KnownWeights",
    "ProjectionHead",
    "PublishedHeads",
    "SelectedTokens",
    "Tokens",
    "VisionTransformer",
    "add_lora",
    "backbone_fingerprint",
    "build_backbone",
    "export_backbone",
    "find_heads",
    "find_weights",
    "known_path",
    "known_weights",
    "load_backbone",
    "merge_lora",
    "network_fingerprint",
    "read_heads",
    "resize_position_embedding",
    "save_backbone",
    "weights_folder",
]
