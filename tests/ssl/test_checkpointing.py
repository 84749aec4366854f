"""A run that is stopped, runs out of disk or finds its checkpoint damaged goes on to where it would have come."""

import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from medino.core import InputError, InterruptedRunError, RunFolder, TrainingStoppedError
from medino.data import Manifest
from medino.ssl import DINOv2, RunCheckpoint, latest_checkpoint
from medino.ssl.signals import heard_before
from tests.ssl.test_module import Killed, same_state

Train = Callable[..., tuple[DINOv2, dict[int, float]]]

STEPS = 6
EVERY_TWO = {"checkpoint_every_n_steps": 2}


class At(pl.Callback):
    """Does something in the middle of a step, when the gradients are there and nothing has moved."""

    def __init__(self, step: int, action: Callable[[], Any]) -> None:
        self.step, self.action = step, action

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module.next_step == self.step + 1:
            self.action()


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Signals are heard by the same handlers before and after; the end of a child when the next run begins."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def heard_by() -> list[Any]:
        return [*map(signal.getsignal, numbers), heard_before(signal.getsignal(signal.SIGCHLD))]

    before = heard_by()
    yield
    assert heard_by() == before


@pytest.fixture
def whole(manifest: Path, train: Train) -> DINOv2:
    """The run never stopped."""
    return train(manifest, STEPS, run="whole", module=EVERY_TWO)[0]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def names(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_run_asked_to_stop_ends_its_step_and_goes_on_from_there(
    number: signal.Signals, name: str, manifest: Path, run: RunFolder, train: Train, whole: DINOv2
) -> None:
    words = rf"stopped by {name} after step 4; the last good checkpoint is kept \(step-00000004\.ckpt\)"
    with pytest.raises(InterruptedRunError, match=words) as stopped:
        train(manifest, STEPS, callbacks=(At(3, send(number)),), module={"checkpoint_every_n_steps": 100})
    assert stopped.value.exit_status == 128 + number
    resumed, losses = train(manifest, STEPS, ckpt_path=latest_checkpoint(run))
    assert sorted(losses) == [4, 5]
    assert same_state(resumed, whole)


def test_a_signal_in_the_last_step_changes_nothing(manifest: Path, train: Train, whole: DINOv2) -> None:
    module, _ = train(manifest, STEPS, callbacks=(At(STEPS - 1, send(signal.SIGTERM)),))
    assert same_state(module, whole)


def test_a_run_that_goes_on_with_another_manifest_says_so(
    manifest: Path, run: RunFolder, train: Train, recwarn: pytest.WarningsRecorder
) -> None:
    def said() -> list[str]:
        return [str(each.message) for each in recwarn if "has changed since" in str(each.message)]

    train(manifest, 2)
    train(manifest, 3, ckpt_path=latest_checkpoint(run))
    assert said() == []
    everything = Manifest.read(manifest)
    everything.select(range(len(everything) - 1)).write(manifest)
    train(manifest, 4, ckpt_path=latest_checkpoint(run))
    assert [str(manifest) in each for each in said()] == [True]


def test_what_breaks_because_of_the_signal_is_not_said_instead_of_it(
    manifest: Path, train: Train, whole: DINOv2
) -> None:
    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("DataLoader worker is killed")

    words = r"stopped by SIGTERM in the middle of a step; .* kept \(step-00000002\.ckpt\)"
    with pytest.raises(InterruptedRunError, match=words):
        train(manifest, STEPS, callbacks=(At(3, interrupted),), module=EVERY_TWO)


SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_JOB_NAME": "adapt",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
"""What `srun` sets for a job of one task."""


def fake_scontrol(folder: Path, status: int = 0) -> None:
    """A `scontrol` that writes down what it is asked for and answers by a status."""
    folder.mkdir(exist_ok=True)
    command = folder / "scontrol"
    command.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\necho "Access denied" >&2\nexit {status}\n')
    command.chmod(0o755)


@pytest.mark.parametrize(
    ("array", "status", "asked", "said"),
    [
        ({}, 0, "requeue 1234", "job 1234 is requeued"),
        ({"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}, 0, "requeue 12_3", "job 12_3 is requeued"),
        ({}, 1, "requeue 1234", "job 1234 is not requeued (scontrol: Access denied); submit it again"),
    ],
)
def test_slurm_s_signal_ends_the_step_writes_a_checkpoint_and_requeues_the_job(
    array: dict[str, str],
    status: int,
    asked: str,
    said: str,
    manifest: Path,
    run: RunFolder,
    tmp_path: Path,
    train: Train,
    whole: DINOv2,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_scontrol(tmp_path / "bin", status)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name, value in {**SLURM, **array}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InterruptedRunError) as stopped:
        train(manifest, STEPS, callbacks=(At(2, send(signal.SIGUSR1)),))
    assert said in str(stopped.value)
    assert (tmp_path / "bin" / "asked").read_text() == f"{asked}\n"
    assert names(run) == ["step-00000003.ckpt"]
    assert not list(run.path.glob("hpc_ckpt*"))
    resumed, _ = train(manifest, STEPS, ckpt_path=latest_checkpoint(run))
    assert same_state(resumed, whole)


def test_a_full_disk_stops_the_run_in_words_and_the_last_checkpoint_is_kept(
    manifest: Path, run: RunFolder, train: Train, whole: DINOv2
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = At(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard)))
    words = r"step-00000004\.ckpt can't be written \(File too large\).*checkpoint is kept \(step-00000002\.ckpt\)"
    try:
        with pytest.raises(TrainingStoppedError, match=words):
            train(manifest, STEPS, callbacks=(fill,), module=EVERY_TWO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(run) == ["step-00000002.ckpt"]
    resumed, _ = train(manifest, STEPS, module=EVERY_TWO, ckpt_path=latest_checkpoint(run))
    assert same_state(resumed, whole)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero_a_block(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [truncate, zero_a_block, empty])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    spoil: Callable[[Path], None], manifest: Path, run: RunFolder, train: Train, whole: DINOv2
) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(manifest, STEPS, module=EVERY_TWO, callbacks=(Killed(4),))
    assert names(run) == ["step-00000002.ckpt", "step-00000004.ckpt"]
    spoil(run.checkpoints / "step-00000004.ckpt")
    with pytest.warns(UserWarning, match=r"step-00000004\.ckpt is damaged \(.*\) and passed over"):
        checkpoint = latest_checkpoint(run)
    assert checkpoint == run.checkpoints / "step-00000002.ckpt"
    resumed, _ = train(manifest, STEPS, module=EVERY_TWO, ckpt_path=checkpoint)
    assert same_state(resumed, whole)
    assert names(run) == ["step-00000004.ckpt", "step-00000006.ckpt"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert latest_checkpoint(run) == run.checkpoints / "step-00000006.ckpt"


def test_nothing_is_begun_anew_where_all_checkpoints_are_damaged(manifest: Path, run: RunFolder, train: Train) -> None:
    train(manifest, 2)
    truncate(run.checkpoints / "step-00000002.ckpt")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(InputError, match=r"no checkpoint .* can be read"):
        latest_checkpoint(run)


def test_a_run_does_not_go_on_from_before_a_later_checkpoint(manifest: Path, run: RunFolder, train: Train) -> None:
    train(manifest, 4, module=EVERY_TWO)
    with pytest.raises(InputError, match=r"already holds step-00000004\.ckpt"):
        train(manifest, 4, module=EVERY_TWO, ckpt_path=run.checkpoints / "step-00000002.ckpt")
    assert names(run) == ["step-00000002.ckpt", "step-00000004.ckpt"]


def test_what_a_killed_process_left_half_written_is_cleared_away(manifest: Path, run: RunFolder, train: Train) -> None:
    train(manifest, 2)
    (run.checkpoints / ".step-00000003.ckpt.abc.part").write_bytes(b"half")
    train(manifest, 3, ckpt_path=latest_checkpoint(run))
    assert names(run) == ["step-00000002.ckpt", "step-00000003.ckpt"]


def test_checkpoints_are_written_beside_their_place_alone(
    manifest: Path, run: RunFolder, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    opened: list[Path] = []
    save = torch.save

    def note(content: Any, file: Any) -> None:
        opened.append(Path(file.name))
        save(content, file)

    monkeypatch.setattr(torch, "save", note)
    train(manifest, 1)
    assert [path.parent for path in opened] == [run.checkpoints]
    assert not list(elsewhere.iterdir())


def test_checkpoints_every_no_steps_are_refused() -> None:
    with pytest.raises(InputError, match="checkpoints every 0 steps"):
        RunCheckpoint(0)
