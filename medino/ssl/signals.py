"""How a run is stopped from outside: Ctrl-C, SIGTERM and SLURM's signal are noted, and heeded when the step is done."""

import os
import re
import signal
import subprocess
import threading
from types import FrameType
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import SLURMEnvironment


class StopSignals:
    """Notes the signals that ask a run to stop, so that it stops where it can be resumed from.

    In the middle of a step student, teacher and counters don't belong together; Lightning's own handler would write
    them down so. The processes that read images may receive the signal, too. Those that were forked meanwhile inherit
    the deafness, but not to SIGTERM, of which they die; torch would break off the step for that, and must not. A second
    Ctrl-C ends the process at once.

    Attributes:
        received: the first signal that came.
        requeue: the signal by which SLURM announces the end of the job's time, where there is SLURM.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.requeue: signal.Signals | None = None
        self._before: dict[int | signal.Signals, Any] = {}
        self._child_ended: Any = None

    def listen(self, trainer: pl.Trainer) -> None:
        """Begin to note; called again, it takes the place of handlers that were set since."""
        if threading.current_thread() is not threading.main_thread():
            return  # Python hears signals nowhere else
        # Private, but nothing public says what Lightning made of the environment and of the user's plugins.
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            self.requeue = environment.requeue_signal
        for number in (signal.SIGINT, signal.SIGTERM, *([self.requeue] if self.requeue else [])):
            if signal.getsignal(number) != self._note:
                before = signal.signal(number, self._note)
                self._before.setdefault(number, before)
        # Lightning puts back, at the end, what it found: handlers of before, not these.
        trainer._signal_connector._original_handlers.update(cast(Any, self._before))
        if callable(handler := heard_before(signal.getsignal(signal.SIGCHLD))):
            self._child_ended = handler
            signal.signal(signal.SIGCHLD, self._note_child)

    def restore(self) -> None:
        """Put back the handlers that were there before.

        After a run that was stopped its workers may still be dying, of which torch is not to hear: that handler goes
        back when the next run begins to listen.
        """
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._child_ended is not None and self.received is None:
            signal.signal(signal.SIGCHLD, self._child_ended)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = self.received or signal.Signals(number)

    def _note_child(self, number: int, frame: FrameType | None) -> None:
        # Also when the run is over, as Lightning may put this handler back; at the very end nobody may be left to tell.
        if self.received is None and self._child_ended is not None:
            self._child_ended(number, frame)


def heard_before(handler: Any) -> Any:
    """The handler of SIGCHLD that runs put their own before."""
    while isinstance(owner := getattr(handler, "__self__", None), StopSignals):
        handler = owner._child_ended
    return handler


def signal_name(number: signal.Signals) -> str:
    """A signal as the user would say it."""
    return "Ctrl-C" if number == signal.SIGINT else number.name


def requeue_job() -> str:
    """Ask SLURM to run this job again.

    Returns:
        What came of it, in words.
    """
    job, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{job}_{task}" if job and task else os.environ.get("SLURM_JOB_ID", "")
    if not re.fullmatch(r"[0-9_]+", name):
        return "the job has no number (SLURM_JOB_ID), so that it can't be requeued"
    try:
        answer = subprocess.run(["scontrol", "requeue", name], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"job {name} is not requeued ({error.strerror}: scontrol); submit it again"
    if answer.returncode:
        return f"job {name} is not requeued (scontrol: {' '.join(answer.stderr.split())}); submit it again"
    return f"job {name} is requeued"
