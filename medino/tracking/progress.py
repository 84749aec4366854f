"""A run's progress: one bar over the optimiser steps with the loss beside it, or over the batches of an evaluation."""

import math
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from medino.core import ProgressBar

LOSSES = ("loss/total", "train/loss")
"""Where medino's modules log the loss that is shown beside the bar."""


class StepProgress(pl.Callback):
    """Show how many of the training steps, or of an evaluation's batches, are done, on the first process.

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

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open a bar, unless training goes on meanwhile, which has its own."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._open(trainer, "validating (batches)", trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open a bar."""
        self._open(trainer, "testing (batches)", trainer.num_test_batches)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open a bar."""
        self._open(trainer, "predicting (batches)", trainer.num_predict_batches)

    def _open(self, trainer: pl.Trainer, description: str, batches: Iterable[int | float]) -> None:
        if trainer.is_global_zero:
            self._shown = 0
            self._bar = ProgressBar(description, int(sum(batches)))

    def _evaluated(self, trainer: pl.Trainer, *rest: Any, **more: Any) -> None:
        """Move the bar by a batch."""
        if self._bar is not None and trainer.state.fn != TrainerFn.FITTING:
            self._shown += 1
            self._bar.update(self._shown)

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _evaluated

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the evaluation's bar away."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._close()

    on_test_end = on_predict_end = on_train_end

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away before the error is printed."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
