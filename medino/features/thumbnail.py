"""A floor for every table: an image described without learning, by a thumbnail and by histograms.

Features that a backbone learned have to beat it; where they don't, the labels can be told from colour and brightness.
"""

import math

import torch
import torch.nn.functional as F

from medino.data import Intensity, Manifest
from medino.features.embed import describe_images
from medino.features.table import WHOLE_IMAGE, FeatureTable
from medino.features.transform import EvaluationTransform

NAME = "thumbnail"
IMAGE_SIZE = 96
THUMBNAIL_SIZE = 12
COLOUR_BINS = 16
ORIENTATIONS = 8
CELLS = 2


def thumbnail_features(
    manifest: Manifest, intensity: Intensity | None = None, *, batch_size: int = 64, num_workers: int = 0
) -> FeatureTable:
    """The baseline's features: 12 x 12 thumbnail, histogram of each channel, histograms of gradient orientation.

    Args:
        manifest: all rows are described.
        intensity: how physical units become [0, 1]; the default if None.
        batch_size: images at once.
        num_workers: processes that decode.

    Returns:
        A table with one vector an image, which answers for every choice of features.

    Raises:
        InputError: the manifest is empty or no image could be decoded.
    """
    transform = EvaluationTransform(
        size=IMAGE_SIZE, intensity=intensity or Intensity(), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    return describe_images(
        lambda images: {WHOLE_IMAGE: thumbnail_vectors(images)},
        manifest,
        transform,
        name=NAME,
        batch_size=batch_size,
        num_workers=num_workers,
        facts={"backbone": NAME},
    )


def thumbnail_vectors(images: torch.Tensor) -> torch.Tensor:
    """Describe images (B, 3, H, W) in [0, 1] by (B, 512) numbers, the three parts of comparable length.

    Histograms enter as the square root of shares, so that Euclidean distance is Hellinger's.
    """
    thumbnail = F.interpolate(images, size=(THUMBNAIL_SIZE, THUMBNAIL_SIZE), mode="area").flatten(1)
    thumbnail = thumbnail / math.sqrt(THUMBNAIL_SIZE**2)
    bins = (images * COLOUR_BINS).long().clamp_(0, COLOUR_BINS - 1).flatten(2)
    colours = F.one_hot(bins, COLOUR_BINS).float().mean(dim=2).sqrt().flatten(1)
    return torch.cat([thumbnail, colours / math.sqrt(3), _orientations(images)], dim=1)


def _orientations(images: torch.Tensor) -> torch.Tensor:
    """(B, cells * 8) square roots of the shares of gradient strength by cell and unsigned orientation."""
    grey = images.mean(dim=1, keepdim=True)
    down = F.pad(grey, (0, 0, 1, 1), mode="replicate").diff(n=1, dim=2)
    down = down[:, :, 1:] + down[:, :, :-1]
    across = F.pad(grey, (1, 1, 0, 0), mode="replicate").diff(n=1, dim=3)
    across = across[..., 1:] + across[..., :-1]
    strength = torch.hypot(down, across)
    angle = torch.atan2(down, across).remainder(math.pi) / math.pi
    place = (angle * ORIENTATIONS).long().clamp_(0, ORIENTATIONS - 1)
    by_orientation = torch.zeros(len(grey), ORIENTATIONS, *grey.shape[2:]).scatter_(1, place, strength)
    sums = F.adaptive_avg_pool2d(by_orientation, CELLS).flatten(1)
    return (sums / sums.sum(dim=1, keepdim=True).clamp_min(1e-12)).sqrt()
