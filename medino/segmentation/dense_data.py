"""Images and maps of values, such as a depth or a parameter, for training and testing a head that regresses them."""

import math
from dataclasses import dataclass

import torch

from medino.core import InputError, UnreadableImageError
from medino.data import PixelDataset
from medino.features import EvaluationTransform
from medino.segmentation.datamodule import DEFAULT_TRANSFORM, MaskedImages


@dataclass(frozen=True)
class ValueTarget:
    """Positive values, read from the file that stands in a mask's place.

    Args:
        missing_value: means that there is no target in a pixel, as NaN and infinity do; None: only these do.
    """

    missing_value: float | None = 0.0

    def __call__(self, pixels: PixelDataset, row: int, transform: EvaluationTransform) -> torch.Tensor:
        """The map of a row, (S, S) float32, NaN where there is no target; nearest neighbour, so that none is made up.

        Raises:
            InputError: the map has another size than its image, or holds values that are not above 0.
            UnreadableImageError: the map can't be decoded, or has no target on what the transform shows.
        """
        values = pixels.map(row)
        known = values.isfinite() if self.missing_value is None else values.isfinite() & (values != self.missing_value)
        lowest = float(values[known].min()) if known.any() else math.inf
        if lowest <= 0:
            raise InputError(
                f"the map of sample {pixels.manifest.sample(row).sample_id} holds {lowest:g}, and the loss compares "
                "logarithms: shift the values above 0, or say by missing_value that this one means none"
            )
        placed = torch.where(
            transform.place_mask(known.long()).bool(), transform.place_mask(values.nan_to_num()), math.nan
        )
        if not placed.isfinite().any():
            raise UnreadableImageError("its map has no value on what is shown of the image")
        return placed


class DenseData(MaskedImages):
    """The rows of a manifest whose mask is a map of values, by the manifest's splits; for prediction every row.

    Maps are NIfTI volumes or grey TIFF or PNG files, found by `medino scan --masks`. The other arguments are as in
    `SegmentationData`.

    Args:
        manifest: path of the manifest; its column `split` says train, validation or test.
        missing_value: means that there is no target in a pixel, as NaN and infinity do; None: only these do.
    """

    def __init__(
        self,
        manifest: str,
        missing_value: float | None = 0.0,
        transform: EvaluationTransform = DEFAULT_TRANSFORM,
        batch_size: int = 16,
        crop: int | None = None,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        train_patients: int | None = None,
        keep_mb: int = 512,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            manifest,
            ValueTarget(missing_value),
            transform,
            batch_size=batch_size,
            crop=crop,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
            train_patients=train_patients,
            keep_mb=keep_mb,
            num_workers=num_workers,
            seed=seed,
        )

    def mean_log(self) -> float:
        """The mean logarithm of the training maps, each map counted alike."""
        cases = self.training_cases()
        means = [float(case.mask[case.mask.isfinite()].log().mean()) for case in (cases[i] for i in range(len(cases)))]
        return math.fsum(means) / len(means)
