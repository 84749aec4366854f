"""Dense values as a LightningModule: the heads of segmentation answer with a depth or another parameter map."""

from typing import Any

import pytorch_lightning as pl
import torch

from medino.core import InputError
from medino.models import Interpolation
from medino.segmentation.batch import SegmentationBatch
from medino.segmentation.dense_data import DenseData
from medino.segmentation.dense_metrics import DenseResult, dense_result, mean_dense_metrics
from medino.segmentation.heads import HeadName
from medino.segmentation.training import HeadModule
from medino.segmentation.writers import MapWriter


class DenseRegression(HeadModule):
    """A head that answers with one positive value a pixel.

    The head answers with the logarithm of the value, relative to the mean logarithm of the training maps. The loss is
    the scale-invariant one (`scale_invariant_loss`). Everything else is as in `Segmentation`, where the other arguments
    are explained.

    Args:
        scale_invariance: lambda of the loss, 0 to 1: 0 asks for the values themselves, 1 for the values up to one
            factor an image; 0.5 is the paper's.

    Raises:
        InputError: `scale_invariance` is out of range, an unknown head or preset, or weights that can't be read.
    """

    def __init__(
        self,
        weights: str | None = None,
        interpolation: Interpolation | None = None,
        backbone: str = "mini",
        head: HeadName = "linear",
        layers: list[int] | None = None,
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-3,
        overlap: float = 1 / 3,
        token_cache_mb: int = 512,
        scale_invariance: float = 0.5,
        seed: int = 0,
        max_nonfinite_steps: int = 10,
        lora_rank: int | None = None,
    ) -> None:
        if not 0 <= scale_invariance <= 1:
            raise InputError(f"scale_invariance is {scale_invariance}; give a number from 0 to 1")
        super().__init__(
            1,
            weights=weights,
            interpolation=interpolation,
            backbone=backbone,
            head=head,
            layers=layers,
            dropout=dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            overlap=overlap,
            token_cache_mb=token_cache_mb,
            seed=seed,
            max_nonfinite_steps=max_nonfinite_steps,
            lora_rank=lora_rank,
        )
        # Paths can name people, and a checkpoint outlives the run's folder: `weights` is not kept in it.
        self.save_hyperparameters(ignore=["weights"])
        self.scale_invariance = scale_invariance
        self.mean_log: torch.Tensor
        self.register_buffer("mean_log", torch.zeros(()))
        self.test_results: list[DenseResult]

    def setup(self, stage: str) -> None:
        """Check that trainer and datamodule fit the head and the backbone; take the scale of the training maps."""
        super().setup(stage)
        datamodule = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(datamodule, DenseData):
            self.mean_log.fill_(datamodule.mean_log())

    def configure_callbacks(self) -> list[pl.Callback]:
        """Maps are written in prediction."""
        return self.not_there([MapWriter()])

    def loss_of(self, scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """The loss of the head's answers (B, 1, H, W) against maps (B, H, W), NaN where there is no target."""
        return scale_invariant_loss(scores[:, 0].float() + self.mean_log, masks, self.scale_invariance)

    def predicted(self, images: torch.Tensor) -> torch.Tensor:
        """The maps (B, H, W) float32 of images, in the units of the training maps."""
        return (self(images)[:, 0].float() + self.mean_log).exp()

    def measured(self, predicted: torch.Tensor, batch: SegmentationBatch) -> dict[str, list[Any]]:
        """The result of each case."""
        cases = zip(predicted, batch.masks, batch.sample_ids, batch.patients, strict=True)
        return {sample_id: [dense_result(case, target, sample_id, whose)] for case, target, sample_id, whose in cases}

    def means_of(self, results: list[Any]) -> dict[str, float]:
        """Means over cases."""
        return mean_dense_metrics(results)


def scale_invariant_loss(log_predicted: torch.Tensor, target: torch.Tensor, scale_invariance: float) -> torch.Tensor:
    """The scale-invariant error of Eigen et al. 2014 (1406.2283, equation 4), averaged over the images with a target.

    It is sum(d^2) / n - lambda sum(d)^2 / n^2, with d the difference of the logarithms in the n pixels that have a
    target. With lambda 1 a common factor of all predicted values costs nothing; with 0 it is the squared error of the
    logarithms.

    Args:
        log_predicted: (B, H, W) logarithms of the predicted values.
        target: (B, H, W) positive values, NaN where there is none.
        scale_invariance: lambda.

    Returns:
        A scalar; 0 where no image has a target.
    """
    known = target.isfinite()
    count = known.sum(dim=(1, 2))
    difference = torch.where(known, log_predicted - torch.where(known, target, 1.0).log(), 0.0)
    pixels = count.clamp(min=1)
    squares, sums = difference.square().sum(dim=(1, 2)), difference.sum(dim=(1, 2))
    of_image = squares / pixels - scale_invariance * (sums / pixels).square()
    return of_image.sum() / (count > 0).sum().clamp(min=1)
