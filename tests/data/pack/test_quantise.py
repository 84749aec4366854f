"""Values as whole numbers: exact where they are whole numbers scaled, else within half a step."""

import numpy as np
import pytest

from medino.data.pack.quantise import LEVELS, Grid, finest_grid, own_grid


def kept(values: np.ndarray) -> np.ndarray:
    """The values after they were stored on their own grid."""
    grid = own_grid(values)
    assert grid is not None
    stored = grid.stored(values)
    assert stored.dtype in (np.uint8, np.uint16)
    return grid.physical(stored)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 255), (-1024, 3071), (-32768, 32767), (0, 65535), (2**20, 2**20 + 9), (-7, -7)]
)
def test_whole_numbers_of_16_bits_come_back_as_they_were(low: int, high: int) -> None:
    values = np.random.default_rng(0).integers(low, high, (1, 40, 50), endpoint=True).astype(np.float32)
    assert np.array_equal(kept(values), values)


# Slopes and intercepts as they stand in PET, dose, MR of one vendor, and NIfTI files.
@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(0.5, 0.0), (1.2345, 0.0), (7.3116, 0.0), (2.44140625, -1024.3), (0.0000023, 0.0), (3.1, 17.25), (0.1, -1000.0)],
)
@pytest.mark.parametrize("levels", [200, 4096, 60000])
def test_scaled_whole_numbers_come_back_as_a_reader_computes_them(slope: float, intercept: float, levels: int) -> None:
    stored = np.random.default_rng(1).integers(0, levels, (1, 64, 64))
    values = (stored * slope + intercept).astype(np.float32)
    # Two units in the last place of the largest value at most; to the bit where the shortest decimals are the file's.
    tolerance = 2 * np.spacing(np.abs(values).max())
    assert np.abs(kept(values).astype(np.float64) - values).max() <= tolerance
    if slope != 2.44140625:
        assert np.array_equal(kept(values), values)


def test_single_precision_products_come_back_to_the_bit() -> None:
    stored = np.random.default_rng(2).integers(0, 300, (1, 64, 64)).astype(np.float32)
    values = stored * np.float32(7.3116)
    assert np.array_equal(kept(values), values)


def test_values_without_a_grid_are_kept_within_half_of_the_finest_step() -> None:
    values = np.random.default_rng(3).normal(0, 1, (1, 100, 100)).astype(np.float32)
    assert own_grid(values) is None
    grid = finest_grid(values)
    assert grid.slope == pytest.approx((values.max() - values.min()) / LEVELS)
    error = np.abs(grid.physical(grid.stored(values)).astype(np.float64) - values).max()
    assert error <= grid.slope / 2 + np.spacing(np.float32(4))


def test_whole_numbers_of_more_than_16_bits_have_no_grid_of_their_own() -> None:
    values = np.random.default_rng(4).integers(0, 2**20, (1, 64, 64)).astype(np.float32)
    assert own_grid(values) is None


def test_values_beside_the_grid_go_to_its_nearest_point_and_never_beyond_16_bits() -> None:
    grid = Grid(2.0, -10.0)
    assert grid.stored(np.array([-10.0, -9.2, -8.9, 1e6, -1e6])).tolist() == [0, 0, 1, LEVELS, 0]
