"""A folder of small raster images as a manifest, and a backbone small enough for tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medino.data import Manifest, scan
from medino.models import PRESETS, VisionTransformer, build_backbone

MakeArchive = Callable[..., Manifest]


@pytest.fixture
def make_archive(tmp_path: Path) -> MakeArchive:
    """PNG images of random greys, one patient each; the last `broken` of them are cut off."""

    def make(images: int = 6, broken: int = 0, size: int = 40) -> Manifest:
        folder = tmp_path / "archive"
        folder.mkdir()
        generator = np.random.default_rng(0)
        for place in range(images):
            path = folder / f"patient{place}.png"
            Image.fromarray(generator.integers(0, 256, (size, size), dtype=np.uint8)).save(path)
            if place >= images - broken:
                path.write_bytes(path.read_bytes()[: size * 10])
        return scan([folder], key=tmp_path / "key", patient_pattern="(patient[0-9]+)", name="archive")

    return make


@pytest.fixture(scope="session")
def backbone() -> VisionTransformer:
    """Five thin blocks on 32 pixels."""
    return build_backbone(PRESETS["mini"].replace(embed_dim=24, depth=5, image_size=32))
