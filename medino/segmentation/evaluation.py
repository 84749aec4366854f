"""Validation, test and prediction of a module that answers with a mask or a map: each case is measured by itself."""

from typing import Any

import pytorch_lightning as pl
import torch

from medino.segmentation.batch import SegmentationBatch
from medino.ssl.distributed import gather_objects


class EvaluatedModule(pl.LightningModule):
    """Measures each case in validation and test, and logs the means.

    Attributes:
        test_results: of the last test, case after case.
    """

    def __init__(self) -> None:
        super().__init__()
        self.test_results: list[Any] = []
        self._cases: dict[str, list[Any]] = {}

    def predicted(self, images: torch.Tensor) -> torch.Tensor:
        """What the head's answers to images (B, 3, H, W) mean, (B, H, W)."""
        raise NotImplementedError

    def measured(self, predicted: torch.Tensor, batch: SegmentationBatch) -> dict[str, list[Any]]:
        """The results of each case of a batch by sample id."""
        raise NotImplementedError

    def means_of(self, results: list[Any]) -> dict[str, float]:
        """Metrics over cases."""
        raise NotImplementedError

    def validation_step(self, batch: SegmentationBatch, batch_index: int) -> None:
        """Measure each case."""
        self._measure(batch)

    def test_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
        """Measure each case; returns what is predicted, (B, H, W)."""
        return self._measure(batch)

    def predict_step(self, batch: SegmentationBatch, batch_index: int) -> torch.Tensor:
        """What is predicted, (B, H, W), on the grid of the evaluation transform."""
        return self.predicted(batch.images)

    def on_validation_epoch_start(self) -> None:
        """Begin a list of cases."""
        self._cases = {}

    def on_validation_epoch_end(self) -> None:
        """Log the means over cases."""
        self._log_means("validation", self._gathered())

    def on_test_epoch_start(self) -> None:
        """Begin a list of cases."""
        self._cases = {}

    def on_test_epoch_end(self) -> None:
        """Log the means over cases and keep the cases in `test_results`."""
        self.test_results = self._gathered()
        self._log_means("test", self.test_results)

    def _measure(self, batch: SegmentationBatch) -> torch.Tensor:
        predicted = self.predicted(batch.images)
        self._cases |= self.measured(predicted, batch)
        return predicted

    def _gathered(self) -> list[Any]:
        """The results of all processes, each case once (Lightning's own samplers repeat cases to fill a batch)."""
        cases = {sample_id: found for part in gather_objects(self._cases) for sample_id, found in part.items()}
        return [result for found in cases.values() for result in found]

    def _log_means(self, stage: str, results: list[Any]) -> None:
        means = {f"{stage}/{name}": value for name, value in self.means_of(results).items()}
        self.log_dict(means, rank_zero_only=True)
