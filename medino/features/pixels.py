"""The images themselves as a table of features: what a network that is trained on them reads."""

import dataclasses
import math

import torch

from medino.data import Intensity, Manifest
from medino.features.embed import describe_images
from medino.features.table import FeatureTable
from medino.features.transform import EvaluationTransform

NAME = "pixels"

PIXELS = (0, "pixels")
"""Layer and pooling of an image's own values, flattened; no probe on vectors asks for them."""

IMAGE_SIZE = 64
"""Side of the images, pixels."""


def pixel_features(
    manifest: Manifest, transform: EvaluationTransform | None = None, *, batch_size: int = 64, num_workers: int = 0
) -> FeatureTable:
    """The images of a manifest, small, in memory.

    Args:
        manifest: all rows are read.
        transform: how they are shown; its size is replaced by `IMAGE_SIZE`.
        batch_size: images at once.
        num_workers: processes that decode.

    Returns:
        A table whose vectors are images (3, 64, 64), flattened: 48 kB each.

    Raises:
        InputError: the manifest is empty or no image could be decoded.
    """
    return describe_images(
        lambda images: {PIXELS: images.flatten(1)},
        manifest,
        dataclasses.replace(transform or EvaluationTransform(intensity=Intensity()), size=IMAGE_SIZE),
        name=NAME,
        batch_size=batch_size,
        num_workers=num_workers,
        facts={"backbone": NAME},
    )


def images_of(table: FeatureTable) -> torch.Tensor:
    """The images (N, 3, S, S) float32 of a table that `pixel_features` made."""
    vectors = torch.from_numpy(table.blocks[PIXELS])
    side = math.isqrt(vectors.shape[1] // 3)
    return vectors.reshape(len(vectors), 3, side, side)
