"""Two processes that keep a part of each block do what one process does that keeps all."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medino.core import RunFolder
from medino.models import load_backbone
from medino.ssl import latest_checkpoint
from tests.ssl import sharded_processes, two_processes
from tests.ssl.two_processes import assert_same_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return two_processes.in_two_processes(sharded_processes.__name__, folder)


@pytest.fixture(scope="module")
def alone(both: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The same training in one process."""
    return two_processes.train(folder / "alone", folder / "cohort.parquet", 1)


def assert_same_losses(parts: list[dict[str, Any]], losses: dict[int, float]) -> None:
    """The mean of both processes' losses is that of one, to 1e-5."""
    assert [sorted(part["losses"]) for part in parts] == [sorted(losses)] * 2
    for step, loss in losses.items():
        assert sum(part["losses"][step] for part in parts) / 2 == pytest.approx(loss, rel=1e-5)


def test_sharded_training_is_training_in_one_process(both: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    """The second step is broken on one of them, and skipped by both."""
    assert_same_losses(both, alone["losses"])
    assert [part["skipped"] for part in both] == [1, 1]
    for part in both:
        assert_same_weights(part["state"], alone["state"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_with_everything_on_it_is(accumulate: int, both: list[dict[str, Any]], folder: Path) -> None:
    run = folder / f"alone {accumulate}"
    alone = two_processes.train_with_everything_on(run, folder / "cohort.parquet", 1, 1 if accumulate == 1 else 4)
    parts = [part[f"everything {accumulate}"] for part in both]
    assert [part["released_at"] for part in parts] == [alone["released_at"]] * 2 == [2, 2]
    assert_same_losses(parts, alone["losses"])
    assert_same_weights(parts[0]["state"], alone["state"])


def test_adapters_and_what_they_leave_frozen_are_sharded_too(both: list[dict[str, Any]], folder: Path) -> None:
    manifest = folder / "cohort.parquet"
    alone = sharded_processes.train(folder / "adapters alone", manifest, 1, sharded_processes.ADAPTERS)
    parts = [part["adapters"] for part in both]
    assert_same_losses(parts, alone["losses"])
    assert_same_weights(parts[0]["state"], alone["state"])
    start = two_processes.well_conditioned_module(**sharded_processes.ADAPTERS).state_dict()
    moved = [
        name for name, value in parts[0]["state"].items() if "student.backbone" in name and (value != start[name]).any()
    ]
    assert moved
    assert all("lora_" in name or "mask_token" in name for name in moved)


@pytest.mark.parametrize("what", ["options", "bf16"])
def test_it_is_data_parallel_training(what: str, both: list[dict[str, Any]]) -> None:
    """With drop path, which each process draws for its part of the batch, blocks computed anew, and in bfloat16."""
    for part in both:
        sharded, whole = part[f"{what} sharded"], part[f"{what} ddp"]
        assert sharded["losses"] == pytest.approx(whole["losses"], rel=1e-5)
        assert_same_weights(sharded["state"], whole["state"])


@pytest.mark.parametrize("name", ["ddp then sharded", "sharded then ddp"])
def test_one_strategy_goes_on_where_the_other_was_with_its_own_kernels(
    name: str, both: list[dict[str, Any]], folder: Path
) -> None:
    """Also where whole and sharded parameters share a group, whose kernel takes one kind alone."""
    manifest = folder / "cohort.parquet"
    for steps in (2, 4):
        alone = sharded_processes.train(folder / f"{name} alone", manifest, 1, sharded_processes.ONE_RATE, steps=steps)
    for part in (part[name] for part in both):
        assert_same_weights(part["state"], alone["state"])
        assert ([False, False] in part["kernels"]) == name.endswith("sharded")
        assert [True, None] in part["kernels"]


def test_the_gradients_of_few_blocks_are_whole_at_a_time(both: list[dict[str, Any]]) -> None:
    for part in both:
        alive = part["deep"]["gradients alive"]
        assert len(alive) == 4
        assert max(alive) <= 2 < sharded_processes.DEEP["backbone_settings"]["depth"]


def test_a_module_is_sharded_once(both: list[dict[str, Any]]) -> None:
    assert all("make a new one and load its checkpoint" in part["again"] for part in both)


def test_each_process_holds_its_half_of_the_blocks(both: list[dict[str, Any]]) -> None:
    parts = [part["options sharded"] for part in both]
    for whole in (part["in all"] for part in parts):
        for number in range(2):  # of student and teacher
            assert sum(part["held"][number] for part in parts) == whole
            assert all(part["held"][number] == pytest.approx(whole / 2, rel=0.05) for part in parts)
        assert sum(part["held averages"] for part in parts) == whole
    assert both[0]["options ddp"]["held"] == [both[0]["options ddp"]["in all"]] * 2


def test_a_checkpoint_is_that_of_one_process_and_goes_on_either_way(
    both: list[dict[str, Any]], alone: dict[str, Any], folder: Path
) -> None:
    paths = [latest_checkpoint(RunFolder(folder / name)) for name in ("run", "alone")]
    sharded, whole = (torch.load(path, weights_only=True) for path in paths if path is not None)
    assert_same_weights(sharded["state_dict"], whole["state_dict"])
    assert_alike(sharded["optimizer_states"], whole["optimizer_states"])
    gone_on = [part["gone on"] for part in both]
    late = {step: alone["losses"][step] for step in (2, 3)}
    assert_same_losses(gone_on, late)
    assert_same_weights(gone_on[0]["state"], alone["state"])
    by_one = two_processes.train(folder / "begun sharded", folder / "cohort.parquet", 1)
    assert by_one["losses"] == pytest.approx(late, rel=1e-5)
    assert_same_weights(by_one["state"], alone["state"])


def assert_alike(one: Any, other: Any) -> None:
    """Equal keys and types all the way down, and numbers but for rounding."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list):
        for pair in zip(one, other, strict=True):
            assert_alike(*pair)
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["run", "adapters"])
def test_the_backbone_that_is_left_is_the_teachers(name: str, both: list[dict[str, Any]], folder: Path) -> None:
    """Adapters are merged; the best state that was watched is left, too, and so are pictures."""
    state = (both[0] if name == "run" else both[0][name])["state"]
    backbone = load_backbone(RunFolder(folder / name).backbone)
    prefix = "core.teacher.backbone."
    for key, value in backbone.state_dict().items():
        expected = state[prefix + key]
        if (low := prefix + key.replace("weight", "lora_a")) in state and key.endswith("weight"):
            scale = 16 / len(state[low])  # alpha is 16 unless told otherwise
            expected = expected + scale * state[low.replace("lora_a", "lora_b")] @ state[low]
        torch.testing.assert_close(value, expected)
    load_backbone(RunFolder(folder / name).best_backbone)
    if name == "adapters":
        assert {path.name for path in RunFolder(folder / name).figures.iterdir()} >= {"patch_maps_000002.png"}
