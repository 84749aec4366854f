"""Two views of one scene are laid on each other."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from medino.curation.registration import Placement, aligned, likeness


@pytest.fixture(scope="module")
def tiles(shared_data: Path) -> torch.Tensor:
    """Two tiles of different tissue, (2, 128, 128)."""
    paths = [sorted((shared_data / "lc25000_lung" / kind).iterdir())[0] for kind in ("lung_n", "lung_scc")]
    images = [np.asarray(Image.open(path).convert("L").resize((128, 128)), dtype=np.float32) for path in paths]
    return torch.from_numpy(np.stack(images))


@pytest.mark.parametrize(("degrees", "zoom", "shift"), [(0, 1, 0), (6, 1.1, 0.05), (-8, 0.95, -0.06)])
def test_a_turn_a_zoom_and_a_shift_are_found(tiles: torch.Tensor, degrees: float, zoom: float, shift: float) -> None:
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), shift], [math.sin(angle), math.cos(angle), -shift]])
    turn[:, :2] /= zoom
    grid = F.affine_grid(turn[None].repeat(2, 1, 1), [2, 1, 128, 128], align_corners=False)
    moved = F.grid_sample(tiles[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    placement = Placement.at(np.eye(2)[None].repeat(2, 0))
    placement = aligned(moved, tiles, placement, blur=4, steps=10)
    placement = aligned(moved, tiles, placement, blur=1, steps=5)
    torch.testing.assert_close(placement.matrices(), turn[None].repeat(2, 1, 1), atol=0.01, rtol=0)
    assert likeness(moved, tiles, placement).min() > 0.95


def test_likeness_does_not_depend_on_brightness_and_contrast(tiles: torch.Tensor) -> None:
    placement = Placement.at(np.eye(2)[None].repeat(2, 0))
    np.testing.assert_allclose(likeness(tiles, tiles * 0.3 + 50, placement), 1, atol=1e-4)


def test_different_tissue_stays_different(tiles: torch.Tensor) -> None:
    placement = aligned(tiles, tiles.flip(0), Placement.at(np.eye(2)[None].repeat(2, 0)), blur=2, steps=10)
    assert likeness(tiles, tiles.flip(0), placement).max() < 0.3


def test_too_small_an_overlap_is_no_likeness(tiles: torch.Tensor) -> None:
    placement = Placement(torch.eye(2).repeat(2, 1, 1), torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[1.6, 0.0]] * 2))
    np.testing.assert_array_equal(likeness(tiles, tiles, placement), 0)
