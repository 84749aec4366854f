"""`medino fit` where several processes share the blocks of a backbone."""

import subprocess
import sys
from pathlib import Path

import pytest

from medino.core import RunFolder, read_provenance
from medino.models import load_backbone
from medino.ssl import latest_checkpoint
from tests.cli.test_trainer_checks import fit

pytestmark = pytest.mark.slow


def test_two_processes_share_a_backbone_and_one_goes_on(tmp_path: Path) -> None:
    """In a process of its own: Lightning starts the second one by the words of the first."""
    program = [sys.executable, "-m", "medino.cli.main"]
    sharded = ["--trainer.strategy", "fully_sharded", "--trainer.devices", "2", "--trainer.max_steps", "2"]
    done = subprocess.run(
        [*program, *fit(tmp_path, *sharded)], check=True, timeout=300, stderr=subprocess.PIPE, text=True
    )
    assert "4 images a step, on 2 processes" in done.stderr
    run = RunFolder(tmp_path / "run")
    assert read_provenance(run)["steps"] == 2
    first = load_backbone(run.backbone).state_dict()
    subprocess.run([*program, *fit(tmp_path, "--ckpt_path", "last")], check=True, timeout=300)
    checkpoint = latest_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.name == "step-00000004.ckpt"
    gone_on = load_backbone(run.backbone).state_dict()
    assert any(bool((value != first[name]).any()) for name, value in gone_on.items())
