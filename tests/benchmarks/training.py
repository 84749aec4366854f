"""One training on the CPU, as the benchmarks run it: a stated number of steps, nothing kept but the backbone."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl

from medino.cli.trainer import quiet_lightning
from medino.ssl import DINOv2, PretrainingData
from medino.tracking import StepProgress


def train(
    module: DINOv2,
    data: PretrainingData,
    run: Path,
    steps: int,
    description: str,
    callbacks: Sequence[pl.Callback] = (),
) -> float:
    """Train into the folder `run`; returns seconds."""
    quiet_lightning()
    trainer = pl.Trainer(
        default_root_dir=run,
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=[StepProgress(description), *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    started = time.monotonic()
    trainer.fit(module, datamodule=data)
    return time.monotonic() - started
