"""Training shows how far it is."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from medino.core import progress
from medino.tracking import StepProgress


class Line(pl.LightningModule):
    """Fits one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.weight - batch).square().mean()

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Nothing."""

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return batch

    validation_step = test_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_steps_are_counted_over_all_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    trainer = pl.Trainer(
        max_steps=5,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        callbacks=[StepProgress()],
        accumulate_grad_batches=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Line(), DataLoader(torch.linspace(0, 1, 4)))
    lines = [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("training steps")]
    assert lines == [f"training steps: {count} of 5" for count in range(1, 6)]


@pytest.mark.parametrize(("verb", "said"), [("validate", "validating"), ("test", "testing"), ("predict", "predicting")])
def test_an_evaluation_shows_how_far_it_is(
    verb: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        callbacks=[StepProgress()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    getattr(trainer, verb)(Line(), DataLoader(torch.linspace(0, 1, 3)))
    lines = [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if line.startswith(said)]
    assert lines == [f"{said} (batches): {count} of 3" for count in range(1, 4)]


def test_validation_while_training_leaves_the_bar_to_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", -1.0)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        callbacks=[StepProgress()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    loader = DataLoader(torch.linspace(0, 1, 2))
    trainer.fit(Line(), loader, loader)
    lines = [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if "of 4" in line]
    assert lines == [f"training steps: {count} of 4" for count in range(1, 5)]
