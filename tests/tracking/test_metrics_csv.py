"""The metrics of a run: one row a step, whatever stops and resumes it."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from medino.core import InputError
from medino.tracking import ContinueMetrics, RunMetricsLogger, read_metrics


def test_everything_logged_at_one_step_is_one_row(tmp_path: Path) -> None:
    logger = RunMetricsLogger(tmp_path, flush_every=1)
    logger.log_metrics({"loss": torch.tensor(0.5)}, step=3)
    logger.log_metrics({"dice": 0.25}, step=3)
    logger.log_metrics({"loss": 0.125}, step=4)
    logger.finalize("success")
    with (tmp_path / "metrics.csv").open() as file:
        assert list(csv.reader(file)) == [["step", "loss", "dice"], ["3", "0.5", "0.25"], ["4", "0.125", ""]]


def test_a_column_that_comes_late_is_added_to_the_whole_file(tmp_path: Path) -> None:
    logger = RunMetricsLogger(tmp_path, flush_every=2)
    for step in range(6):
        logger.log_metrics({"loss": step} | ({"late": -step} if step >= 4 else {}), step)
    logger.finalize("success")
    table = read_metrics(tmp_path / "metrics.csv")
    np.testing.assert_array_equal(table["step"], np.arange(6))
    np.testing.assert_array_equal(table["loss"], np.arange(6))
    np.testing.assert_array_equal(table["late"], [np.nan, np.nan, np.nan, np.nan, -4, -5])


def test_a_metric_of_a_step_already_written_joins_its_row(tmp_path: Path) -> None:
    logger = RunMetricsLogger(tmp_path, flush_every=1)
    logger.log_metrics({"loss": 1, "dice": 2}, 0)
    logger.save()
    logger.log_metrics({"dice": 3}, 0)
    logger.save()
    table = read_metrics(tmp_path / "metrics.csv")
    assert (table["step"].tolist(), table["loss"].tolist(), table["dice"].tolist()) == ([0], [1], [3])


def test_rows_are_on_disk_before_the_run_ends(tmp_path: Path) -> None:
    logger = RunMetricsLogger(tmp_path, flush_every=3)
    for step in range(4):
        logger.log_metrics({"loss": step}, step)
    assert read_metrics(tmp_path / "metrics.csv")["step"].tolist() == [0, 1, 2]


def test_values_come_back_to_the_bit(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 1e-300, math.inf, -0.0]
    logger = RunMetricsLogger(tmp_path)
    for step, value in enumerate(values):
        logger.log_metrics({"loss": value}, step)
    logger.log_metrics({"loss": math.nan}, len(values))
    logger.finalize("success")
    np.testing.assert_array_equal(read_metrics(tmp_path / "metrics.csv")["loss"], [*values, np.nan])


def test_a_resumed_run_keeps_what_was_before_and_drops_what_comes_again(tmp_path: Path) -> None:
    first = RunMetricsLogger(tmp_path)
    for step in range(10):
        first.log_metrics({"loss": step}, step)
    first.finalize("failed")
    second = RunMetricsLogger(tmp_path)
    second.resume_at(6)
    for step in (6, 8):
        second.log_metrics({"loss": 100 + step}, step)
    second.finalize("success")
    table = read_metrics(tmp_path / "metrics.csv")
    assert table["step"].tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    assert table["loss"].tolist() == [0, 1, 2, 3, 4, 5, 106, 108]


def test_a_line_that_a_killed_run_left_unfinished_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n0,0.5\n1,0.12")
    logger = RunMetricsLogger(tmp_path)
    logger.log_metrics({"loss": 0.125}, 2)
    logger.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n0,0.5\n2,0.125\n"


def test_another_file_of_that_name_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("name,born\nA,1950\n")
    logger = RunMetricsLogger(tmp_path)
    with pytest.raises(InputError, match=r"not a metrics\.csv"):
        logger.resume_at(0)
    assert (tmp_path / "metrics.csv").read_text() == "name,born\nA,1950\n"


class Line(pl.LightningModule):
    """Fits one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = (self.weight - batch).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("error", (self.weight - batch).abs().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(run: Path, steps: int, resume: bool = False) -> None:
    data = DataLoader(torch.linspace(0, 1, 4), batch_size=1)
    every_four_steps = ModelCheckpoint(every_n_train_steps=4, save_top_k=-1, filename="{step}")
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=RunMetricsLogger(run, flush_every=2),
        callbacks=[ContinueMetrics(), every_four_steps],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        Line(), data, data, ckpt_path=run / "checkpoints" / "step=4.ckpt" if resume else None, weights_only=True
    )


def test_a_lightning_run_stopped_and_resumed_leaves_the_table_of_the_run_uninterrupted(tmp_path: Path) -> None:
    fit(tmp_path / "whole", 8)
    fit(tmp_path / "stopped", 6)  # stopped two steps after its checkpoint
    fit(tmp_path / "stopped", 8, resume=True)
    whole, stopped = (read_metrics(tmp_path / name / "metrics.csv") for name in ("whole", "stopped"))
    assert whole["step"].tolist() == list(range(8))
    assert set(whole) == {"step", "epoch", "loss", "error"}
    for name in whole:
        np.testing.assert_array_equal(stopped[name], whole[name])


def test_a_run_from_the_start_in_a_used_folder_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    fit(tmp_path, 6)
    fit(tmp_path, 3)
    assert read_metrics(tmp_path / "metrics.csv")["step"].tolist() == [0, 1, 2]


class SkippingLine(Line):
    """Leaves out the second step, as pretraining does where a loss is not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.next_step = 0

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.zero_grad()
        if self.next_step != 1:
            self.manual_backward(loss)
            optimizer.step()
        self.next_step += 1
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["next_step"] = self.next_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.next_step = checkpoint["next_step"]


def test_a_run_that_skipped_a_step_keeps_its_rows_when_it_is_resumed(tmp_path: Path) -> None:
    def train(epochs: int, resume: bool = False) -> pl.Trainer:
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=RunMetricsLogger(tmp_path),
            callbacks=[ContinueMetrics()],
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = DataLoader(torch.linspace(0, 1, 4), batch_size=1)
        checkpoint = tmp_path / "last.ckpt" if resume else None
        trainer.fit(SkippingLine(), data, ckpt_path=checkpoint, weights_only=True)
        return trainer

    first = train(1)
    assert first.global_step == 3  # of four
    first.save_checkpoint(tmp_path / "last.ckpt")
    train(2, resume=True)
    found = read_metrics(tmp_path / "metrics.csv")
    assert found["step"].tolist() == list(range(8))
    assert np.isfinite(found["loss"]).all()
