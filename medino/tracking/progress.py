"""A training run's progress: one bar over the optimiser steps, with the loss beside it."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from medino.core import ProgressBar


class StepProgress(Callback):
    """Show how many of the training steps are done, on the first process.

    Args:
        description: what is being trained, as the user would say it.
        metric: the logged metric to show beside the bar.
    """

    def __init__(self, description: str = "training", metric: str = "train/loss") -> None:
        self.description = description
        self.metric = metric
        self._bar: ProgressBar | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if trainer.is_global_zero:
            self._bar = ProgressBar(self.description, trainer.max_steps if trainer.max_steps > 0 else None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._bar is not None:
            value = trainer.callback_metrics.get(self.metric)
            note = f"loss {float(value):.3f}" if value is not None else ""
            self._bar.update(batch_idx + 1, note)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
