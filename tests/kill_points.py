"""The `medino` command that kills itself at a stated point: the n-th call within the k-th stay in a place.

Calls are those of Python functions, and from Python into C (a write, a rename): the run can be ended between any two.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from medino.cli.main import main as medino
from medino.ssl import RunCheckpoint

PLACES = {
    "step": ("training_step",),
    "checkpoint": ("save_checkpoint", "checkpointing.py"),
    "validation": ("validation_step",),
    "watch": ("on_train_batch_end", "watch.py"),
    "end": ("on_train_end", "recorder.py"),
}
"""Function, and the file that it is in where its name alone would not do."""


class KillPoint:
    """Counts the calls within places, and sends its process group a signal at one of them.

    Args:
        place: one of `PLACES`.
        stay: which stay in the place, from 0.
        call: which call within it, from 0; -1: none.
        number: the signal.
    """

    def __init__(self, place: str, stay: int, call: int, number: signal.Signals = signal.SIGKILL) -> None:
        self.place, self.stay, self.call, self.number = place, stay, call, number
        self.counts: dict[str, list[int]] = {name: [] for name in PLACES}
        self.inside: dict[str, FrameType] = {}
        self.process = os.getpid()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """What the interpreter calls at each call and return."""
        if event == "call":
            for name, (function, *file) in PLACES.items():
                code = frame.f_code
                if (
                    code.co_name == function
                    and "medino" in code.co_filename
                    and code.co_filename.endswith(tuple(file) or ".py")
                    and name not in self.inside
                ):
                    self.inside[name] = frame
                    self.counts[name].append(0)
        elif event == "return":
            for name in [name for name, entered in self.inside.items() if entered is frame]:
                del self.inside[name]
        if event not in ("call", "c_call"):
            return
        for name in self.inside:
            counts = self.counts[name]
            at = (name, len(counts) - 1, counts[-1]) == (self.place, self.stay, self.call)
            if at and os.getpid() == self.process:  # not in a process that reads images
                os.killpg(self.process, self.number)
            counts[-1] += 1


def run_to(point: KillPoint, words: list[str], counts: Path) -> int:
    """Run the command with a kill point set from the first training step on; returns its status.

    Args:
        point: where it ends.
        words: the command.
        counts: file for how many stays there were in each place and how many calls in each, if it lives.
    """
    ready = RunCheckpoint.on_train_start

    def set_point(self: RunCheckpoint, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        ready(self, trainer, pl_module)
        sys.setprofile(point)

    RunCheckpoint.on_train_start = set_point  # type: ignore[method-assign]
    status = medino(words)
    sys.setprofile(None)
    counts.write_text(json.dumps(point.counts), encoding="utf-8")
    return status
