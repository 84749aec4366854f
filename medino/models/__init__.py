"""Crops to tokens: the vision transformer, its heads, checkpoints in and out."""

from medino.models.config import IMAGENET_MEAN, IMAGENET_STD, BackboneConfig
from medino.models.heads import ProjectionHead
from medino.models.position import resize_position_embedding
from medino.models.tokens import Tokens
from medino.models.vision_transformer import VisionTransformer

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "BackboneConfig",
    "ProjectionHead",
    "Tokens",
    "VisionTransformer",
    "resize_position_embedding",
]
