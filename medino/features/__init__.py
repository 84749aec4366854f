"""Tokens kept: the evaluation transform, embed, the table of features."""

from medino.features.embed import embed, without_rejects
from medino.features.schema import FEATURES_VERSION, FeatureRow
from medino.features.table import FEATURES, FeatureTable
from medino.features.thumbnail import thumbnail_features
from medino.features.transform import EvaluationTransform

__all__ = [
    "FEATURES",
    "FEATURES_VERSION",
    "EvaluationTransform",
    "FeatureRow",
    "FeatureTable",
    "embed",
    "thumbnail_features",
    "without_rejects",
]
