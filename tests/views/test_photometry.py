"""Colour operations against Pillow and colorsys; the draws against their distribution."""

import colorsys
import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from medino.views import (
    ColourJitter,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    apply_colour_jitter,
    draw_colour_jitter,
    grey_of,
    solarise,
    to_greyscale,
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
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    )
    for operation, enhance in pairs:
        expected = from_pillow(enhance(picture).enhance(factor))
        np.testing.assert_allclose(operation(image, factor).numpy(), expected, atol=1.5 * ONE_LEVEL)


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.0, 0.03, 0.1, 0.4])
def test_hue_is_colorsys_hue(image: torch.Tensor, turns: float) -> None:
    expected = np.empty(image.shape)
    for row, column in itertools.product(range(image.shape[1]), range(image.shape[2])):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[:, row, column].tolist())
        expected[:, row, column] = colorsys.hsv_to_rgb((hue + turns) % 1.0, saturation, value)
    np.testing.assert_allclose(adjust_hue(image, turns).numpy(), expected, atol=1e-5)


def test_hue_keeps_value_and_saturation(image: torch.Tensor) -> None:
    turned = adjust_hue(image, 0.1)
    torch.testing.assert_close(turned.amax(0), image.amax(0))
    torch.testing.assert_close(turned.amin(0), image.amin(0))


def test_greyscale_has_the_weights_of_bt601() -> None:
    primaries = torch.eye(3)[:, :, None]
    torch.testing.assert_close(grey_of(primaries)[0, :, 0], torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(grey_of(torch.ones(3, 2, 2)), torch.ones(1, 2, 2))
    grey = to_greyscale(torch.rand(3, 5, 5))
    assert grey.shape == (3, 5, 5)
    assert torch.equal(grey[0], grey[2])


def test_solarise_is_pillows_at_128(image: torch.Tensor) -> None:
    expected = from_pillow(ImageOps.solarize(as_pillow(image), 128))
    np.testing.assert_allclose(solarise(image).numpy(), expected, atol=1e-6)


def test_colour_jitter_follows_its_order(image: torch.Tensor) -> None:
    first = apply_colour_jitter(image, ColourJitter(1.4, 0.6, 1.2, 0.1, (0, 1, 2, 3)))
    by_hand = adjust_hue(adjust_saturation(adjust_contrast(adjust_brightness(image, 1.4), 0.6), 1.2), 0.1)
    assert torch.equal(first, by_hand)
    assert not torch.allclose(first, apply_colour_jitter(image, ColourJitter(1.4, 0.6, 1.2, 0.1, (1, 0, 3, 2))))


def test_no_operation_changes_its_input(image: torch.Tensor) -> None:
    before = image.clone()
    generator = np.random.default_rng(0)
    for _ in range(20):
        apply_colour_jitter(image, draw_colour_jitter(generator))
    for result in (solarise(image), to_greyscale(image)):
        assert result.min() >= 0
    assert torch.equal(image, before)


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
