"""Checkpoints of a run: written whole, the last two kept, without a path in them."""

import re
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from medino.core import InputError, RunFolder, whole_file

CHECKPOINTS_KEPT = 2
"""The last one, and the one before in case the last is found to be bad."""


class RunCheckpoint(Checkpoint):
    """Writes `checkpoints/step-NNNNNNNN.ckpt` in the run folder (`trainer.default_root_dir`).

    Lightning's own ModelCheckpoint stores its folder in each checkpoint, and a folder's name can be a person's. This
    one has no state. The name holds the number of steps that are done.

    Args:
        every_n_steps: how often; besides, a checkpoint is written when training ends.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        if every_n_steps < 1:
            raise InputError(f"checkpoints every {every_n_steps} steps can't be written; give 1 or more")
        self.every_n_steps = every_n_steps
        self.last_saved = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to mix a new run with the checkpoints of an older one."""
        run = RunFolder(Path(trainer.default_root_dir))
        if steps_done(pl_module) == 0 and not is_trial(trainer) and (older := latest_checkpoint(run)):
            raise InputError(
                f"the run folder {run.path} already holds {older.name} of an earlier run; "
                "resume from it (ckpt_path) or choose another folder"
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint where it is time."""
        steps = steps_done(pl_module)
        if steps % self.every_n_steps == 0:
            self.save(trainer, steps)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last checkpoint."""
        self.save(trainer, steps_done(pl_module))

    def save(self, trainer: pl.Trainer, steps: int) -> None:
        """Write a checkpoint, unless this step's was written or the run is only a trial (`fast_dev_run`)."""
        if is_trial(trainer) or steps == self.last_saved:
            return
        self.last_saved = steps
        folder = RunFolder(Path(trainer.default_root_dir)).checkpoints
        path = folder / f"step-{steps:08d}.ckpt"
        if trainer.is_global_zero:
            with whole_file(path) as temporary:
                trainer.save_checkpoint(temporary)
            for old in written_checkpoints(folder)[:-CHECKPOINTS_KEPT]:
                old.unlink()
        else:
            trainer.save_checkpoint(path)  # takes part in the barrier; writes nothing


def is_trial(trainer: pl.Trainer) -> bool:
    """Whether the run is only a trial (`fast_dev_run`), which leaves nothing behind."""
    return bool(getattr(trainer, "fast_dev_run", False))


def steps_done(module: pl.LightningModule) -> int:
    """The steps that a module has done: its own count where it has one, as skipped steps don't reach the trainer's."""
    return int(getattr(module, "next_step", module.global_step))


def written_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*.ckpt") if re.fullmatch(r"step-\d{8}\.ckpt", path.name))


def latest_checkpoint(run: RunFolder) -> Path | None:
    """The checkpoint to resume a run from, if there is one."""
    written = written_checkpoints(run.checkpoints)
    return written[-1] if written else None
