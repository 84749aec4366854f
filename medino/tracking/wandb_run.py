"""Weights & Biases through Lightning's logger: offline unless told otherwise, and without its own leaks."""

import contextlib
import logging
import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from medino.core import RunFolder
from medino.tracking.public_config import public_config

if TYPE_CHECKING:
    from wandb import Settings

WITHHELD = "withheld"
"""What W&B is given for host, user and program."""


def private_settings(online: bool = False) -> "Settings":
    """W&B's settings under which a run says nothing of the machine, the user, the command or the folder.

    By default an offline run of wandb 0.31 stores working directory, arguments, console text, host name, program path,
    git state and the installed packages. A test plants all of these and searches the bytes that are left.

    Args:
        online: send to the server, by the account that `wandb login` has set up; what is withheld stays so.
    """
    # wandb's own error reports would go to its makers; this switch is read from the environment alone.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb.Settings(
        mode="online" if online else "offline",
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        email=WITHHELD,
        host=WITHHELD,
        program=WITHHELD,
        program_relpath=WITHHELD,
        program_abspath="",
        save_code=False,
        silent=True,
        symlink=False,
        username=WITHHELD,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_executable=WITHHELD,
        x_save_requirements=False,
    )


class RunWandbLogger(WandbLogger):
    """Log to `RUN/wandb`, from where `wandb sync` can send it if the user wants that.

    Args:
        run: the run's folder.
        online: send to the W&B server while training. Off: no network, no account.
        project: W&B's name for a group of runs.
        name: W&B's name for this run; drawn by W&B if None. The folder's name is never used.
    """

    def __init__(
        self, run: str | Path, *, online: bool = False, project: str = "medino", name: str | None = None
    ) -> None:
        super().__init__(
            name=name, save_dir=str(run), project=project, offline=not online, settings=private_settings(online)
        )
        # Lightning passes this on even unset, and wandb then warns of it on the terminal.
        self._wandb_init.pop("anonymous", None)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, started at the first call."""
        if self._experiment is not None:
            return super().experiment
        with _without_debug_log():
            experiment = super().experiment
        self._remove_logs()
        return experiment

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace | None) -> None:
        """Log the settings without private paths."""
        settings = vars(params) if isinstance(params, Namespace) else params or {}
        super().log_hyperparams(public_config(settings, self.save_dir or "."))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End W&B's run, so that its file is complete when training returns."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(0 if status == "success" else 1)
            self._remove_logs()
            # A test after the fit, with the same logger, goes on under the same id.
            self._wandb_init["id"], self._experiment = self._experiment.id, None

    def _remove_logs(self) -> None:
        """W&B's debug logs name folders, and no setting turns them off."""
        log_folder = getattr(getattr(self._experiment, "settings", None), "log_dir", None)
        if log_folder is not None and Path(log_folder).resolve().is_relative_to(Path(self.save_dir or ".").resolve()):
            shutil.rmtree(log_folder, ignore_errors=True)


@contextlib.contextmanager
def _without_debug_log() -> Iterator[None]:
    """Keep W&B from writing a log of its own while it starts, and from then on.

    The log names folders and would be removed anyway; on a full disk Python's logging prints a traceback for each line
    of it that finds no room.
    """
    log = logging.getLogger("wandb")
    before = list(log.handlers)
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False
        for handler in [one for one in log.handlers if one not in before and isinstance(one, logging.FileHandler)]:
            log.removeHandler(handler)
            with contextlib.suppress(OSError):
                handler.close()


def wandb_logger(run: RunFolder | str | Path, *, online: bool = False, project: str = "medino") -> RunWandbLogger:
    """The logger that writes to `RUN/wandb` and, unless `online`, to nowhere else."""
    return RunWandbLogger(run.path if isinstance(run, RunFolder) else run, online=online, project=project)
