"""Random resized crop: its distribution, its resizing, flips and turns."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from medino.views import Crop, central_crop, draw_crop, lay, resize_crop


def test_area_is_uniform_and_ratio_log_uniform_where_every_crop_fits() -> None:
    generator = np.random.default_rng(0)
    # Scales up to .5 always fit a square, so nothing is drawn anew and the distribution is the plain one.
    crops = [draw_crop(2000, 2000, (0.05, 0.5), generator) for _ in range(3000)]
    areas = [crop.height * crop.width / 2000**2 for crop in crops]
    ratios = [math.log(crop.width / crop.height) for crop in crops]
    assert stats.kstest(areas, stats.uniform(0.05, 0.45).cdf).pvalue > 0.01
    reach = math.log(4 / 3)
    assert stats.kstest(ratios, stats.uniform(-reach, 2 * reach).cdf).pvalue > 0.01


def test_place_is_uniform_over_all_where_the_crop_fits() -> None:
    generator = np.random.default_rng(1)
    crops = [draw_crop(1500, 1000, (0.1, 0.2), generator) for _ in range(3000)]
    tops = [crop.top / (1500 - crop.height) for crop in crops]
    lefts = [crop.left / (1000 - crop.width) for crop in crops]
    assert stats.kstest(tops, "uniform").pvalue > 0.01
    assert stats.kstest(lefts, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 300), (300, 2), (7, 5), (224, 224)])
def test_a_crop_lies_inside_the_image(height: int, width: int) -> None:
    generator = np.random.default_rng(2)
    for _ in range(200):
        crop = draw_crop(height, width, (0.05, 1.0), generator)
        assert crop.height >= 1
        assert crop.width >= 1
        assert crop.top >= 0
        assert crop.left >= 0
        assert crop.top + crop.height <= height
        assert crop.left + crop.width <= width


def test_the_fallback_is_the_largest_allowed_rectangle_in_the_centre() -> None:
    assert central_crop(100, 100) == Crop(0, 0, 100, 100)
    assert central_crop(100, 400) == Crop(0, 133, 100, 133)
    assert central_crop(400, 100) == Crop(133, 0, 133, 100)
    # Half of so wide an image fits no ratio: all ten tries fail.
    assert draw_crop(10, 1000, (0.5, 1.0), np.random.default_rng(0)) == central_crop(10, 1000)


@pytest.mark.parametrize("size", [24, 64, 150])
def test_resizing_agrees_with_pillows_bicubic(size: int) -> None:
    image = torch.rand(1, 90, 120, generator=torch.Generator().manual_seed(0))
    crop = Crop(5, 10, 70, 60)
    part = Image.fromarray(image[0].numpy()).crop((10, 5, 70, 75))
    expected = np.asarray(part.resize((size, size), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(resize_crop(image, crop, size)[0].numpy(), expected, atol=2e-5)


def test_a_crop_of_the_wanted_size_is_only_cut_out() -> None:
    image = torch.rand(3, 40, 50)
    assert torch.equal(resize_crop(image, Crop(3, 4, 20, 20), 20), image[:, 3:23, 4:24])


def test_flips_and_turns_are_their_own_ways_back() -> None:
    image = torch.rand(3, 8, 8)
    assert torch.equal(lay(lay(image, True, 0), True, 0), image)
    assert torch.equal(lay(image, True, 0)[..., 0], image[..., -1])
    turned = image
    for _ in range(4):
        turned = lay(turned, False, 1)
    assert torch.equal(turned, image)
    np.testing.assert_array_equal(lay(image, False, 3).numpy(), np.rot90(image.numpy(), 3, (1, 2)))
    np.testing.assert_array_equal(lay(image, True, 1).numpy(), np.rot90(image.numpy()[..., ::-1], 1, (1, 2)))
