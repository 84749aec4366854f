"""Resizing keeps the aspect, the units and what is known of an image, and never enlarges."""

import numpy as np
import pytest
import torch
from PIL import Image

from medino.data import Pixels
from medino.data.pack.resize import shrink, shrink_mask, shrunk_size
from medino.data.pixels import box_around


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((3000, 2500), 512, (614, 512)),
        ((2500, 3000), 512, (512, 614)),
        ((512, 512), 512, (512, 512)),
        ((300, 4000), 512, (300, 4000)),
        ((300, 4000), None, (300, 4000)),
        ((1, 900), 512, (1, 900)),
    ],
)
def test_the_short_side_becomes_what_was_asked_for_and_small_images_stay(
    size: tuple[int, int], short_side: int | None, expected: tuple[int, int]
) -> None:
    assert shrunk_size(*size, short_side) == expected


def test_values_are_those_of_pillows_antialiased_bicubic_filter_within_the_images_range() -> None:
    values = np.random.default_rng(0).normal(0, 300, (90, 70)).astype(np.float32)
    resized = shrink(Pixels(torch.from_numpy(values)[None], (-1024.0, 3071.0)), 35)
    peer = np.asarray(Image.fromarray(values).resize((35, 45), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(resized.values[0], peer.clip(values.min(), values.max()), atol=0.05)


def test_spacing_grows_by_what_the_pixels_grow() -> None:
    resized = shrink(Pixels(torch.zeros(1, 301, 100), (0.0, 1.0), spacing=(0.5, 0.7)), 50)
    assert resized.values.shape == (1, 150, 50)
    assert resized.spacing == (0.5 * 301 / 150, 1.4)


def test_an_image_that_is_small_enough_is_the_same_object() -> None:
    pixels = Pixels(torch.zeros(1, 30, 40), (0.0, 1.0))
    assert shrink(pixels, 30) is pixels


@pytest.mark.parametrize("inverted", [False, True])
def test_padding_stays_padding_with_the_darkest_value(inverted: bool) -> None:
    valid = torch.zeros(80, 80, dtype=torch.bool)
    valid[11:70, 20:66] = True
    dark = 900.0 if inverted else -900.0
    values = torch.where(valid, torch.linspace(-900, 900, 80).expand(80, 80), dark)[None]
    resized = shrink(Pixels(values, (-1e3, 1e3), valid=valid, box=box_around(valid), inverted=inverted), 40)
    assert resized.valid is not None
    # 11 halves to 5.5: half of that pixel's area was valid.
    assert resized.box == box_around(resized.valid) == (5, 10, 35, 33)
    assert bool((resized.values[0][~resized.valid] == dark).all())


def test_masks_keep_their_numbers_and_lie_on_their_images() -> None:
    mask = torch.zeros(90, 60, dtype=torch.int64)
    mask[30:60, 20:40] = 2**40 + 1
    resized = shrink_mask(mask, 20)
    assert resized.shape == (30, 20)
    assert torch.equal(resized, mask[1::3, 1::3])
