"""Resizing of many crops against torch's and Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image

from medino.views import Crop, interleaved, resample, resize_colours, resize_crop, resize_crops

CROPS = [Crop(5, 10, 70, 60), Crop(0, 0, 90, 120), Crop(89, 3, 1, 2), Crop(20, 0, 24, 24), Crop(1, 50, 40, 70)]


@pytest.fixture
def colours() -> torch.Tensor:
    """(3, 90, 120) whole numbers, as smooth as a photograph."""
    rows, columns = torch.meshgrid(torch.linspace(0, 6, 90), torch.linspace(0, 9, 120), indexing="ij")
    waves = torch.stack((rows.sin() * columns.cos(), (rows * 1.7).cos(), (columns + rows).sin()))
    noise = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0)) * 30
    return (waves * 100 + 110 + noise).round().clamp(0, 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [24, 64, 150])
def test_many_crops_are_resized_as_each_alone(channels: int, size: int) -> None:
    image = torch.rand(channels, 90, 120, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([resize_crop(image, crop, size) for crop in CROPS])
    torch.testing.assert_close(resize_crops(image, CROPS, size), expected, atol=2e-6, rtol=0)


def test_colours_of_8_bits_are_laid_side_by_side(colours: torch.Tensor) -> None:
    for image in (colours, colours.byte(), colours.byte().permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        found = interleaved(image)
        assert found.is_contiguous()
        assert found.dtype == torch.uint8
        assert torch.equal(found.permute(2, 0, 1).float(), colours)
    # Fractions, which resized slides have, are rounded.
    fractions = torch.tensor([0.4, 200.6, 254.7])[:, None, None]
    assert interleaved(fractions).flatten().tolist() == [0, 201, 255]


def test_colours_as_a_file_has_them_are_not_copied(colours: torch.Tensor) -> None:
    side_by_side = colours.byte().permute(1, 2, 0).contiguous()
    assert interleaved(side_by_side.permute(2, 0, 1)).data_ptr() == side_by_side.data_ptr()


@pytest.mark.parametrize("size", [24, 64, 150])
def test_colours_are_resized_as_by_pillow_to_within_two_levels(colours: torch.Tensor, size: int) -> None:
    """Both round to whole levels in between; torch's weights have fewer bits."""
    found = resize_colours(interleaved(colours), CROPS, size).float()
    picture = Image.fromarray(colours.byte().permute(1, 2, 0).numpy())
    for resized, (top, left, height, width) in zip(found, CROPS, strict=True):
        part = picture.crop((left, top, left + width, top + height))
        expected = np.asarray(part.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        np.testing.assert_allclose(resized.numpy(), expected, atol=2.01)
        assert np.abs(resized.numpy() - expected).mean() < 0.3


def test_a_crop_of_a_part_of_an_image_is_resized_as_of_a_copy(colours: torch.Tensor) -> None:
    part = interleaved(colours)[7:80, 9:110]
    crops = [Crop(5, 10, 60, 50), Crop(0, 0, 73, 101)]
    assert torch.equal(resize_colours(part, crops, 24), resize_colours(part.contiguous(), crops, 24))


@pytest.mark.parametrize("size", [24, 64, 150])
def test_a_device_without_whole_numbers_resizes_colours_to_within_two_levels(
    colours: torch.Tensor, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = interleaved(colours)
    expected = resize_colours(image, CROPS, size).float()
    monkeypatch.setattr(resample, "one_by_one", lambda device: False)
    difference = (resize_colours(image, CROPS, size).float() - expected).abs()
    assert difference.max() < 2.01
    assert difference.mean() < 0.2
