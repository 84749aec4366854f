"""A small phantom archive with masks, scanned and split; a trainer that writes nothing but what is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from PIL import Image

from medino.data import assign_splits, scan
from medino.data.phantom import write_phantom


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of an archive of 16 patients with two images each; masks: 0 background, 1 lung, 2 finding."""
    folder = tmp_path_factory.mktemp("phantom")
    archive = write_phantom(folder / "archive", patients=16, images_per_patient=2, size=64, seed=1)
    manifest = scan([archive.images], masks=archive.masks)
    assign_splits(manifest, {"train": 0.5, "validation": 0.2, "test": 0.3}, seed=0).write(folder / "cohort.parquet")
    return folder / "cohort.parquet"


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 24 drawn images of 64 pixels: bright squares (value 128 in the masks) and dark ones (255)."""
    folder = tmp_path_factory.mktemp("shapes")
    generator = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(24):
        image, mask = generator.normal(110, 6, (64, 64)), np.zeros((64, 64), dtype=np.uint8)
        for value, shade in ((128, 210), (255, 20)):
            top, left = generator.integers(0, 5, 2) * 8
            where = slice(top, top + 24), slice(left, left + 24)
            image[where], mask[where] = generator.normal(shade, 6, (24, 24)), value
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number:02d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:02d}.png")
    manifest = scan([folder / "images"], masks=folder / "masks")
    splits = ["train"] * 14 + ["validation"] * 4 + ["test"] * 6
    manifest.with_column("split", splits).write(folder / "cohort.parquet")
    return folder / "cohort.parquet"


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    """Makes trainers that write nothing but what is asked for."""

    def make(max_steps: int = 1, **settings: Any) -> pl.Trainer:
        defaults = {
            "default_root_dir": tmp_path,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        return pl.Trainer(max_steps=max_steps, **{**defaults, **settings})

    return make
