"""What a segmentation step takes: images and masks on one grid, and where they came from."""

from typing import NamedTuple

import torch


class SegmentationBatch(NamedTuple):
    """One process's part of a batch: B images.

    Attributes:
        images: (B, 3, S, S) float32, normalised.
        masks: (B, S, S) int64 indices of classes, or bits of overlapping ones; -1 everywhere for an image without a
            mask (in prediction).
        sample_ids: the manifest's ids.
        patients: keyed hashes of the patients.
        spacings: distance between rows and between columns of the grid, mm; None where the format does not say.
        step: the training step that the batch was made for; 0 outside training.
        positions: places in the global batch.
        repeats: how many different images this stage shows again and again, unchanged; 0 where each is seen in another
            way every time, so that nothing computed from it can be kept.
    """

    images: torch.Tensor
    masks: torch.Tensor
    sample_ids: list[str]
    patients: list[str]
    spacings: list[tuple[float, float] | None]
    step: int
    positions: list[int]
    repeats: int
