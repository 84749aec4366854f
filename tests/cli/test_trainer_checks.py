"""What of the trainer does not go with medino's modules is refused, and a run that ends early says so."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.strategies import FSDPStrategy

from medino.cli.main import main
from medino.cli.trainer_checks import check_trainer, ended_early
from medino.core import InputError, RunFolder, read_provenance
from medino.ssl import Watch
from tests.ssl.conftest import TINY_BACKBONE, tiny_module, tiny_trainer, write_manifest

MODEL = {"backbone_settings": TINY_BACKBONE, "prototypes": 32, "head_hidden_dim": 32, "head_bottleneck_dim": 16}
DATA = {"batch_size": 4, "global_size": 32, "local_size": 16, "num_local_crops": 2}


def fit(tmp_path: Path, *more: str) -> list[str]:
    """The words of a pretraining of four steps."""
    path = tmp_path / "pretraining.yaml"
    if not path.exists():
        data = {**DATA, "manifest": str(write_manifest(tmp_path))}
        settings = {
            "trainer": {"max_steps": 4, "accelerator": "cpu"},
            "model": {"class_path": "medino.ssl.DINOv2", "init_args": MODEL},
            "data": {"class_path": "medino.ssl.PretrainingData", "init_args": data},
        }
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return ["fit", "--config", str(path), "-o", str(tmp_path / "run"), *more]


def test_sharded_parameters_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a GPU, Lightning refuses the strategy by itself, before medino sees it."""
    build = LightningCLI.instantiate_trainer

    def on_a_gpu(cli: LightningCLI, **settings: Any) -> pl.Trainer:
        trainer = build(cli, **settings)
        trainer._accelerator_connector.strategy = FSDPStrategy()
        return trainer

    monkeypatch.setattr(LightningCLI, "instantiate_trainer", on_a_gpu)
    assert main(fit(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: the strategy FSDPStrategy is not supported: " in line
    assert "fully_sharded" in line
    assert not (tmp_path / "run").exists()


def test_only_pretraining_shards(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, 1, strategy="fully_sharded")
    check_trainer(trainer, tiny_module())
    with pytest.raises(InputError, match="fully_sharded is that of pretraining, and LightningModule does not know it"):
        check_trainer(trainer, pl.LightningModule())


def test_the_trainer_clips_and_accumulates_where_the_model_does_not(tmp_path: Path) -> None:
    check_trainer(tiny_trainer(tmp_path, 1, accumulate_grad_batches=2, gradient_clip_val=1.0), pl.LightningModule())


def test_a_run_that_a_limit_ends_early_says_so_and_goes_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time is up after two steps, whatever the clock says."""

    def check(timer: Timer, trainer: pl.Trainer) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == 2

    monkeypatch.setattr(Timer, "_check_time_remaining", check)
    assert main(fit(tmp_path, "--trainer.max_time", "00:00:00:01")) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "the run ended" in line]
    assert line.startswith("the run ended after 2 of 4 steps: a limit of the trainer's, such as max_time")
    assert line.endswith("give the same command with --ckpt_path last")
    assert main(fit(tmp_path, "--ckpt_path", "last")) == 0
    assert "the run ended" not in capsys.readouterr().err
    assert read_provenance(RunFolder(tmp_path / "run"))["steps"] == 4


def test_a_collapse_is_not_said_a_second_time(tmp_path: Path) -> None:
    watch = Watch()
    trainer = tiny_trainer(tmp_path, 4, watch)
    assert (ended_early(trainer, pl.LightningModule()) or "").startswith("the run ended after 0 of 4 steps")
    watch.stopped = "stopped at step 2: RankMe is low"
    assert ended_early(trainer, pl.LightningModule()) is None
