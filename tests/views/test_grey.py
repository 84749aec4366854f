"""Window jitter, gamma and noise of radiological images."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from medino.data import Intensity, Pixels
from medino.data.pixels import Window
from medino.views import (
    Noise,
    add_noises_,
    adjust_gamma_,
    draw_gamma,
    draw_noise,
    draw_window_jitter,
    jitter_window,
    look_through,
)


def test_window_jitter_is_drawn_over_its_stated_ranges() -> None:
    generator = np.random.default_rng(0)
    shifts, factors = np.array([draw_window_jitter(generator) for _ in range(3000)]).T
    assert stats.kstest(shifts, stats.uniform(-0.15, 0.3).cdf).pvalue > 0.01
    reach = math.log(1.5)
    assert stats.kstest(np.log(factors), stats.uniform(-reach, 2 * reach).cdf).pvalue > 0.01


def test_a_jittered_window_is_the_same_in_any_unit() -> None:
    hounsfield = jitter_window(Window(40, 400), 0.1, 1.25)
    assert (hounsfield.center, hounsfield.width) == (80, 500)
    stored = jitter_window(Window(1064, 400), 0.1, 1.25)
    assert (stored.low - 1024, stored.high - 1024) == (hounsfield.low, hounsfield.high)


def test_gamma_keeps_black_and_white() -> None:
    generator = np.random.default_rng(1)
    ends = torch.tensor([0.0, 1.0]).repeat(3, 1, 1)
    gammas = [draw_gamma(generator) for _ in range(3000)]
    for gamma in gammas[:20]:
        assert torch.equal(adjust_gamma_(ends.clone(), gamma), ends)
    reach = math.log(1.5)
    assert stats.kstest(np.log(gammas), stats.uniform(-reach, 2 * reach).cdf).pvalue > 0.01


def test_noise_is_white_without_mean_and_alike_in_all_channels() -> None:
    generator = np.random.default_rng(2)
    noises = [draw_noise(generator) for _ in range(300)]
    assert stats.kstest([noise.sigma for noise in noises], stats.uniform(0, 0.05).cdf).pvalue > 0.01
    assert stats.kstest([noise.start for noise in noises], "uniform").pvalue > 0.01
    grey = torch.full((300, 3, 64, 64), 0.5)
    fields = add_noises_(grey, noises) - 0.5
    assert torch.equal(fields[:, 0], fields[:, 2])
    for field, noise in zip(fields[:, 0], noises, strict=True):
        assert field.std().item() == pytest.approx(noise.sigma, rel=0.05)
        assert abs(field.mean().item()) < 5 * noise.sigma / 64
    strong = fields[max(range(300), key=lambda place: noises[place].sigma), 0]
    for one, other in ((strong[:, 1:], strong[:, :-1]), (strong[1:], strong[:-1])):
        assert abs(torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1].item()) < 0.06
    assert stats.kstest(strong.flatten().numpy() / strong.std().item(), "norm").pvalue > 0.001


def test_noise_stays_within_range() -> None:
    images = torch.tensor([0.01, 0.99]).repeat(1, 3, 20, 10)
    noisy = add_noises_(images, [Noise(0.3, 0.2)])
    assert noisy.min() == 0
    assert noisy.max() == 1


@pytest.mark.parametrize(
    "windows",
    [
        [(Window(40, 400),), (Window(-600, 1500),)],
        [(Window(40, 400, "sigmoid"),), (Window(0, 300, "table", (0.0, 0.7, 1.0)),)],
        [(Window(40, 400), Window(-600, 1500), Window(300, 2000))] * 2,
        [(Window(40, 0),), (Window(-600, 1500),)],
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_windowed_as_an_image_is(windows: list[tuple[Window, ...]], channels: int) -> None:
    values = torch.rand(2, channels, 9, 9, generator=torch.Generator().manual_seed(0)) * 3000 - 1000
    intensity = Intensity()
    expected = [
        intensity.apply(Pixels(view, (-1024.0, 3071.0), inverted=inverted, stacked=True), some)
        for view, some, inverted in zip(values, windows, (False, True), strict=True)
    ]
    shown = look_through(values.clone(), windows, [False, True], intensity)
    torch.testing.assert_close(shown.expand(-1, 3, -1, -1), torch.stack(expected), atol=1e-6, rtol=0)


def test_jitter_keeps_the_curve_of_a_window() -> None:
    table = Window(100, 10, "table", (0.0, 0.9, 1.0))
    assert jitter_window(table, 0.5, 2) == Window(105, 20, "table", (0.0, 0.9, 1.0))
    assert jitter_window(Window(100, 10, "sigmoid"), 0, 2).shape == "sigmoid"
