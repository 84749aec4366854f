"""How far the training is, on standard error: one bar over all steps instead of Lightning's one for each epoch."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from medino.core import track


class StepProgress(pl.Callback):
    """Show training steps done, of all that are to be done, once training takes longer than two seconds.

    Args:
        description: what is being done, as the user would say it.
    """

    def __init__(self, description: str = "training steps") -> None:
        self._description = description
        self._bar: Iterator[int] | None = None
        self._counted = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting at the step that training goes on from."""
        if trainer.is_global_zero:
            self._counted = trainer.global_step
            steps = trainer.estimated_stepping_batches
            total = None if math.isinf(steps) else int(steps) - self._counted
            self._bar = track(itertools.count(), self._description, total)
            next(self._bar)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step where the batch made one (with accumulated gradients not every batch does)."""
        while self._bar is not None and self._counted < trainer.global_step:
            next(self._bar)
            self._counted += 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away before the error is printed."""
        self._close()

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None and hasattr(bar, "close"):
            bar.close()
