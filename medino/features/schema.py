"""What a table of features holds: one vector for each sample, layer and pooling."""

from dataclasses import dataclass

from medino.core import column

FEATURES_VERSION = 1
"""Schema version of the table of features."""


@dataclass(frozen=True)
class FeatureRow:
    """One row: the table's metadata hold the fingerprints of checkpoint, manifest and evaluation transform."""

    sample_id: str = column("the manifest's sample_id")
    layer: int = column("block counted from the end: 1 is the last one; 0 for a whole image's descriptor")
    pooling: str = column(
        "class (class token) or mean_patch (mean of the patch tokens), both after the final norm; "
        "whole_image for a descriptor without tokens (a baseline, any other network); pixels for an image's own values"
    )
    vector: list[float] = column("the feature, float32, not normalised")
