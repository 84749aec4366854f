"""Two processes see and do together what one would."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medino.core import RunFolder, read_provenance
from medino.ssl import koleo_loss, latest_checkpoint, sinkhorn_knopp
from tests.ssl import two_processes
from tests.ssl.two_processes import assert_same_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return two_processes.in_two_processes(two_processes.__name__, folder)


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


@pytest.fixture(scope="module")
def alone(both: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The same training in one process."""
    return two_processes.train(folder / "alone", folder / "cohort.parquet", 1)


def test_training_in_two_processes_is_training_in_one(both: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    assert sorted(alone["losses"]) == [0, 2, 3]
    for step, loss in alone["losses"].items():
        assert sum(part["losses"][step] for part in both) / 2 == pytest.approx(loss, abs=1e-5)
    assert all(torch.equal(value, both[1]["state"][name]) for name, value in both[0]["state"].items())
    assert_same_weights(both[0]["state"], alone["state"])
    start = two_processes.well_conditioned_module().state_dict()
    moved = [float((value - start[name]).abs().max()) for name, value in alone["state"].items() if "student" in name]
    assert max(moved) > 1e-3


def test_a_run_begun_by_two_processes_is_ended_by_one(alone: dict[str, Any], folder: Path) -> None:
    resumed = two_processes.train(folder / "begun by two", folder / "cohort.parquet", 1)
    assert sorted(resumed["losses"]) == [2, 3]
    assert resumed["losses"] == pytest.approx({step: alone["losses"][step] for step in (2, 3)}, abs=1e-5)
    assert_same_weights(resumed["state"], alone["state"])


def test_a_run_begun_by_one_process_is_ended_by_two(both: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    parts = [part["gone on"] for part in both]
    assert [sorted(part["losses"]) for part in parts] == [[2, 3], [2, 3]]
    for step in (2, 3):
        assert sum(part["losses"][step] for part in parts) / 2 == pytest.approx(alone["losses"][step], abs=1e-5)
    assert_same_weights(parts[0]["state"], alone["state"])


def test_koleo_of_each_process_alone_is_the_reference_and_past_images_are_there_for_both(
    both: list[dict[str, Any]],
) -> None:
    features, past = two_processes.koleo_features(), two_processes.koleo_features()[:3].flip(1)
    for part, own in zip(both, features.chunk(2), strict=True):
        torch.testing.assert_close(part["koleo alone"], koleo_loss(own))
    together = sum(float(part["koleo and past"]) for part in both) / 2
    assert together == pytest.approx(float(koleo_loss(features, past)), rel=1e-6)


def test_a_queue_holds_the_global_batch_on_both_in_the_order_of_one(both: list[dict[str, Any]]) -> None:
    tokens = torch.cat([torch.arange(24.0).view(2, 4, 3), torch.arange(24.0).view(2, 4, 3) + 100], dim=1)[:, -5:]
    expected = torch.cat([tokens.flatten(), torch.tensor([3.0, 10, 11, 12, 13])])
    for part in both:
        assert torch.equal(part["queue"], expected)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_with_everything_on_are_one(accumulate: int, both: list[dict[str, Any]], folder: Path) -> None:
    run = folder / f"alone {accumulate}"
    alone = two_processes.train_with_everything_on(run, folder / "cohort.parquet", 1, 1 if accumulate == 1 else 4)
    parts = [part[f"everything {accumulate}"] for part in both]
    assert [part["released_at"] for part in parts] == [alone["released_at"]] * 2 == [2, 2]
    for step, loss in alone["losses"].items():
        assert sum(part["losses"][step] for part in parts) / 2 == pytest.approx(loss, rel=1e-5)
    for name, value in parts[0]["state"].items():
        assert torch.equal(value, parts[1]["state"][name]), name
        if not name.endswith("qkv.bias") and value.is_floating_point():
            assert float((value - alone["state"][name]).abs().max()) <= 1e-5, name


def test_a_step_that_is_bad_on_one_process_is_skipped_on_both(both: list[dict[str, Any]], folder: Path) -> None:
    for part in both:
        assert sorted(part["losses"]) == [0, 2, 3]
        assert part["skipped"] == 1
    run = RunFolder(folder / "run")
    (row,) = run.skipped_steps.read_text().splitlines()[1:]
    assert len(row.split(",")[2].split()) == 4
    assert latest_checkpoint(run) is not None
    assert run.backbone.is_file()


def test_two_processes_watch_and_stop_as_one(both: list[dict[str, Any]], folder: Path) -> None:
    alone = two_processes.watch(folder / "watched alone", folder / "cohort.parquet", 1)
    assert alone["steps"] == 4  # a quarter of the run, and three checks in a row
    for part in both:
        assert part["watched"]["steps"] == alone["steps"]
        assert part["watched"]["best step"] == alone["best step"]
        assert part["watched"]["best value"] == pytest.approx(alone["best value"], rel=1e-3)
    assert RunFolder(folder / "watched").best_backbone.is_file()
    assert "stopped at step 4" in read_provenance(RunFolder(folder / "watched"))["stopped"]
