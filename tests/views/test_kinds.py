"""Each kind of image gets its own operations, as often as stated."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from medino.data.intensity import Intensity
from medino.data.pixels import Pixels, Window
from medino.data.windows import WINDOW_PRESETS
from medino.views import KINDS, Place, kinds
from medino.views.grey import CENTER_SHIFT, WIDTH_FACTOR

DRAWS = 1000

Counts = dict[str, int]


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Place], Counts]:
    """Run a kind often on a small crop and count which of its operations were called."""

    def count(kind: str, place: Place, **settings: Any) -> Counts:
        made = KINDS[kind](224, settings.get("blur", "published"), settings.get("flip", KINDS[kind].default_flip))
        counts: Counts = {}
        names = ("flip_horizontal", "apply_colour_jitter", "to_greyscale", "gaussian_blur", "solarise")
        with monkeypatch.context() as patch:
            for name in (*names, "adjust_gamma", "add_noise", "jitter_stain", "quarter_turns"):
                counts[name] = 0

                def counted(image: torch.Tensor, *arguments: Any, name: str = name) -> torch.Tensor:
                    counts[name] += name != "quarter_turns" or arguments[0] > 0
                    return image

                patch.setattr(kinds, name, counted)
            generator, image = np.random.default_rng(0), torch.rand(3, 8, 8)
            for _ in range(DRAWS):
                made(image, place, generator)
        return counts

    return count


def assert_share(count: int, probability: float) -> None:
    """A binomial test where chance decides, equality where it doesn't."""
    if probability in (0, 1):
        assert count == probability * DRAWS
    else:
        assert stats.binomtest(count, DRAWS, probability).pvalue > 0.005


@pytest.mark.parametrize("place", list(Place))
def test_natural_images_get_the_recipes_operations_as_often(place: Place, count_calls: Callable[..., Counts]) -> None:
    published = count_calls("natural", place)
    assert_share(published["flip_horizontal"], 0.5)
    assert_share(published["apply_colour_jitter"], 0.8)
    assert_share(published["to_greyscale"], 0.2)
    assert_share(published["gaussian_blur"], (1.0, 0.1, 0.5)[place])
    assert_share(published["solarise"], 0.2 if place is Place.SECOND_GLOBAL else 0)
    assert_share(count_calls("natural", place, blur="reference")["gaussian_blur"], (0, 0.9, 0.5)[place])
    assert_share(count_calls("natural", place, flip=False)["flip_horizontal"], 0)


@pytest.mark.parametrize("place", list(Place))
def test_radiology_gets_gamma_and_noise_and_no_colour(place: Place, count_calls: Callable[..., Counts]) -> None:
    counts = count_calls("radiology", place)
    assert_share(counts["adjust_gamma"], 0.8)
    assert_share(counts["add_noise"], 0.5)
    assert_share(counts["gaussian_blur"], (1.0, 0.1, 0.5)[place])
    for never in ("flip_horizontal", "quarter_turns", "apply_colour_jitter", "to_greyscale", "solarise"):
        assert counts[never] == 0
    assert_share(count_calls("radiology", place, flip=True)["flip_horizontal"], 0.5)


def test_histology_gets_stains_and_turns_and_no_hue(count_calls: Callable[..., Counts]) -> None:
    counts = count_calls("histology", Place.LOCAL)
    assert_share(counts["jitter_stain"], 0.8)
    assert_share(counts["quarter_turns"], 0.75)
    assert_share(counts["flip_horizontal"], 0.5)
    for never in ("apply_colour_jitter", "to_greyscale", "solarise", "add_noise"):
        assert counts[never] == 0


def test_histology_lies_in_all_eight_ways_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "JITTER_PROBABILITY", 0.0)
    histology, generator = KINDS["histology"](224, "reference", True), np.random.default_rng(0)
    image = torch.arange(36.0).reshape(1, 6, 6).expand(3, 6, 6) / 36
    found: dict[bytes, int] = {}
    for _ in range(DRAWS):
        key = histology(image, Place.FIRST_GLOBAL, generator).contiguous().numpy().tobytes()
        found[key] = found.get(key, 0) + 1
    assert len(found) == 8
    assert stats.chisquare(list(found.values())).pvalue > 0.005


@pytest.mark.parametrize(("kind", "place"), itertools.product(KINDS, Place))
def test_a_changed_crop_stays_in_range_and_its_input_as_it_was(kind: str, place: Place) -> None:
    made, generator = KINDS[kind](64, "published", True), np.random.default_rng(0)
    flat = [torch.full((3, 32, 32), value) for value in (0.0, 0.5, 1.0)]
    for image in [torch.rand(3, 32, 32), *flat]:
        before = image.clone()
        for _ in range(20):
            changed = made(image, place, generator)
            assert changed.shape == (3, 32, 32)
            assert changed.isfinite().all()
            assert changed.min() >= 0
            assert changed.max() <= 1 + 1e-6
        assert torch.equal(image, before)


def test_only_radiology_jitters_the_windows_and_keeps_several_in_order() -> None:
    windows = (Window(40, 400), Window(-600, 1500))
    assert KINDS["natural"](224, "published", True).windows(windows, np.random.default_rng(0)) == windows
    assert KINDS["histology"](224, "published", True).windows(windows, np.random.default_rng(0)) == windows
    soft, lung = KINDS["radiology"](224, "published", False).windows(windows, np.random.default_rng(0))
    assert soft.width / 400 == pytest.approx(lung.width / 1500)
    assert (soft.center - 40) / 400 == pytest.approx((lung.center + 600) / 1500)
    assert soft.width != 400


def test_the_window_jitter_of_radiology_starts_from_the_preset_of_the_body_part() -> None:
    values = torch.linspace(-1000, 1000, 64).view(1, 8, 8)
    pixels = Pixels(values, (-1024.0, 3071.0), modality="CT", body_part="HEAD")
    preset = WINDOW_PRESETS["brain"].window
    generator = np.random.default_rng(0)
    kind = KINDS["radiology"](224, "published", False)
    drawn = [kind.windows(Intensity().choose(pixels), generator)[0] for _ in range(200)]
    assert all(abs(window.center - preset.center) <= CENTER_SHIFT * preset.width for window in drawn)
    assert all(1 / WIDTH_FACTOR <= window.width / preset.width <= WIDTH_FACTOR for window in drawn)
    assert len(set(drawn)) == 200
