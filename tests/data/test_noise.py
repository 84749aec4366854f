"""The noise of an MR background is told from tissue, and tissue is not taken for it."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from sample_rows import read_frame

from medino.data.noise import noise_limit
from medino.data.windows import percentile_window


def tissue(generator: np.random.Generator, count: int) -> np.ndarray:
    parts = [generator.normal(center, 30, count // 3) for center in (250, 450, 800)]
    return np.abs(np.concatenate(parts))


@pytest.mark.parametrize("sigma", [3.0, 12.0])
@pytest.mark.parametrize("air", [6000, 30000, 120000])
def test_nearly_all_noise_and_no_tissue_lies_below_the_limit(sigma: float, air: int) -> None:
    generator = np.random.default_rng(0)
    noise, signal = generator.rayleigh(sigma, air), tissue(generator, 30000)
    limit = noise_limit(np.concatenate([noise, signal]))
    assert limit is not None
    # Dim tissue lifts the median a little.
    assert (noise <= limit).mean() > 0.998
    assert (signal <= limit).mean() < 0.001


def test_an_image_of_tissue_alone_has_no_noise_limit() -> None:
    generator = np.random.default_rng(0)
    assert noise_limit(tissue(generator, 30000)) is None
    assert noise_limit(generator.uniform(1, 1000, 30000)) is None
    assert noise_limit(np.full(50, 7.0)) is None


def test_slices_cut_out_of_the_brain_have_none(shared_data: Path) -> None:
    found = []
    for path in sorted((shared_data / "hippocampus").rglob("*.nii*"))[::4]:
        if "label" in str(path):
            continue
        volume = np.asarray(nibabel.load(path).dataobj)
        values = volume[..., volume.shape[2] // 2].ravel().astype(np.float64)
        found.append(noise_limit(values[values > values.min()]))
    assert len(found) >= 20
    assert sum(limit is not None for limit in found) <= 0.05 * len(found)


def test_the_corners_of_a_brain_series_lie_below_its_window_and_the_brain_does_not(shared_data: Path) -> None:
    for path in sorted((shared_data / "series_mr_brain").iterdir()):
        stored = dcmread(path).pixel_array
        corners = np.concatenate([stored[:12, :12].ravel(), stored[:12, -12:].ravel()])
        middle = np.percentile(stored[stored.shape[0] // 3 : -stored.shape[0] // 3], 50)
        window = percentile_window(read_frame(path), 0.5, 99.5)
        assert np.percentile(corners, 95) < window.low < 0.35 * middle
