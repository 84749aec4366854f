"""A training run's progress: one bar over the optimiser steps, with the loss beside it."""

import math
from typing import Any

import pytorch_lightning as pl

from medino.core import ProgressBar

LOSSES = ("loss/total", "train/loss")
"""Where medino's modules log the loss that is shown beside the bar."""


class StepProgress(pl.Callback):
    """Show how many of the training steps are done, on the first process.

    Args:
        description: what is being trained, as the user would say it.
    """

    def __init__(self, description: str = "training steps") -> None:
        self._description = description
        self._bar: ProgressBar | None = None
        self._shown = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        if trainer.is_global_zero:
            self._shown = trainer.global_step
            steps = trainer.estimated_stepping_batches
            self._bar = ProgressBar(self._description, None if math.isinf(steps) else int(steps))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar where the batch made a step (with accumulated gradients not every batch does)."""
        if self._bar is not None and trainer.global_step > self._shown:
            self._shown = trainer.global_step
            metrics = trainer.callback_metrics
            loss = next((float(metrics[name]) for name in LOSSES if name in metrics), None)
            self._bar.update(trainer.global_step, "" if loss is None else f"loss {loss:.3f}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away before the error is printed."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
