"""Checkpoints of a run: written whole, the last two kept, without a path in them."""

import re
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_warn

from medino.core import InputError, InterruptedRunError, RunFolder, TrainingStoppedError, whole_file
from medino.ssl.distributed import all_processes_agree, gather_objects
from medino.ssl.signals import StopSignals, requeue_job, signal_name


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it when it is on the disk.

    Lightning's own fills the memory with a second copy, writes that to the system's temporary folder, and copies it
    from there where the two are on different disks: killed in the middle, it leaves half a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            InputError: there is no room for it.
        """
        with whole_file(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # What the system said stands behind what torch makes of it.
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None


class RunCheckpoint(Checkpoint):
    """Writes `checkpoints/step-NNNNNNNN.ckpt` in the run folder (`trainer.default_root_dir`).

    Lightning's own ModelCheckpoint stores its folder in each checkpoint, and a folder's name can be a person's. This
    one has no state. The name holds the number of steps that are done. The checkpoint before it is kept, in case the
    last is found to be damaged.

    A run that is asked to stop (Ctrl-C, SIGTERM, SLURM's signal before the time is up) ends its step and writes a
    checkpoint; SLURM is then asked to run the job again.

    Args:
        every_n_steps: how often; besides, a checkpoint is written when training ends.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        if every_n_steps < 1:
            raise InputError(f"checkpoints every {every_n_steps} steps can't be written; give 1 or more")
        self.every_n_steps = every_n_steps
        self.last_saved = -1
        self.signals = StopSignals()
        self._flush = False
        self._stop: signal.Signals | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take over how checkpoints are written, and, in training, what ends the run."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpointIO()
        if stage == "fit":
            self.signals = StopSignals()
            self._stop = None
            self.signals.listen(trainer)

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning has set its own handlers since `setup`."""
        self.signals.listen(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to mix a run with the checkpoints of another; clear away what a killed process left half-written."""
        self.signals.listen(trainer)
        if is_trial(trainer):
            return
        run, steps = RunFolder(Path(trainer.default_root_dir)), steps_done(pl_module)
        later = [path for path in written_checkpoints(run.checkpoints) if steps_of(path) > steps]
        if found := next((path for path in reversed(later) if damage(path) is None), None):
            raise InputError(
                f"the run folder {run.path} already holds {found.name} of an earlier run; "
                "resume from it (ckpt_path) or choose another folder"
            )
        if trainer.is_global_zero:
            for left_over in run.checkpoints.glob(".step-*.part"):
                left_over.unlink(missing_ok=True)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Not before the metrics of the last step are logged: write them beside the checkpoint; stop if asked to."""
        if self._flush:
            for logger in trainer.loggers:
                logger.save()
            self._flush = False
        self._stop_if_asked(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint where it is time, or where the run is asked to stop."""
        steps = steps_done(pl_module)
        if steps >= trainer.max_steps > 0:
            return  # the last one comes after what the end of the run writes, so that a run killed there does it again
        self._stop = heard_by_any(self.signals.received, pl_module.device)
        if self._stop or steps % self.every_n_steps == 0:
            self.save(trainer, steps)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if asked to: the time that is left may not do for a validation."""
        self._stop_if_asked(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last checkpoint."""
        self.save(trainer, steps_done(pl_module))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Where a signal meant for the run took a part of it with it, say so instead of what broke.

        Raises:
            InterruptedRunError: a signal was received and something else went wrong for it.
        """
        self.signals.restore()
        received = self.signals.received
        if received is None or isinstance(exception, InterruptedRunError):
            return
        # Without the other processes: nobody knows where they are.
        raise self._interrupted(trainer, pl_module, received) from exception

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave signals to whoever heard them before."""
        self.signals.restore()

    def save(self, trainer: pl.Trainer, steps: int) -> None:
        """Write a checkpoint, unless this step's was written or the run is only a trial (`fast_dev_run`).

        Raises:
            TrainingStoppedError: there is no room for it; on all processes alike.
        """
        if is_trial(trainer) or steps == self.last_saved:
            return
        run = RunFolder(Path(trainer.default_root_dir))
        path = run.checkpoints / f"step-{steps:08d}.ckpt"
        problem = ""
        try:
            trainer.save_checkpoint(path)
        except InputError as error:
            problem = str(error)
            trainer.strategy.barrier("Trainer.save_checkpoint")  # the others wait there
        if problem := "".join(gather_objects(problem)):
            raise TrainingStoppedError(f"{problem}; {kept_in_words(run)}")
        self.last_saved = steps
        self._flush = True
        if trainer.is_global_zero:
            written = written_checkpoints(run.checkpoints)
            before = [other for other in written if other < path][-1:]
            for other in written:
                if other not in (path, *before):
                    other.unlink()  # older, or later and damaged: another was refused when the run started

    def _stop_if_asked(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._stop is not None:
            stopped = self._interrupted(trainer, pl_module, self._stop)
            gather_objects(None)  # a cluster may end a job when its first process ends: all wait for the requeuing
            raise stopped

    def _interrupted(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, number: signal.Signals
    ) -> InterruptedRunError:
        """What to say of a stop; asks SLURM to run the job again where its signal was the reason."""
        steps = steps_done(pl_module)
        when = f"after step {steps}" if self.last_saved == steps else "in the middle of a step"
        done = kept_in_words(RunFolder(Path(trainer.default_root_dir)))
        if number == self.signals.requeue and trainer.is_global_zero:
            done += f"; {requeue_job()}"
        return InterruptedRunError(f"stopped by {signal_name(number)} {when}; {done}", number)


def heard_by_any(received: signal.Signals | None, device: torch.device) -> signal.Signals | None:
    """The signal that a process received, on all of them alike."""
    if all_processes_agree(received is None, device):
        return received
    return next(number for number in gather_objects(received) if number)


def is_trial(trainer: pl.Trainer) -> bool:
    """Whether the run is only a trial (`fast_dev_run`), which leaves nothing behind."""
    return bool(getattr(trainer, "fast_dev_run", False))


def steps_done(module: pl.LightningModule) -> int:
    """The steps that a module has done: its own count where it has one, as skipped steps don't reach the trainer's."""
    return int(getattr(module, "next_step", module.global_step))


def written_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*.ckpt") if re.fullmatch(r"step-\d{8}\.ckpt", path.name))


def steps_of(checkpoint: Path) -> int:
    """The steps that were done when a checkpoint was written, as its name says."""
    return int(checkpoint.stem.removeprefix("step-"))


def latest_checkpoint(run: RunFolder) -> Path | None:
    """The checkpoint to resume a run from, if there is one; damaged ones are passed over with a warning.

    Raises:
        InputError: all that there are are damaged.
    """
    written = written_checkpoints(run.checkpoints)
    for path in reversed(written):
        if (why := damage(path)) is None:
            return path
        rank_zero_warn(f"the checkpoint {path} is damaged ({why}) and passed over")
    if written:
        raise InputError(f"no checkpoint in {run.checkpoints} can be read; restore one, or remove them to start anew")
    return None


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's bytes, if something is: it is read once, and its check sums are compared."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error)
    return None if broken is None else f"the check sum of {broken} is wrong"


def kept_in_words(run: RunFolder) -> str:
    """Which checkpoint a run that stops leaves to go on from."""
    written = written_checkpoints(run.checkpoints)
    return f"the last good checkpoint is kept ({written[-1].name})" if written else "no checkpoint was due"
