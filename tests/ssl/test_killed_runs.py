"""Runs of the command are killed or asked to stop anywhere, go on by themselves, and end as the run never stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def soak(*words: str) -> None:
    """In a process of its own, from which the runs are forked: no threads of other tests are in it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("case", "seed"),
    [("full", 0), ("sinkhorn", 1), ("all", 5), ("segmentation", 6)],
    ids=["in a checkpoint", "in a step", "while it is watched", "in validation"],
)
def test_a_run_killed_at_a_random_point_ends_as_the_run_never_stopped(case: str, seed: int) -> None:
    soak("--kills", "1", "--case", case, "--seed", str(seed))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_run_whose_processes_are_all_sent_a_signal_ends_its_step_and_goes_on(number: signal.Signals) -> None:
    soak("--kills", "1", "--case", "sinkhorn", "--signal", number.name)
