import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medino.core import InputError
from medino.data import Intensity, Pixels
from medino.features import EvaluationTransform
from medino.models import PRESETS

PLAIN = EvaluationTransform(size=16, intensity=Intensity(window="full"), mean=(0, 0, 0), std=(1, 1, 1))


def _pixels(height: int, width: int, **facts: object) -> Pixels:
    values = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, height, width)).astype(np.float32))
    return Pixels(values=values, full_range=(0.0, 255.0), **facts)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 40), (33, 70), (70, 33), (5, 9), (1, 40)])
def test_any_image_becomes_a_square_of_three_channels(fit: str, height: int, width: int) -> None:
    image = dataclasses.replace(PLAIN, fit=fit)(_pixels(height, width))
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.float32
    assert 0 <= image.min() <= image.max() <= 1


def test_an_image_of_the_right_size_is_only_windowed() -> None:
    pixels = _pixels(16, 16)
    torch.testing.assert_close(PLAIN(pixels), (pixels.values / 255).expand(3, -1, -1))


def test_mean_and_std_are_the_backbones() -> None:
    config = PRESETS["mini"].replace(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    transform = EvaluationTransform.for_backbone(config, intensity=Intensity(window="full"))
    image = transform(_pixels(64, 64))
    plain = dataclasses.replace(PLAIN, size=64)(_pixels(64, 64))
    torch.testing.assert_close(image[1], (plain[1] - 0.2) / 0.6)


@pytest.mark.parametrize(("preset", "size"), [("mini", 64), ("small", 224), ("giant2", 224)])
def test_the_default_size_fits_the_patch(preset: str, size: int) -> None:
    assert EvaluationTransform.for_backbone(PRESETS[preset]).size == size
    assert EvaluationTransform.for_backbone(PRESETS[preset].replace(patch_size=15)).size % 15 == 0


def test_cropping_shows_the_centre_and_padding_all_of_it() -> None:
    values = torch.zeros(1, 20, 40)
    values[..., :10] = 255
    pixels = Pixels(values=values, full_range=(0.0, 255.0))
    assert dataclasses.replace(PLAIN, size=20)(pixels).max() == 0
    padded = dataclasses.replace(PLAIN, size=40, fit="pad")(pixels)
    torch.testing.assert_close(padded[:, 10:30], (values / 255).expand(3, -1, -1))
    assert padded[:, :10].max() == padded[:, 30:].max() == 0


@pytest.mark.parametrize("size", [8, 17, 64])
def test_resizing_is_pillows_antialiased_bicubic(size: int) -> None:
    pixels = _pixels(32, 32)
    # Pillow's bicubic has a = -0.5, as PyTorch's has where it antialiases.
    expected = Image.fromarray(pixels.values[0].numpy(), mode="F").resize((size, size), Image.Resampling.BICUBIC)
    image = dataclasses.replace(PLAIN, size=size)(pixels)
    np.testing.assert_allclose(image[0].numpy(), np.clip(np.asarray(expected) / 255, 0, 1), atol=1e-4)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (96, 48), (20, 50)])
def test_a_mask_lies_where_its_image_lies(fit: str, height: int, width: int) -> None:
    transform = dataclasses.replace(PLAIN, size=32, fit=fit)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (rows - height / 2) ** 2 + (columns - width / 2 - 3) ** 2 < (height / 3) ** 2
    image = transform(Pixels(values=inside[None] * 255.0, full_range=(0.0, 255.0)))
    mask = transform.place_mask(inside.long() * 7)
    assert mask.shape == (32, 32)
    assert mask.dtype == torch.int64
    assert set(mask.unique().tolist()) == {0, 7}
    shown = image[0] > 0.5
    # Only at the edge can nearest neighbour and bicubic differ.
    assert (shown ^ (mask == 7)).sum() <= 0.06 * shown.sum() + 6


def test_large_labels_survive() -> None:
    mask = torch.full((9, 9), 2**40 + 1)
    assert dataclasses.replace(PLAIN, size=4).place_mask(mask).unique().tolist() == [2**40 + 1]


def test_spacing_follows_the_geometry() -> None:
    pixels = _pixels(40, 80, spacing=(0.5, 0.25))
    assert dataclasses.replace(PLAIN, size=20).spacing(pixels) == (1.0, 0.5)
    assert dataclasses.replace(PLAIN, size=20, fit="pad").spacing(pixels) == (2.0, 1.0)
    assert PLAIN.spacing(_pixels(40, 80)) is None


def test_the_fingerprint_is_of_all_settings_and_survives_json() -> None:
    again = json.loads(json.dumps(PLAIN.settings))
    rebuilt = EvaluationTransform(**{**again, "intensity": Intensity(**again["intensity"])})
    assert rebuilt == PLAIN
    assert rebuilt.fingerprint == PLAIN.fingerprint
    others = [
        dataclasses.replace(PLAIN, size=32),
        dataclasses.replace(PLAIN, fit="pad"),
        dataclasses.replace(PLAIN, intensity=Intensity(window="percentile")),
        dataclasses.replace(PLAIN, mean=(0, 0, 0.1)),
    ]
    assert len({PLAIN.fingerprint, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"fit": "stretch"}, "fit is 'stretch'"),
        ({"mean": (0.5,)}, "mean has not three"),
        ({"std": (1, 1, 0)}, "above 0"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(PLAIN, **settings)


@pytest.mark.parametrize("folder", ["cxr_shenzhen/images", "lc25000_lung/lung_n"])
def test_real_images_keep_their_greys(folder: str, shared_data: Path) -> None:
    path = sorted((shared_data / folder).iterdir())[0]
    values = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1).float()
    image = dataclasses.replace(PLAIN, size=56)(Pixels(values=values, full_range=(0.0, 255.0)))
    side = min(values.shape[-2:])
    top, left = ((length - side) // 2 for length in values.shape[-2:])
    centre = values[:, top : top + side, left : left + side] / 255
    torch.testing.assert_close(image.mean(dim=(1, 2)), centre.mean(dim=(1, 2)), atol=0.01, rtol=0)
