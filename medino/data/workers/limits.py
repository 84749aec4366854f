"""What one file may take, and how the end of the process that read it is said in words."""

import math
import signal
from dataclasses import dataclass

from medino.core import InputError


@dataclass(frozen=True)
class Limits:
    """What reading one file, or one frame of it, may take.

    Attributes:
        seconds: time by the clock. The header of a file on a slow network drive takes seconds, a slide's tissue or a
            long volume some tens; what takes two minutes is an endless loop, as far as anyone will wait to see.
        megabytes: memory on top of what the process held before. The largest frame that is read (2**28 values, see
            `medino.data.readers.failures`) takes 1 GB as float32 and in the course of it some copies in float64.
            Kept where the system tells a process its size (Linux).

    Raises:
        InputError: one of them is not above zero.
    """

    seconds: float = 120.0
    megabytes: float = 8192.0

    def __post_init__(self) -> None:
        for name, value in (("time", self.seconds), ("memory", self.megabytes)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"the {name} limit of a file is {value:g}; give a number above zero")

    @property
    def out_of_time(self) -> str:
        """The reason for a file that took too long."""
        return f"reading it takes longer than the {self.seconds:g} s that a file may take (--time_limit)"

    @property
    def out_of_memory(self) -> str:
        """The reason for a file that took too much memory."""
        return f"reading it takes more than the {self.megabytes:g} MB of memory that a file may take (--memory_limit)"

    def cause_of_death(self, exit_code: int | None) -> str:
        """Why a process ended while it read a file.

        Args:
            exit_code: as `os.waitstatus_to_exitcode` gives it (minus the signal); None where nobody saw the end.
        """
        if exit_code == -signal.SIGALRM:
            return self.out_of_time
        if exit_code in (None, -signal.SIGKILL):
            return "the system ended the process that read this file, most likely for want of memory"
        if exit_code is not None and exit_code >= 0:
            return f"the decoder left its process on this file (exit code {exit_code}): damaged, or made to do so"
        told = {signal.SIGSEGV: "segmentation fault", signal.SIGBUS: "bus error", signal.SIGABRT: "abort"}
        try:
            number = signal.Signals(-(exit_code or 0))
            name = told.get(number, number.name)
        except ValueError:
            name = f"signal {-(exit_code or 0)}"
        return f"the decoder crashed on this file ({name}): damaged, or made to do so"


def next_frame() -> None:
    """Start the time limit anew: for readers that decode many frames of one file, each of which may take its time.

    Does nothing outside of a worker.
    """
    _, seconds = signal.getitimer(signal.ITIMER_REAL)
    if seconds > 0:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
