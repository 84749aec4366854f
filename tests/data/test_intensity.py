"""Windows are closed forms; the choice of one follows what is known of the image."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medino.core import InputError
from medino.data.intensity import Intensity, apply_window
from medino.data.pixels import Pixels, Window
from medino.data.windows import CT_BODY_PARTS, CT_CHANNELS, WINDOW_PRESETS, percentile_window

HU = (-1024.0, 3071.0)


def grey(*values: float, **facts: object) -> Pixels:
    return Pixels(torch.tensor([[values]], dtype=torch.float32), **{"full_range": HU, **facts})


def test_a_window_maps_its_ends_to_zero_and_one_and_cuts_beyond() -> None:
    image = Intensity("lung").apply(grey(-2000, -1350, -600, 150, 3000))
    assert image.shape == (3, 1, 5)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image[0, 0], torch.tensor([0, 0, 0.5, 1, 1]))
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])


@pytest.mark.parametrize("name", WINDOW_PRESETS)
def test_every_preset_is_a_window_inside_the_hounsfield_scale_with_its_source(name: str) -> None:
    preset = WINDOW_PRESETS[name]
    assert -1500 < preset.window.low < preset.window.high < 3071
    assert preset.source
    assert Intensity(name).choose(grey(0, 1)) == (preset.window,)


def test_monochrome1_is_inverted_after_windowing() -> None:
    pixels = grey(-160, 240, 1000)
    shown = Intensity("soft_tissue").apply(pixels)
    inverted = Intensity("soft_tissue").apply(dataclasses.replace(pixels, inverted=True))
    torch.testing.assert_close(inverted, 1 - shown)
    assert inverted[0, 0, 0] == 1


def test_colour_passes_by_its_full_range_whatever_the_window() -> None:
    values = torch.tensor([0.0, 32768.0, 65535.0]).view(3, 1, 1)
    image = Intensity("bone", channels="windows").apply(Pixels(values, (0.0, 65535.0)))
    torch.testing.assert_close(image.flatten(), values.flatten() / 65535)


def test_auto_takes_the_full_range_of_what_was_made_for_display() -> None:
    window = Window(10, 5)
    assert Intensity().choose(grey(0, 9, full_range=(0.0, 255.0), windows=(window,))) == (Window.between(0, 255),)
    assert Intensity().choose(grey(0, 1, full_range=(0.0, 1.0))) == (Window.between(0, 1),)


def test_auto_takes_the_files_own_first_window_before_any_other() -> None:
    windows = (Window(40, 80), Window(400, 1800))
    assert Intensity().choose(grey(0, 100, windows=windows, modality="CT")) == windows[:1]
    assert Intensity("file").choose(grey(0, 9, full_range=(0.0, 255.0), windows=windows)) == windows[:1]


def test_a_window_that_shows_none_of_the_values_is_passed_over() -> None:
    windows = (Window(-5000, 10), Window(50, 100))
    assert Intensity().choose(grey(0, 100, windows=windows, modality="MR")) == (windows[1],)


def test_auto_without_a_window_is_soft_tissue_for_ct_and_percentiles_for_the_rest() -> None:
    assert Intensity().choose(grey(-1000, 0, 1000, modality="CT")) == (WINDOW_PRESETS["soft_tissue"].window,)
    values = np.random.default_rng(0).normal(500, 100, 5000)
    pixels = grey(*[0.0] * 5000, *values)
    (window,) = Intensity().choose(dataclasses.replace(pixels, modality="MR"))
    expected = np.percentile(values.astype(np.float32), [0.5, 99.5])
    np.testing.assert_allclose([window.low, window.high], expected, rtol=1e-5)


def test_percentiles_look_at_the_valid_part_alone() -> None:
    values = torch.full((1, 4, 4), -2000.0)
    values[0, 1:3, 1:3] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    window = percentile_window(Pixels(values, HU, box=(1, 1, 3, 3)), 0, 100)
    assert (window.low, window.high) == (2.0, 4.0)


def test_percentiles_of_two_values_tell_them_apart() -> None:
    image = Intensity("percentile").apply(grey(3, 3, 3, 9, 9))
    assert image[0, 0].tolist() == [0, 0, 0, 1, 1]


def test_percentiles_of_a_large_image_are_near_those_of_all_its_values() -> None:
    values = np.random.default_rng(0).gamma(2, 100, (1, 2000, 1500)).astype(np.float32)
    window = percentile_window(Pixels(torch.from_numpy(values), HU), 0.5, 99.5)
    np.testing.assert_allclose([window.low, window.high], np.percentile(values, [0.5, 99.5]), rtol=0.03)


@pytest.mark.parametrize("scale", [1.0, 0.37, 100000.0])
def test_percentiles_of_whole_numbers_are_those_of_any(scale: float) -> None:
    values = scale * np.random.default_rng(0).integers(-1000, 3000, (1, 31, 33)).astype(np.float32)
    expected = np.percentile(values[values > values.min()].astype(np.float64), (0.5, 70.0))
    window = percentile_window(Pixels(torch.from_numpy(values), HU), 0.5, 70.0)
    np.testing.assert_allclose((window.low, window.high), expected, rtol=1e-6)


@pytest.mark.parametrize("background", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("levels", [2, 40, 60000])
def test_percentiles_are_exact_where_values_repeat_and_most_are_background(background: float, levels: int) -> None:
    generator = np.random.default_rng(levels)
    values = generator.integers(1, levels + 1, (1, 200, 300)).astype(np.float32)
    values[generator.random(values.shape) < background] = -5
    values[0, 0, 0] = -5
    for places in ((0.5, 99.5), (0, 100), (3, 60), (49.9, 50.2)):
        expected = np.percentile(values[values > -5].astype(np.float64), places)
        window = percentile_window(Pixels(torch.from_numpy(values), HU), *places)
        if expected[0] < expected[1]:
            np.testing.assert_allclose((window.low, window.high), expected, rtol=1e-6)


@pytest.mark.parametrize("window", ["auto", "percentile", "dark", "full", "soft_tissue"])
@pytest.mark.parametrize("full_range", [HU, (0.0, 255.0), (7.0, 7.0)])
def test_a_constant_image_stays_finite(window: str, full_range: tuple[float, float]) -> None:
    image = Intensity(window).apply(grey(7, 7, 7, full_range=full_range))
    assert torch.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() <= 1


def test_three_windows_of_a_ct_are_lung_soft_tissue_and_bone() -> None:
    intensity = Intensity(channels="windows")
    pixels = grey(-600, 40, 400, modality="CT")
    assert intensity.choose(pixels) == tuple(WINDOW_PRESETS[name].window for name in CT_CHANNELS)
    torch.testing.assert_close(intensity.apply(pixels).diagonal(dim1=0, dim2=2)[0], torch.full((3,), 0.5))


def test_three_windows_of_other_grey_images_spread_all_then_the_dark_then_the_bright_part() -> None:
    pixels = grey(*range(1001), modality="MR")
    whole, dark, bright = Intensity(channels="windows").choose(pixels)
    assert whole.low == dark.low < bright.low < dark.high < bright.high == whole.high


def test_given_windows_are_taken_for_every_grey_image_and_may_come_as_a_list() -> None:
    intensity = Intensity(channels="windows", windows=["brain", "full", "file"])
    own = Window(5, 9)
    assert intensity.choose(grey(1, 9, windows=(own,))) == (Window(40, 80), Window.between(*HU), own)
    assert Intensity(**json.loads(json.dumps(dataclasses.asdict(intensity)))) == intensity


def test_adjacent_slices_are_windowed_alike_and_each_is_a_channel() -> None:
    values = torch.tensor([-1350.0, -600.0, 150.0]).view(3, 1, 1)
    pixels = Pixels(values, HU, modality="CT", stacked=True)
    image = Intensity("lung", channels="neighbours").apply(pixels)
    torch.testing.assert_close(image.flatten(), torch.tensor([0, 0.5, 1]))
    assert not pixels.colour


def test_a_jittered_window_can_be_applied_in_place_of_the_chosen_one() -> None:
    image = Intensity("lung").apply(grey(0, 5, 10), windows=(Window(5, 10),))
    torch.testing.assert_close(image[0, 0], torch.tensor([0, 0.5, 1]))


@pytest.mark.parametrize(
    "settings",
    [{"window": "lungs"}, {"channels": "copies"}, {"windows": ("lung", "bone")}, {"windows": ("a", "b", "c")}],
)
def test_an_unknown_name_is_said_in_words(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match="intensity"):
        Intensity(**settings)


@pytest.mark.parametrize("part", CT_BODY_PARTS)
def test_every_body_part_is_looked_at_through_presets_that_there_are(part: str) -> None:
    pixels = grey(-1000, 0, 1000, modality="CT", body_part=part)
    looked = CT_BODY_PARTS[part]
    assert Intensity().choose(pixels) == (WINDOW_PRESETS[looked.window].window,)
    channels = Intensity(channels="windows").choose(pixels)
    assert channels == tuple(WINDOW_PRESETS[name].window for name in looked.channels)


def test_the_body_part_chooses_among_presets_for_ct_alone_and_after_the_files_own_window() -> None:
    assert Intensity().choose(grey(0, 90, modality="CT", body_part="Head ")) == (Window(40, 80),)
    assert Intensity().choose(grey(0, 90, modality="CT", body_part="T_SPINE")) == (Window(400, 1800),)
    assert Intensity().choose(grey(0, 90, modality="CT", body_part="LEFT EAR")) == (Window(40, 400),)
    own = Window(35, 70)
    assert Intensity().choose(grey(0, 90, modality="CT", body_part="HEAD", windows=(own,))) == (own,)
    assert Intensity().choose(grey(*range(9), modality="MR", body_part="HEAD")) != (Window(40, 80),)


def test_a_sigmoid_has_the_values_of_the_standard_and_never_reaches_its_ends() -> None:
    window = Window(100, 50, "sigmoid")
    shown = apply_window(torch.tensor([-1000.0, 75.0, 100.0, 125.0, 1000.0]), window)
    expected = [1 / (1 + np.exp(-4 * (value - 100) / 50)) for value in (-1000, 75, 100, 125, 1000)]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)


def test_a_table_is_looked_up_between_its_entries_and_keeps_its_ends_beyond() -> None:
    window = Window(11, 2, "table", (0.0, 0.8, 1.0))
    shown = apply_window(torch.tensor([-5.0, 10.0, 10.5, 11.0, 11.5, 12.0, 99.0]), window)
    torch.testing.assert_close(shown, torch.tensor([0, 0, 0.4, 0.8, 0.9, 1, 1]))


@pytest.mark.parametrize("shape", ["linear", "sigmoid", "table"])
def test_a_window_is_applied_where_the_values_are(shape: Any) -> None:
    window = Window(11, 2, shape, (0.0, 0.8, 1.0))
    assert apply_window(torch.empty(3, 4, device="meta"), window).device.type == "meta"


def test_percentiles_look_at_valid_pixels_alone_where_these_fill_no_box() -> None:
    values = torch.tensor([[[-2000.0, 1.0, 2.0], [3.0, 4.0, -2000.0]]])
    window = percentile_window(Pixels(values, HU, valid=values[0] > -2000), 0, 100)
    assert (window.low, window.high) == (2.0, 4.0)


def test_the_documentation_lists_every_preset_as_it_is() -> None:
    document = (Path(__file__).parents[2] / "docs" / "dicom.md").read_text(encoding="utf-8")
    for name, preset in WINDOW_PRESETS.items():
        assert f"| `{name}` | {preset.window.center:g} | {preset.window.width:g} | " in document
    assert document.count("\n| `") == len(WINDOW_PRESETS)
