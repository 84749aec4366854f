"""Gaussian blur against scipy, and its range."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from medino.views import draw_blur_sigma, gaussian_blur, resample


@pytest.fixture(params=["one by one", "together"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU, and as on a GPU."""
    monkeypatch.setattr(resample, "one_by_one", lambda device: request.param == "one by one")


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 5, 9), (3, 98, 64), (2, 17, 35)])
def test_blur_is_scipys_cut_after_four_pixels(shape: tuple[int, int, int], sigma: float) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    expected = ndimage.gaussian_filter(image.double().numpy(), sigma, mode="mirror", radius=4, axes=(1, 2))
    np.testing.assert_allclose(gaussian_blur(image[None], [sigma])[0].numpy(), expected, atol=1e-6)


def test_blur_keeps_the_mean_and_a_flat_image() -> None:
    point = torch.zeros(1, 32, 32)
    point[0, 16, 16] = 1
    assert gaussian_blur(point[None], [2.0]).sum().item() == pytest.approx(1, abs=1e-6)
    flat = torch.full((3, 16, 16), 0.3)
    torch.testing.assert_close(gaussian_blur(flat[None], [1.3])[0], flat)


def test_each_image_is_blurred_by_its_own_sigma() -> None:
    images = torch.rand(3, 2, 16, 20, generator=torch.Generator().manual_seed(0))
    together = gaussian_blur(images, [0.3, 1.9, 0.8])
    for image, blurred, sigma in zip(images, together, (0.3, 1.9, 0.8), strict=True):
        assert torch.equal(blurred, gaussian_blur(image[None], [sigma])[0])


def test_sigma_is_uniform_over_the_recipes_range() -> None:
    generator = np.random.default_rng(0)
    sigmas = [draw_blur_sigma(generator) for _ in range(3000)]
    assert stats.kstest(sigmas, stats.uniform(0.1, 1.9).cdf).pvalue > 0.01
