"""How fast images are loaded, how fast a step is, and what memory it takes: a few of each, measured and forgotten."""

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch

from medino.core import InputError
from medino.ssl import DINOv2, PretrainingBatch, PretrainingData

STEPS = 4
"""Steps that are measured; the first is not counted, as memory is set up in it."""

MOST_SECONDS = 60.0
"""Loading is measured for this long at most."""


@dataclass(frozen=True)
class Pace:
    """What was measured.

    Attributes:
        loading: seconds from batch to batch where nothing else is done.
        step: seconds of a step whose batch is there.
        peak_bytes: the most memory that the steps took beside the networks: activations, gradients, the optimiser; None
            where the system does not say.
        workers: processes that load.
    """

    loading: float
    step: float
    peak_bytes: int | None
    workers: int

    @property
    def seconds(self) -> float:
        """Seconds of a training step: the slower of the two sets the pace where others load meanwhile."""
        return max(self.loading, self.step) if self.workers else self.loading + self.step

    @property
    def loader_sets_the_pace(self) -> bool:
        """Whether the step waits for images."""
        return self.loading > self.step


@dataclass(frozen=True)
class _Loaded:
    """Batches that are there. A list would be many loaders to Lightning."""

    batches: list[PretrainingBatch]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[PretrainingBatch]:
        return iter(self.batches)


class _Clock(pl.Callback):
    """Notes when each step ended, and the memory before the first one and at most."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.before = 0
        self.peak: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.before = reset_peak(pl_module.device)
        self.ends.append(time.perf_counter())

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        peak = peak_memory(pl_module.device)
        self.peak = None if peak is None else max(peak - self.before, 0)


def load_batches(
    data: PretrainingData, module: DINOv2, steps: int, processes: int
) -> tuple[list[PretrainingBatch], float]:
    """The first batches of a run, and the seconds from one to the next.

    Args:
        data: the images.
        module: what they are for.
        steps: of the run.
        processes: that will divide a batch; this is the part of one of them.

    Raises:
        InputError: images can't be decoded.
    """
    workers = int(data.hparams["num_workers"])
    # Workers deliver in bursts, one batch each: from the first of one burst to the first of another is a whole number.
    wanted = 1 + 2 * workers if workers else STEPS
    batches: list[PretrainingBatch] = []
    arrivals = [time.perf_counter()]
    for batch in _first(data.batches(module.backbone_config, max(steps, wanted), world_size=processes), wanted):
        if batch.failure:
            raise InputError(batch.failure)
        arrivals.append(time.perf_counter())
        if len(batches) < STEPS:
            batches.append(batch)
        if arrivals[-1] - arrivals[0] > MOST_SECONDS and len(arrivals) > 2:
            break
    if workers:
        return batches, (arrivals[-1] - arrivals[1]) / (len(arrivals) - 2)
    return batches, median(later - earlier for earlier, later in itertools.pairwise(arrivals))


def measure(module: DINOv2, data: PretrainingData, trainer: pl.Trainer, steps: int, processes: int) -> Pace:
    """Load and train a little.

    Args:
        module: is trained by a few steps, and of no use afterwards.
        data: its images; gives only the measured batches afterwards.
        trainer: for `STEPS` steps that leave nothing (`fast_dev_run`).
        steps: of the run that is planned.
        processes: that will divide a batch.
    """
    batches, loading = load_batches(data, module, steps, processes)
    while len(batches) < STEPS:
        batches.append(batches[-1])
    # What loads the batches is known; from here on they are there. Their way to the device stays the data's own.
    data.train_dataloader = lambda: _Loaded(batches)  # type: ignore[method-assign, assignment, return-value]
    # While only the heads learn a step is cheaper; most steps are of the other kind.
    module.release = None
    clock = _Clock()
    trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data)
    lasted = [later - earlier for earlier, later in zip(clock.ends[1:], clock.ends[2:], strict=False)]
    return Pace(loading, median(lasted), clock.peak, int(data.hparams["num_workers"]))


def reset_peak(device: torch.device) -> int:
    """Forget the most memory that was in use; returns what is now, bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        # Linux: 5 resets the process's highest resident size (proc(5)).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS") or 0


def peak_memory(device: torch.device) -> int | None:
    """The most memory in use since `reset_peak`, bytes; None where the system does not say."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int | None:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return None if found is None else 1024 * int(found[1])


def _first(batches: Any, count: int) -> Iterator[PretrainingBatch]:
    for place, batch in enumerate(batches, start=1):
        yield batch
        if place == count:
            return
