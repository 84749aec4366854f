import numpy as np
import pytest

from medino.core import InputError
from medino.data.volumes import arrange, normal_of
from medino.data.volumes.grid import LPS_TO_RAS, Grid, affine_of, on_even_grid, upright
from medino.data.volumes.nifti_file import compact

AXIAL = np.array([1.0, 0, 0, 0, 1, 0])


def _tilted(degrees: float) -> np.ndarray:
    """An axial plane turned about its rows."""
    angle = np.radians(degrees)
    return np.array([1.0, 0, 0, 0, np.cos(angle), -np.sin(angle)])


def test_linear_structures_survive_the_even_grid() -> None:
    heights = np.array([0.0, 4.0, 8.0, 9.0, 16.0])
    found = arrange(np.outer(heights, [0, 0, 1.0]), normal_of(AXIAL))
    values, step = on_even_grid(np.broadcast_to(heights.astype(np.float32), (2, 3, 5)), found)

    np.testing.assert_allclose(step, [0, 0, 4.0])
    np.testing.assert_allclose(values[0, 0], [0, 4, 8, 12, 16], atol=1e-5)


def test_wide_gaps_are_not_filled() -> None:
    heights = np.array([0.0, 1, 2, 3, 20])
    found = arrange(np.outer(heights, [0, 0, 1.0]), normal_of(AXIAL))

    with pytest.raises(InputError, match=r"a gap of 17\.0 mm is not filled"):
        on_even_grid(np.zeros((1, 1, 5), np.float32), found)


def test_an_upright_volume_shows_the_same_at_the_same_place() -> None:
    # A field that is linear in the patient is reproduced by linear interpolation.
    orientation, slices = _tilted(18.5), np.arange(6)
    found = arrange(np.outer(slices, [0, 0, 4.0]), normal_of(orientation))
    affine = affine_of(orientation, (0.5, 0.5), found.origin, found.step)
    index = np.stack(np.meshgrid(np.arange(40), np.arange(50), slices, indexing="ij"), axis=-1)

    def field(matrix: np.ndarray, voxels: np.ndarray) -> np.ndarray:
        return ((voxels @ matrix[:3, :3].T + matrix[:3, 3]) @ [0.3, 2.0, -1.0]).astype(np.float32)

    straight = upright(Grid(field(affine, index) + 1000, affine))
    axes = straight.affine[:3, :3] / np.linalg.norm(straight.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-7)
    shown = np.stack(np.meshgrid(*map(np.arange, straight.values.shape), indexing="ij"), axis=-1)
    inside = straight.values > straight.values.min() + 1
    inside &= np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
    assert inside.sum() > 0.8 * index[..., 0].size
    np.testing.assert_allclose(straight.values[inside] - 1000, field(straight.affine, shown)[inside], atol=2e-2)


def test_the_tilt_is_the_angle_that_the_slices_are_turned_by() -> None:
    found = arrange(np.outer(np.arange(10), [0, 0, 5.0]), normal_of(_tilted(12.0)))

    assert found.tilt == pytest.approx(12.0)
    assert found.tilted
    assert found.even


def test_patient_axes_become_those_of_nifti() -> None:
    affine = affine_of(AXIAL, (2.0, 3.0), np.array([10.0, 20, 30]), np.array([0, 0, 4.0]))

    np.testing.assert_array_equal(affine, [[-3, 0, 0, -10], [0, -2, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])
    np.testing.assert_array_equal(LPS_TO_RAS @ LPS_TO_RAS, np.eye(4))


@pytest.mark.parametrize(
    ("slope", "intercept", "bits", "low", "high"),
    [(1.0, -1024.0, 12, 0, 4096), (9.570207, 0.0, 12, 0, 4096), (0.1, 3.0, 16, 0, 65536), (2.5, 0.0, 16, -100, 100)],
)
def test_scaled_values_come_back_from_int16_the_same(
    slope: float, intercept: float, bits: int, low: int, high: int
) -> None:
    raw = np.random.default_rng(0).integers(low, high, (5, 6, 7))
    values = (raw.astype(np.float64) * slope + intercept).astype(np.float32)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if low < 0 else [0, 2**bits - 1]) * slope + intercept
    stored, found_slope, found_intercept = compact(values, (float(ends[0]), float(ends[1])), bits)

    assert stored.dtype == np.int16
    np.testing.assert_allclose(stored * found_slope + found_intercept, values, rtol=0, atol=2.4e-7 * abs(values).max())


def test_values_that_int16_would_change_stay_float32() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    stored, slope, intercept = compact(values, (-5.0, 5.0), 16)

    assert stored is values
    assert (slope, intercept) == (1.0, 0.0)
