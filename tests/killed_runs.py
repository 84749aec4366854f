"""Runs that are killed and go on, beside the same run that was never stopped: both must end alike, to the bit."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

import medino.cli.lightning  # noqa: F401 - before the runs are forked
from medino.core import RunFolder
from medino.data import Manifest, assign_splits
from medino.ssl import latest_checkpoint
from medino.tracking import read_metrics
from tests.kill_points import KillPoint, run_to
from tests.ssl.conftest import TINY_BACKBONE, write_manifest

STEPS = 12

PRETRAINING: dict[str, Any] = {
    "model": {
        "class_path": "medino.ssl.DINOv2",
        "init_args": {
            "backbone_settings": TINY_BACKBONE,
            "prototypes": 32,
            "head_hidden_dim": 32,
            "head_bottleneck_dim": 16,
            "base_lr": 2e-2,
            "checkpoint_every_n_steps": 3,
        },
    },
    "data": {
        "class_path": "medino.ssl.PretrainingData",
        "init_args": {"batch_size": 4, "global_size": 32, "local_size": 16, "num_local_crops": 2},
    },
}

SEGMENTATION: dict[str, Any] = {
    "trainer": {"val_check_interval": 2, "check_val_every_n_epoch": None},
    "model": {
        "class_path": "medino.segmentation.Segmentation",
        "init_args": {"class_names": ["background", "disc"], "backbone": "mini"},
    },
    "data": {
        "class_path": "medino.segmentation.SegmentationData",
        "init_args": {"class_values": {"background": 0, "disc": 1}, "transform": {"size": 32}, "batch_size": 2},
    },
}


@dataclass(frozen=True)
class Case:
    """A run to be killed.

    Attributes:
        model: arguments of the model beside those of the tiny one.
        places: of `kill_points.PLACES`, where it may be killed.
        base: its settings.
        data: arguments of the datamodule, the same way.
    """

    model: dict[str, Any] = field(default_factory=dict)
    places: tuple[str, ...] = ("step", "checkpoint", "end")
    base: dict[str, Any] = field(default_factory=lambda: PRETRAINING)
    data: dict[str, Any] = field(default_factory=dict)


CASES = {
    "full": Case(),
    "sinkhorn": Case({"centering": "sinkhorn_knopp", "separate_ibot_head": True}, data={"num_workers": 1}),
    "lora": Case({"strategy": {"class_path": "medino.ssl.LoRA", "init_args": {"rank": 2}}}),
    "all": Case(
        {
            "strategy": {"class_path": "medino.ssl.LoRA", "init_args": {"rank": 2}},
            "heads_first": {"class_path": "medino.ssl.HeadsFirst", "init_args": {"window": 0.1, "at_most": 0.4}},
            "anchor": {"class_path": "medino.ssl.Anchor"},
            "centering": "sinkhorn_knopp",
            "sinkhorn_queue": 16,
            "koleo_queue": 8,
        },
        places=("step", "checkpoint", "watch", "end"),
    ),
    "segmentation": Case(places=("step", "checkpoint", "validation"), base=SEGMENTATION),
}


class KilledRun:
    """A run of a case that was never stopped, and as many killed ones as are asked for.

    Args:
        folder: for everything.
        case: a name of `CASES`.
    """

    def __init__(self, folder: Path, case: str) -> None:
        self.folder, self.case = folder / case, CASES[case]
        manifest = write_manifest(self.folder, masks=True)
        fractions = {"train": 0.5, "validation": 0.34, "test": 0.16}
        assign_splits(Manifest.read(manifest), fractions, seed=0).write(manifest)
        settings = json.loads(json.dumps(self.case.base))
        settings["model"]["init_args"] |= self.case.model
        settings["data"]["init_args"] |= self.case.data | {"manifest": str(manifest)}
        trainer = {"max_steps": STEPS, "accelerator": "cpu", "log_every_n_steps": 1}
        settings["trainer"] = trainer | settings.get("trainer", {})
        self.config = self.folder / "run.yaml"
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.whole = RunFolder(self.folder / "whole")
        status, said = self.start(self.whole)
        assert status == 0, said
        self.counts: dict[str, list[int]] = json.loads((self.folder / "counts.json").read_text())

    def start(self, run: RunFolder, point: KillPoint | None = None) -> tuple[int, str]:
        """Run the command, from where the run is, to its end or to a kill point; returns its status and its words."""
        words = ["fit", "--config", str(self.config), "-o", str(run.path), "--ckpt_path", "last"]
        said, counts = self.folder / "said.txt", self.folder / "counts.json"
        # Forked, so that what takes longest, the imports, is done once.
        process = multiprocessing.get_context("fork").Process(
            target=_forked, args=(point or KillPoint("none", 0, -1), words, counts, said)
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, said.read_text(encoding="utf-8", errors="replace")

    def draw(self, seed: int, number: signal.Signals) -> tuple[str, int, int]:
        """A kill point: a place, a stay there, a call within, each drawn evenly among those of the whole run.

        For a signal that is heeded at the end of a step, it is a step that is not the last.
        """
        generator = random.Random(seed)
        killed = number == signal.SIGKILL
        place = generator.choice(self.case.places) if killed else "step"
        stay = generator.randrange(len(self.counts[place]) - (not killed))
        return place, stay, generator.randrange(self.counts[place][stay])

    def kill_and_compare(self, seed: int, number: signal.Signals = signal.SIGKILL) -> tuple[str, list[str]]:
        """Kill a new run at a point drawn by the seed, let it go on, and compare it with the whole one.

        Args:
            seed: of the point.
            number: the signal that its processes get; after all but SIGKILL it must say that it stopped, and how.

        Returns:
            Where it was killed, and what differs, in words.
        """
        run = RunFolder(self.folder / f"killed-{seed}")
        place, stay, call = self.draw(seed, number)
        at = f"{place} {stay + 1} of {len(self.counts[place])}, call {call} of {self.counts[place][stay]}"
        with played_slurm(self.folder) if number == signal.SIGUSR1 else contextlib.nullcontext():
            status, said = self.start(run, KillPoint(place, stay, call, number))
        if number == signal.SIGKILL:
            stopped = status == -number
        else:
            words = ("stopped by", "--ckpt_path last", *(["job 1234 is requeued"] if number == signal.SIGUSR1 else []))
            stopped = status == 128 + number and all(word in said for word in words) and "Traceback" not in said
        if not stopped:
            return at, [f"it did not stop as it should: status {status}, it said {said}"]
        status, said = self.start(run)
        if status != 0 or "Traceback" in said:
            return at, [f"it did not go on: status {status}, it said {said}"]
        return at, differences(run, self.whole)


@contextlib.contextmanager
def played_slurm(folder: Path) -> Iterator[None]:
    """What `srun` sets for a job of one task, and a `scontrol` that writes down what it is asked for."""
    command = folder / "bin" / "scontrol"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n')
    command.chmod(0o755)
    names = ("NTASKS", "NTASKS_PER_NODE", "NNODES"), ("PROCID", "LOCALID", "NODEID")
    numbers = {f"SLURM_{name}": str(1 - index) for index, group in enumerate(names) for name in group}
    before = dict(os.environ)
    os.environ |= numbers | {"SLURM_JOB_ID": "1234", "SLURM_JOB_NAME": "adapt"}
    os.environ["PATH"] = f"{command.parent}{os.pathsep}{before['PATH']}"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _forked(point: KillPoint, words: list[str], counts: Path, said: Path) -> None:
    """Run the command in a process of its own, whose output goes into a file."""
    with said.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    point.process = os.getpid()
    os.setsid()
    sys.exit(run_to(point, words, counts))


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """In what two finished runs differ: checkpoints, backbone, metrics, files left over; nothing where all is well."""
    found = []
    checkpoints = [latest_checkpoint(run) for run in (one, other)]
    if None in checkpoints or checkpoints[0].name != checkpoints[1].name:
        return [f"the last checkpoints are {checkpoints}"]
    contents = [torch.load(path, weights_only=True) for path in checkpoints if path is not None]
    found += unequal(*contents)
    if other.backbone.is_file() and one.backbone.read_bytes() != other.backbone.read_bytes():
        found.append("backbone.safetensors")
    mine, theirs = (read_metrics(run.metrics) for run in (one, other))
    if mine.keys() != theirs.keys():
        found.append("the columns of metrics.csv")
    else:
        # The row of the step before a kill may be lost with the process, no other.
        rows = [list(theirs["step"]).index(step) for step in mine["step"]]
        if len(rows) < len(theirs["step"]) - 1:
            found.append(f"metrics.csv has the steps {mine['step']} only")
        for name, values in mine.items():
            got, wanted = torch.tensor(values), torch.tensor(theirs[name][rows])
            lost = got.isnan() & ~wanted.isnan()
            # A validation that is cut off is not repeated.
            most_lost = 1 if name.startswith("validation/") else 0
            same = torch.equal(got[~lost].nan_to_num(), wanted[~lost].nan_to_num())
            if int(lost.sum()) > most_lost or not same:
                found.append(f"{name} in metrics.csv")
    left = [path.name for path in one.path.rglob("*.part")]
    return found + ([f"left over: {left}"] if left else [])


def unequal(one: Any, other: Any, name: str = "checkpoint") -> list[str]:
    """Where two nested structures of tensors and plain values differ."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
        return [] if same else [name]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [place for key in one for place in unequal(one[key], other[key], f"{name}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [place for i, pair in enumerate(zip(one, other, strict=True)) for place in unequal(*pair, f"{name}/{i}")]
    return [] if type(one) is type(other) and one == other else [f"{name}: {one!r}, not {other!r}"[:200]]
