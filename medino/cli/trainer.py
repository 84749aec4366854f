"""The trainer that every verb uses: one run folder, CSV and W&B side by side, settings kept without private paths."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import Logger

from medino.core import RunFolder, whole_file
from medino.ssl import Precision, RunCheckpoint
from medino.tracking import ContinueMetrics, RunMetricsLogger, StepProgress, public_config, wandb_logger

CHECKPOINTS = 10
CHECKPOINT_STEPS = 500
"""A killed run of a model that brings no checkpoints of its own loses a tenth of its steps at most, and never more."""

TRAINER_DEFAULTS: dict[str, Any] = {
    # Lightning's own would store its folder in each checkpoint; the modules or the command bring `RunCheckpoint`.
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 10,
    # "warn", not True: on CUDA the bicubic resizing of the position embedding has no deterministic gradient.
    "deterministic": "warn",
    # The datamodules divide their batches over the processes themselves.
    "use_distributed_sampler": False,
}
"""Where medino's trainer differs from Lightning's."""

HINTS = (
    r".*does not have many workers",  # workers are a setting, and none is right for small images
    r"The number of training batches .* is smaller than the logging interval",
    r"Found \d+ module\(s\) in eval mode at the start of training",  # the teacher, or the frozen backbone
    r"You're resuming from a checkpoint that ended before the epoch ended",  # the samplers start at the right step
    r"`max_epochs` was not set",  # medino counts steps
    r".*LeafSpec.* is deprecated",  # Lightning's own use of torch
)
"""Warnings of Lightning's that a user can do nothing about or need not."""

PACKAGE = Path(__file__).resolve().parents[1]
"""Medino's own code. Its name alone would not do: environments lie in folders called medino, too."""

LIGHTNING_LOGS = (
    "pytorch_lightning.utilities.rank_zero",
    "lightning_fabric.utilities.rank_zero",
    "lightning_utilities.core.rank_zero",
    "lightning_fabric.utilities.seed",
    "lightning_fabric.utilities.distributed",
    "pytorch_lightning.trainer.connectors.signal_connector",  # medino hears the signals itself
    "pytorch_lightning.trainer.connectors.checkpoint_connector",
)
"""The loggers through which Lightning remarks on hardware, seeds and its makers' services."""


def quiet_lightning() -> None:
    """Keep from the terminal what Lightning remarks of itself; what medino says through it, and warnings, remain."""
    for name in LIGHTNING_LOGS:
        log = logging.getLogger(name)
        if _said_by_medino not in log.filters:
            log.addFilter(_said_by_medino)
    for message in HINTS:
        warnings.filterwarnings("ignore", message=message)


def _said_by_medino(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or Path(record.pathname).is_relative_to(PACKAGE)


def run_loggers(run: RunFolder, online: bool) -> list[Logger]:
    """A CSV logger and a W&B logger, which stays offline unless told otherwise."""
    return [RunMetricsLogger(run), wandb_logger(run, online=online)]


def write_config(run: RunFolder, settings: dict[str, Any]) -> None:
    """Write the run's settings to its `config.yaml`, paths outside the run left out."""
    with whole_file(run.config) as temporary:
        temporary.write_text(yaml.safe_dump(public_config(settings, run.path), sort_keys=False), encoding="utf-8")


class ConfigFile(SaveConfigCallback):
    """LightningCLI's own callback, writing medino's `config.yaml`: that of the training, if the run has one."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the settings of this run."""
        run = RunFolder(Path(trainer.default_root_dir))
        if stage == "fit" or not run.config.is_file():
            write_config(run, yaml.safe_load(self.parser.dump(self.config, skip_none=False)))


def add_checkpoints(trainer: Trainer) -> None:
    """Let a trainer write checkpoints of a module that does not bring `RunCheckpoint` itself.

    Given to the trainer's constructor, it would be refused: Lightning's own checkpointing is off.
    """
    every = max(1, min(CHECKPOINT_STEPS, trainer.max_steps // CHECKPOINTS))
    trainer.callbacks.append(RunCheckpoint(every))  # type: ignore[attr-defined]


def step_trainer(
    run: RunFolder,
    max_steps: int,
    precision: Precision,
    online: bool,
    description: str,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """The trainer of `adapt`: a stated number of steps on whatever accelerator is there.

    Args:
        run: where everything is written.
        max_steps: training steps.
        precision: what products are computed in.
        online: whether W&B may talk to its server.
        description: what is being trained, for the progress bar.
        callbacks: more callbacks.
    """
    quiet_lightning()
    return Trainer(
        **TRAINER_DEFAULTS,
        default_root_dir=run.path,
        max_steps=max_steps,
        precision=precision,
        accelerator="auto",
        devices=1,
        logger=run_loggers(run, online),
        callbacks=[StepProgress(description), ContinueMetrics(), *callbacks],
    )
