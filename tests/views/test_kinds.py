"""Each kind of image gets its own operations, as often as stated."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from medino.data.intensity import Intensity
from medino.data.pixels import Pixels, Window
from medino.data.windows import WINDOW_PRESETS
from medino.views import KINDS, Change, Place, change_views, lay_views
from medino.views.grey import CENTER_SHIFT, WIDTH_FACTOR

DRAWS = 1000

Counts = dict[str, int]


def drawn_counts(kind: str, place: Place, blur: str = "published", flip: bool | None = None) -> Counts:
    """How often each change is drawn."""
    made = KINDS[kind](224, blur, KINDS[kind].default_flip if flip is None else flip)
    generator = np.random.default_rng(0)
    changes = [made.draw(place, generator) for _ in range(DRAWS)]
    absent = Change()
    return {name: sum(getattr(change, name) != getattr(absent, name) for change in changes) for name in Change._fields}


def assert_share(count: int, probability: float) -> None:
    """A binomial test where chance decides, equality where it doesn't."""
    if probability in (0, 1):
        assert count == probability * DRAWS
    else:
        assert stats.binomtest(count, DRAWS, probability).pvalue > 0.001


@pytest.mark.parametrize("place", list(Place))
def test_natural_images_get_the_recipes_operations_as_often(place: Place) -> None:
    published = drawn_counts("natural", place)
    assert_share(published["flip"], 0.5)
    assert_share(published["jitter"], 0.8)
    assert_share(published["greyscale"], 0.2)
    assert_share(published["sigma"], (1.0, 0.1, 0.5)[place])
    assert_share(published["solarise"], 0.2 if place is Place.SECOND_GLOBAL else 0)
    assert_share(drawn_counts("natural", place, blur="reference")["sigma"], (0, 0.9, 0.5)[place])
    assert_share(drawn_counts("natural", place, flip=False)["flip"], 0)
    for never in ("turns", "stain", "gamma", "noise"):
        assert published[never] == 0


@pytest.mark.parametrize("place", list(Place))
def test_radiology_gets_gamma_and_noise_and_no_colour(place: Place) -> None:
    counts = drawn_counts("radiology", place)
    assert_share(counts["gamma"], 0.8)
    assert_share(counts["noise"], 0.5)
    assert_share(counts["sigma"], (1.0, 0.1, 0.5)[place])
    for never in ("flip", "turns", "jitter", "stain", "greyscale", "solarise"):
        assert counts[never] == 0
    assert_share(drawn_counts("radiology", place, flip=True)["flip"], 0.5)


def test_histology_gets_stains_and_turns_and_no_hue() -> None:
    counts = drawn_counts("histology", Place.LOCAL)
    assert_share(counts["stain"], 0.8)
    assert_share(counts["turns"], 0.75)
    assert_share(counts["flip"], 0.5)
    for never in ("greyscale", "solarise", "gamma", "noise"):
        assert counts[never] == 0
    made, generator = KINDS["histology"](224, "published", True), np.random.default_rng(0)
    jitters = [change.jitter for change in (made.draw(Place.LOCAL, generator) for _ in range(DRAWS)) if change.jitter]
    assert len(jitters) == counts["stain"]
    assert {jitter.order for jitter in jitters} == {(0, 1)}
    for name in ("brightness", "contrast"):
        factors = [getattr(jitter, name) for jitter in jitters]
        assert stats.kstest(factors, stats.uniform(0.9, 0.2).cdf).pvalue > 0.005


def test_histology_lies_in_all_eight_ways_alike() -> None:
    histology, generator = KINDS["histology"](224, "reference", True), np.random.default_rng(0)
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    found: dict[bytes, int] = {}
    for _ in range(DRAWS):
        change = histology.draw(Place.FIRST_GLOBAL, generator)
        key = lay_views(image.clone(), [change]).numpy().tobytes()
        found[key] = found.get(key, 0) + 1
    assert len(found) == 8
    assert stats.chisquare(list(found.values())).pvalue > 0.005


@pytest.mark.parametrize(("kind", "place", "channels"), itertools.product(KINDS, Place, (1, 3)))
def test_a_changed_crop_stays_in_range(kind: str, place: Place, channels: int) -> None:
    made, generator = KINDS[kind](64, "published", True), np.random.default_rng(0)
    flat = [torch.full((channels, 32, 32), value) for value in (0.0, 0.5, 1.0)]
    images = torch.stack([torch.rand(channels, 32, 32), *flat])
    for _ in range(20):
        changes = [made.draw(place, generator) for _ in images]
        changed = change_views(lay_views(images.clone(), changes), changes)
        assert changed.shape[0] == 4
        assert changed.shape[2:] == (32, 32)
        assert changed.isfinite().all()
        assert changed.min() >= 0
        assert changed.max() <= 1 + 1e-6


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
