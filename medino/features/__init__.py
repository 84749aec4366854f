"""Tokens kept: the evaluation transform, embed, the table of features."""

from medino.features.schema import FEATURES_VERSION, FeatureRow
from medino.features.table import FEATURES, FeatureTable

__all__ = ["FEATURES", "FEATURES_VERSION", "FeatureRow", "FeatureTable"]
