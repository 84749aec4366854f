"""A small archive of images and a small network, on which pretraining takes seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from PIL import Image

from medino.data import Manifest, assign_splits, scan
from medino.ssl import DINOv2, PretrainingData

TINY_BACKBONE = {"embed_dim": 24, "depth": 2, "num_heads": 2, "image_size": 32}
IMAGES = 12


def write_images(folder: Path, count: int = IMAGES, seed: int = 0, masks: Path | None = None) -> None:
    """Grey images of 40 x 40 pixels with a bright disc each, patient by the first letter of the name.

    Where a folder for masks is given, the discs are written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :40]
    for index in range(count):
        centre, radius = rng.uniform(10, 30, size=2), rng.uniform(4, 9)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        values = 60 + 120 * disc + rng.normal(0, 8, size=disc.shape)
        name = f"{'abcdef'[index % 6]}_{index:02d}.png"
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / name)
        if masks is not None:
            masks.mkdir(exist_ok=True)
            Image.fromarray(disc.astype(np.uint8)).save(masks / name)


def write_manifest(folder: Path, masks: bool = False) -> Path:
    """The small archive and its manifest, with masks of the discs if asked for."""
    of_discs = folder / "masks" if masks else None
    write_images(folder / "images", masks=of_discs)
    path = folder / "cohort.parquet"
    scan([folder / "images"], patient_pattern="([a-f])_", masks=of_discs).write(path)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The manifest of the small archive."""
    return write_manifest(tmp_path)


@pytest.fixture
def split_manifest(manifest: Path) -> Path:
    """The same with splits."""
    fractions = {"train": 0.5, "validation": 0.34, "test": 0.16}
    assign_splits(Manifest.read(manifest), fractions, seed=0).write(manifest)
    return manifest


def tiny_data(manifest: Path, **changes: Any) -> PretrainingData:
    settings: dict[str, Any] = {"batch_size": 4, "global_size": 32, "local_size": 16, "num_local_crops": 2}
    return PretrainingData(str(manifest), **(settings | changes))


def tiny_module(**changes: Any) -> DINOv2:
    settings: dict[str, Any] = {
        "backbone_settings": TINY_BACKBONE,
        "prototypes": 32,
        "head_hidden_dim": 32,
        "head_bottleneck_dim": 16,
        "drop_path_rate": 0.3,
        "base_lr": 2e-2,
        "checkpoint_every_n_steps": 1000,
    }
    return DINOv2(**(settings | changes))


class LossRecorder(pl.Callback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if "loss" in outputs:
            self.losses[batch.step] = float(outputs["loss"])


def tiny_trainer(run: Path, max_steps: int, *callbacks: pl.Callback, **changes: Any) -> pl.Trainer:
    return pl.Trainer(
        **(
            {
                "default_root_dir": run,
                "max_steps": max_steps,
                "accelerator": "cpu",
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "log_every_n_steps": 1,
                "callbacks": list(callbacks),
            }
            | changes
        )
    )


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., tuple[DINOv2, dict[int, float]]]:
    """Train the small network and give it back with its losses."""

    def train(
        manifest: Path,
        max_steps: int = 6,
        *,
        run: str = "run",
        module: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        callbacks: tuple[pl.Callback, ...] = (),
        ckpt_path: Path | None = None,
        **trainer: Any,
    ) -> tuple[DINOv2, dict[int, float]]:
        recorder, network = LossRecorder(), tiny_module(**(module or {}))
        fitting = tiny_trainer(tmp_path / run, max_steps, recorder, *callbacks, **trainer)
        fitting.fit(network, datamodule=tiny_data(manifest, **(data or {})), ckpt_path=ckpt_path, weights_only=True)
        return network, recorder.losses

    return train
