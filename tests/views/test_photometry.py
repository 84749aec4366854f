"""Colour operations against Pillow and colorsys; the draws against their distribution."""

import colorsys
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from medino.views import (
    adjust_brightness_,
    adjust_contrast_,
    adjust_hue_,
    adjust_saturation_,
    draw_colour_jitter,
    grey_of,
    solarise_,
    to_greyscale_,
)

ONE_LEVEL = 1.01 / 255
"""Pillow rounds after every operation; luma is rounded before it is used."""


@pytest.fixture
def image() -> torch.Tensor:
    levels = torch.randint(0, 256, (3, 24, 20), generator=torch.Generator().manual_seed(0))
    levels[:, 0, 0], levels[:, 0, 1], levels[:, 0, 2] = 0, 255, 128
    return levels / 255


def as_pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())


def from_pillow(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).transpose(2, 0, 1) / 255


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_brightness_contrast_and_saturation_are_pillows(image: torch.Tensor, factor: float) -> None:
    picture = as_pillow(image)
    pairs = (
        (adjust_brightness_, ImageEnhance.Brightness),
        (adjust_contrast_, ImageEnhance.Contrast),
        (adjust_saturation_, ImageEnhance.Color),
    )
    for operation, enhance in pairs:
        expected = from_pillow(enhance(picture).enhance(factor))
        np.testing.assert_allclose(operation(image.clone(), factor).numpy(), expected, atol=1.5 * ONE_LEVEL)


@pytest.mark.parametrize("turns", [-0.166, -0.1, 0.0, 0.03, 0.1, 0.16])
def test_hue_is_colorsys_hue(image: torch.Tensor, turns: float) -> None:
    expected = np.empty(image.shape)
    for row, column in itertools.product(range(image.shape[1]), range(image.shape[2])):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[:, row, column].tolist())
        expected[:, row, column] = colorsys.hsv_to_rgb((hue + turns) % 1.0, saturation, value)
    np.testing.assert_allclose(adjust_hue_(image.clone(), turns).numpy(), expected, atol=1e-5)


def test_hue_keeps_value_and_saturation(image: torch.Tensor) -> None:
    turned = adjust_hue_(image.clone(), 0.1)
    torch.testing.assert_close(turned.amax(0), image.amax(0))
    torch.testing.assert_close(turned.amin(0), image.amin(0))


def test_greyscale_has_the_weights_of_bt601() -> None:
    primaries = torch.eye(3)[:, :, None]
    torch.testing.assert_close(grey_of(primaries)[0, :, 0], torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(grey_of(torch.ones(3, 2, 2)), torch.ones(1, 2, 2))
    grey = to_greyscale_(torch.rand(3, 5, 5))
    assert grey.shape == (3, 5, 5)
    assert torch.equal(grey[0], grey[2])


def test_solarise_is_pillows_at_128(image: torch.Tensor) -> None:
    expected = from_pillow(ImageOps.solarize(as_pillow(image), 128))
    np.testing.assert_allclose(solarise_(image.clone()).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("operation", [adjust_brightness_, adjust_contrast_, adjust_saturation_, adjust_hue_])
def test_many_images_with_an_amount_each_are_as_one_by_one(operation: Callable[..., torch.Tensor]) -> None:
    images = torch.rand(4, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    amounts = [-0.1, 0.0, 0.07, 0.1] if operation is adjust_hue_ else [0.6, 1.0, 1.2, 1.4]
    one_by_one = torch.stack([operation(image.clone(), amount) for image, amount in zip(images, amounts, strict=True)])
    together = operation(images.clone(), torch.tensor(amounts).view(-1, 1, 1, 1))
    torch.testing.assert_close(together, one_by_one, atol=2e-6, rtol=0)


@pytest.mark.parametrize("operation", [adjust_brightness_, adjust_contrast_, adjust_saturation_, adjust_hue_])
def test_one_grey_channel_is_changed_as_three_alike(operation: Callable[..., torch.Tensor]) -> None:
    grey = torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(1))
    for amount in (-0.1, 0.1) if operation is adjust_hue_ else (0.7, 1.3):
        as_colours = operation(grey.repeat(3, 1, 1), amount)
        torch.testing.assert_close(operation(grey.clone(), amount).expand(3, -1, -1), as_colours, atol=1e-6, rtol=0)


def test_colour_jitter_is_drawn_as_the_recipe_says() -> None:
    generator = np.random.default_rng(0)
    draws = [draw_colour_jitter(generator) for _ in range(3000)]
    for name, middle, reach in (("brightness", 1, 0.4), ("contrast", 1, 0.4), ("saturation", 1, 0.2), ("hue", 0, 0.1)):
        values = [getattr(draw, name) for draw in draws]
        assert stats.kstest(values, stats.uniform(middle - reach, 2 * reach).cdf).pvalue > 0.01
    orders = list(itertools.permutations(range(4)))
    counts = [sum(draw.order == order for draw in draws) for order in orders]
    assert sum(counts) == len(draws)
    assert stats.chisquare(counts).pvalue > 0.01
