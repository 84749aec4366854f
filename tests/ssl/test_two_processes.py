"""Two processes see and do together what one would."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from medino.core import RunFolder
from medino.ssl import koleo_loss, latest_checkpoint, sinkhorn_knopp
from tests.ssl import two_processes
from tests.ssl.conftest import write_manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    manifest = write_manifest(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [sys.executable, two_processes.__file__]
    started = [
        subprocess.Popen([*words, str(rank), port, str(folder), str(manifest)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=400)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_sinkhorn_is_that_of_the_whole_batch_however_it_is_divided(both: list[dict[str, Any]]) -> None:
    whole = sinkhorn_knopp(two_processes.logits(), 0.05)
    torch.testing.assert_close(torch.cat([part["sinkhorn"] for part in both]), whole)
    torch.testing.assert_close(both[1]["sinkhorn of one"], whole)


def test_the_centres_mean_is_that_of_the_whole_batch_however_it_is_divided(both: list[dict[str, Any]]) -> None:
    for part in both:
        torch.testing.assert_close(part["mean"], two_processes.logits().mean(dim=0, keepdim=True))


def test_koleo_looks_for_neighbours_in_both_and_gradients_reach_them(both: list[dict[str, Any]]) -> None:
    features = two_processes.koleo_features().requires_grad_()
    whole = koleo_loss(features)
    whole.backward()
    assert sum(float(part["koleo"]) for part in both) / 2 == pytest.approx(float(whole.detach()), rel=1e-6)
    # Each process's loss is the mean over its half; data parallel training averages the two gradients.
    torch.testing.assert_close(torch.cat([part["koleo gradient"] for part in both]) / 2, features.grad)


def test_training_in_two_processes_is_training_in_one(both: list[dict[str, Any]], folder: Path) -> None:
    alone = two_processes.train(folder / "alone", folder / "cohort.parquet", 1)
    for step, loss in alone["losses"].items():
        assert sum(part["losses"][step] for part in both) / 2 == pytest.approx(loss, rel=1e-4)
    start = two_processes.well_conditioned_module().state_dict()
    for name, value in both[0]["state"].items():
        assert torch.equal(value, both[1]["state"][name]), name
        if not name.endswith("qkv.bias"):  # a third of it moves by rounding alone, see test_golden_steps.py
            moved = (alone["state"][name] - start[name]).norm()
            assert float((value - alone["state"][name]).norm()) <= 0.01 * float(moved), name


def test_a_step_that_is_bad_on_one_process_is_skipped_on_both(both: list[dict[str, Any]], folder: Path) -> None:
    for part in both:
        assert sorted(part["losses"]) == [0, 2, 3]
        assert part["skipped"] == 1
    run = RunFolder(folder / "run")
    (row,) = run.skipped_steps.read_text().splitlines()[1:]
    assert len(row.split(",")[2].split()) == 4
    assert latest_checkpoint(run) is not None
    assert run.backbone.is_file()
