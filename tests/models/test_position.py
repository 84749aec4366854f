"""The position embedding is resized the way the weights were trained for."""

import numpy as np
import pytest
import torch
from PIL import Image

from medino.core import torch_generator
from medino.models import resize_position_embedding


def embedding(side: int, dim: int = 3) -> torch.Tensor:
    return torch.randn(1, 1 + side * side, dim, generator=torch_generator(0, "position"))


def test_the_native_grid_is_left_as_it_is() -> None:
    assert torch.equal(resize_position_embedding(embedding(5), (5, 5), 0.1, True), embedding(5))


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("grid", [(1, 1), (3, 9), (9, 3), (5, 7), (12, 12), (37, 16), (25, 1)])
def test_any_grid_has_its_number_of_positions(grid: tuple[int, int], offset: float, antialias: bool) -> None:
    resized = resize_position_embedding(embedding(5), grid, offset, antialias)
    assert resized.shape == (1, 1 + grid[0] * grid[1], 3)
    assert torch.equal(resized[:, 0], embedding(5)[:, 0])


def test_every_grid_up_to_ninety_is_met_in_spite_of_rounding() -> None:
    for side in (7, 14, 16, 37):
        for rows in range(1, 91):
            assert resize_position_embedding(embedding(side, 1), (rows, 2), 0.1, False).shape[1] == 1 + 2 * rows


def test_a_constant_stays_constant_and_rows_stay_rows() -> None:
    rows = torch.arange(6.0).repeat_interleave(6).reshape(1, 36, 1)
    positions = torch.cat([torch.zeros(1, 1, 1), rows], dim=1)
    resized = resize_position_embedding(positions, (4, 9), 0.0, True)[0, 1:, 0].reshape(4, 9)
    torch.testing.assert_close(resized, resized[:, :1].expand(4, 9))
    assert (resized[1:, 0] > resized[:-1, 0]).all()


def test_offset_and_antialias_change_the_result() -> None:
    results = [
        resize_position_embedding(embedding(9), (4, 6), offset, antialias)
        for offset in (0.0, 0.1)
        for antialias in (False, True)
    ]
    for i, first in enumerate(results):
        for second in results[i + 1 :]:
            assert (first - second).abs().max() > 1e-3


def test_half_precision_is_resized_in_float32() -> None:
    half = embedding(5).half()
    resized = resize_position_embedding(half, (7, 7), 0.1, False)
    assert torch.equal(resized, resize_position_embedding(half.float(), (7, 7), 0.1, False))


@pytest.mark.parametrize("grid", [(5, 6), (8, 3), (11, 13), (3, 17)])
def test_timms_way_off_the_native_grid_is_pillows_bicubic(grid: tuple[int, int]) -> None:
    # timm resizes by size with antialiasing, which PyTorch made after Pillow's: an implementation of its own.
    native = embedding(8)
    resized = resize_position_embedding(native, grid, 0.0, True)[0, 1:].unflatten(0, grid)
    for channel in range(3):
        plane = Image.fromarray(native[0, 1:, channel].reshape(8, 8).numpy())
        expected = np.asarray(plane.resize((grid[1], grid[0]), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(resized[..., channel].numpy(), expected, atol=1e-5)
