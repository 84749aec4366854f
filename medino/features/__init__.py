"""Tokens kept: the evaluation transform, embed, the table of features, the store of maps."""

from medino.features.embed import embed, without_rejects
from medino.features.imported import embed_network, import_network
from medino.features.maps import MAPS_VERSION, MapStore, keep_maps
from medino.features.pixels import PIXELS, images_of, pixel_features
from medino.features.schema import FEATURES_VERSION, FeatureRow
from medino.features.table import FEATURES, FeatureTable
from medino.features.thumbnail import thumbnail_features
from medino.features.token_maps import BackboneMaps, MapMaker, PatchPixels, block_numbers, patch_tokens
from medino.features.transform import EvaluationTransform
from medino.features.variants import AS_IS, VARIANTS

__all__ = [
    "AS_IS",
    "FEATURES",
    "FEATURES_VERSION",
    "MAPS_VERSION",
    "PIXELS",
    "VARIANTS",
    "BackboneMaps",
    "EvaluationTransform",
    "FeatureRow",
    "FeatureTable",
    "MapMaker",
    "MapStore",
    "PatchPixels",
    "block_numbers",
    "embed",
    "embed_network",
    "images_of",
    "import_network",
    "keep_maps",
    "patch_tokens",
    "pixel_features",
    "thumbnail_features",
    "without_rejects",
]
