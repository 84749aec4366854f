"""A small phantom archive with masks, scanned and split; a trainer that writes nothing but what is asked for."""

from pathlib import Path

import pytest

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
