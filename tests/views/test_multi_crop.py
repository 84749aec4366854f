"""Multi-crop as a whole: shapes, normalisation, box, determinism, small images, bad settings."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from medino.core import InputError, UnreadableImageError, numpy_generator
from medino.data.intensity import Intensity
from medino.data.pixels import Pixels, Window
from medino.views import IMAGENET_MEAN, IMAGENET_STD, KINDS, MultiCrop, resample, source_of

SMALL = {"global_size": 64, "local_size": 32}


def colour_image(height: int = 100, width: int = 120) -> Pixels:
    values = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0))
    return Pixels(values.float(), (0.0, 255.0))


def smooth_colours(seed: int, side: int = 120) -> Pixels:
    """Colours that change as slowly as a photograph's."""
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed)) * 200 + 25
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return Pixels(fine[0].round(), (0.0, 255.0))


def grey_image(height: int = 96, width: int = 96, **facts: object) -> Pixels:
    values = torch.randint(0, 4096, (1, height, width), generator=torch.Generator().manual_seed(0))
    return Pixels(values.float(), (0.0, 4095.0), modality="CT", **facts)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("image", [colour_image(), grey_image(), grey_image(7, 300), grey_image(2, 2)])
def test_views_have_the_right_shapes_and_range(kind: str, image: Pixels) -> None:
    views = MultiCrop(kind, **SMALL, num_local_crops=3)(image, np.random.default_rng(0))
    assert views.global_crops.shape == (2, 3, 64, 64)
    assert views.local_crops.shape == (3, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    for crops in (views.global_crops, views.local_crops):
        assert crops.dtype == torch.float32
        shown = crops * std + mean
        assert shown.isfinite().all()
        assert shown.min() >= -1e-6
        assert shown.max() <= 1 + 1e-5


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("image", [colour_image(), grey_image()])
def test_views_of_a_batch_can_be_trained_on(image: Pixels, images: int) -> None:
    make = MultiCrop("natural", **SMALL, num_local_crops=1)
    draws = [make.draw(image, np.random.default_rng(number)) for number in range(images)]
    views = make.make([source_of(image)] * images, draws)
    weight = torch.ones(4, 3, 3, 3, requires_grad=True)
    for crops in (views.global_crops, views.local_crops):
        (gradient,) = torch.autograd.grad(torch.nn.functional.conv2d(crops, weight).sum(), weight)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_address_gives_the_same_views_and_another_gives_others(kind: str) -> None:
    make, image = MultiCrop(kind, **SMALL), colour_image()
    before = image.values.clone()
    first = make(image, numpy_generator(0, "views", 3, 1))
    again = make(image, numpy_generator(0, "views", 3, 1))
    other = make(image, numpy_generator(0, "views", 3, 2))
    assert torch.equal(first.global_crops, again.global_crops)
    assert torch.equal(first.local_crops, again.local_crops)
    assert not torch.equal(first.global_crops, other.global_crops)
    assert torch.equal(image.values, before)


@pytest.mark.parametrize("kind", list(KINDS))
def test_views_are_the_same_to_the_bit_for_any_number_of_threads(kind: str) -> None:
    """Loaders' workers have one thread, the main process has several: the run must not depend on who loads."""
    make, image = MultiCrop(kind), colour_image(300, 280)
    results = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            results.append([make(image, np.random.default_rng(seed)) for seed in range(2)])
    finally:
        torch.set_num_threads(1)
    for others in results[1:]:
        for views, other in zip(results[0], others, strict=True):
            assert torch.equal(views.global_crops, other.global_crops)
            assert torch.equal(views.local_crops, other.local_crops)


def test_crops_are_taken_inside_the_valid_box() -> None:
    """Outside of the box is far from what is inside, so that a single pixel of it would show."""
    values = torch.full((1, 60, 80), 4000.0)
    values[:, 10:40, 20:70] = 1000.0
    image = Pixels(values, (0.0, 4095.0), box=(10, 20, 40, 70), modality="CT")
    make = MultiCrop("natural", **SMALL, intensity=Intensity(window="full"), mean=(0, 0, 0), std=(1, 1, 1))
    views = make(image, np.random.default_rng(0))
    for crops in (views.global_crops, views.local_crops):
        assert crops.flatten(1).std(dim=1).max() < 1e-4


def test_the_window_is_chosen_on_the_whole_image_and_jittered_for_each_view() -> None:
    image = grey_image(windows=(Window(2000, 1000),))
    intensity = Intensity(window="file")
    draws = MultiCrop("radiology", **SMALL, intensity=intensity).draw(image, np.random.default_rng(0))
    windows = [given[0] for given in draws.windows]
    assert len({window.center for window in windows}) == 10
    assert all(abs(window.center - 2000) <= 150 and 1000 / 1.5 <= window.width <= 1500 for window in windows)
    draws = MultiCrop("natural", **SMALL, intensity=intensity).draw(image, np.random.default_rng(0))
    assert set(draws.windows) == {(Window(2000, 1000),)}


@pytest.mark.parametrize("kind", list(KINDS))
def test_views_made_in_a_batch_as_on_a_gpu_are_those_made_one_by_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colours differ by the rounding of their resize, the mean by a tenth of a level; grey ones by float32's."""
    make = MultiCrop(kind, **SMALL, num_local_crops=12, mean=(0, 0, 0), std=(1, 1, 1))
    for images, largest, mean in (
        ([smooth_colours(seed) for seed in range(3)], 9 / 255, 0.3 / 255),
        ([grey_image(), grey_image(50, 70, inverted=True), grey_image(60, 50)], 2e-4, 1e-6),
    ):
        draws = [make.draw(image, np.random.default_rng(seed)) for seed, image in enumerate(images)]
        # Solarise has a step, on whose other side a level may fall.
        draws = [
            each._replace(changes=tuple(change._replace(solarise=False) for change in each.changes)) for each in draws
        ]
        sources = [source_of(image) for image in images]
        one_by_one = make.make(sources, draws)
        with monkeypatch.context() as patch:
            patch.setattr(resample, "one_by_one", lambda device: False)
            together = make.make(sources, draws)
        for name in ("global_crops", "local_crops"):
            difference = (getattr(together, name) - getattr(one_by_one, name)).abs()
            assert difference.max() < largest
            assert difference.mean() < mean


def test_a_batch_may_mix_windows_of_different_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    curves: list[Any] = ["linear", "table", "sigmoid"]
    images = [grey_image(windows=(Window(2000, 1000, curve, (0.0, 0.8, 1.0)),)) for curve in curves]
    make = MultiCrop("radiology", **SMALL, num_local_crops=3, intensity=Intensity(window="file"))
    draws = [make.draw(image, np.random.default_rng(seed)) for seed, image in enumerate(images)]
    alone = make.make([source_of(image) for image in images], draws)
    monkeypatch.setattr(resample, "one_by_one", lambda device: False)
    mixed = make.make([source_of(image) for image in images], draws)
    for name in ("global_crops", "local_crops"):
        torch.testing.assert_close(getattr(mixed, name), getattr(alone, name), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("shape", ["linear", "sigmoid", "table"])
def test_views_are_made_on_the_device_of_the_images_and_nothing_is_read_back(kind: str, shape: Any) -> None:
    """On the meta device an operation with a tensor of the CPU's fails, and so does reading a number."""
    window = Window(2000, 1000, shape, (0.0, 0.8, 1.0))
    images = [colour_image(), grey_image(windows=(window,)), grey_image(50, 70, windows=(window,), inverted=True)]
    make = MultiCrop(kind, **SMALL, num_local_crops=6, intensity=Intensity(window="file"))
    draws = [make.draw(image, np.random.default_rng(seed)) for seed, image in enumerate(images)]
    views = make.make([source_of(image).to("meta") for image in images], draws)
    assert (views.global_crops.device.type, views.local_crops.device.type) == ("meta", "meta")
    assert (views.global_crops.shape, views.local_crops.shape) == ((6, 3, 64, 64), (18, 3, 32, 32))


def test_a_batch_may_mix_colours_and_grey_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "one_by_one", lambda device: False)
    images = [colour_image(), grey_image(), colour_image(60, 50), grey_image(50, 70)]
    make = MultiCrop("histology", **SMALL, num_local_crops=3)
    draws = [make.draw(image, np.random.default_rng(seed)) for seed, image in enumerate(images)]
    mixed = make.make([source_of(image) for image in images], draws)
    for place, image in enumerate(images):
        alone = make.make([source_of(image)], [draws[place]])
        torch.testing.assert_close(mixed.global_crops[place::4], alone.global_crops, atol=1e-5, rtol=0)
        torch.testing.assert_close(mixed.local_crops[place::4], alone.local_crops, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", list(KINDS))
def test_views_of_many_images_are_those_of_each(kind: str) -> None:
    images = [colour_image(), grey_image(), grey_image(50, 70, inverted=True), colour_image(60, 50)]
    make = MultiCrop(kind, **SMALL, num_local_crops=3)
    alone = [make(image, np.random.default_rng(seed)) for seed, image in enumerate(images)]
    draws = [make.draw(image, np.random.default_rng(seed)) for seed, image in enumerate(images)]
    together = make.make([source_of(image) for image in images], draws)
    for name in ("global_crops", "local_crops"):
        stacked = torch.stack([getattr(views, name) for views in alone], dim=1).flatten(0, 1)
        assert torch.equal(getattr(together, name), stacked)


@pytest.mark.parametrize(("kind", "flips"), [("natural", True), ("radiology", False)])
def test_left_and_right_are_kept_only_where_they_matter(kind: str, flips: bool) -> None:
    ramp = Pixels(torch.linspace(0, 255, 96).expand(1, 96, 96), (0.0, 255.0), modality="CR")
    for wanted, expected in ((None, flips), (True, True), (False, False)):
        make = MultiCrop(kind, **SMALL, horizontal_flip=wanted, intensity=Intensity(window="full"))
        mirrored = 0
        for seed in range(15):
            columns = make(ramp, np.random.default_rng(seed)).local_crops.mean(dim=(1, 2))
            mirrored += int((columns[:, -8:].mean(1) < columns[:, :8].mean(1)).sum())
        if expected:
            assert stats.binomtest(mirrored, 120, 0.5).pvalue > 0.005
        else:
            assert mirrored == 0


def test_no_local_crops_give_an_empty_stack() -> None:
    views = MultiCrop(**SMALL, num_local_crops=0)(colour_image(), np.random.default_rng(0))
    assert views.local_crops.shape == (0, 3, 32, 32)


def test_an_image_of_one_row_is_refused_in_words() -> None:
    with pytest.raises(UnreadableImageError, match="1 x 50"):
        MultiCrop(**SMALL)(grey_image(1, 50), np.random.default_rng(0))
    with pytest.raises(UnreadableImageError, match="0 x 96"):
        MultiCrop(**SMALL)(grey_image(box=(5, 0, 5, 96)), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "xray"}, "radiology"),
        ({"blur": "none"}, "published, reference"),
        ({"global_scale": (0.5, 0.4)}, "global_scale"),
        ({"local_scale": (0.0, 0.4)}, "local_scale"),
        ({"local_size": 4}, "too small"),
        ({"num_local_crops": -1}, "num_local_crops"),
        ({"std": (0.2, 0.0, 0.2)}, "std"),
    ],
)
def test_settings_without_meaning_are_refused_in_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        MultiCrop(**settings)
