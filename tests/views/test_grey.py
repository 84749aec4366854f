"""Window jitter, gamma and noise of radiological images."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from medino.data.pixels import Window
from medino.views import add_noise, adjust_gamma, draw_gamma, draw_noise, draw_window_jitter, jitter_window


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
    ends = torch.tensor([0.0, 1.0]).expand(3, 1, 2)
    gammas = [draw_gamma(generator) for _ in range(3000)]
    for gamma in gammas[:20]:
        assert torch.equal(adjust_gamma(ends, gamma), ends)
    reach = math.log(1.5)
    assert stats.kstest(np.log(gammas), stats.uniform(-reach, 2 * reach).cdf).pvalue > 0.01


def test_noise_is_white_without_mean_and_alike_in_all_channels() -> None:
    generator = np.random.default_rng(2)
    fields = [draw_noise(generator, 64, 64) for _ in range(300)]
    deviations = [field.std().item() for field in fields]
    assert stats.kstest(deviations, stats.uniform(0, 0.05).cdf).pvalue > 0.01
    assert max(abs(field.mean().item()) for field in fields) < 0.05 * 5 / 64
    strong = max(fields, key=lambda field: field.std().item())[0]
    neighbours = torch.corrcoef(torch.stack((strong[:, 1:].flatten(), strong[:, :-1].flatten())))[0, 1]
    assert abs(neighbours.item()) < 0.06
    noisy = add_noise(torch.full((3, 64, 64), 0.5), fields[0])
    assert torch.equal(noisy[0], noisy[2])
    assert (noisy[0] - 0.5).std().item() == pytest.approx(fields[0].std().item(), rel=1e-3)


def test_noise_stays_within_range() -> None:
    noise = torch.tensor([[[-0.2, 0.2]]])
    assert torch.equal(add_noise(torch.tensor([0.1, 0.9]).expand(3, 1, 2), noise)[0, 0], torch.tensor([0.0, 1.0]))


def test_jitter_keeps_the_curve_of_a_window() -> None:
    table = Window(100, 10, "table", (0.0, 0.9, 1.0))
    assert jitter_window(table, 0.5, 2) == Window(105, 20, "table", (0.0, 0.9, 1.0))
    assert jitter_window(Window(100, 10, "sigmoid"), 0, 2).shape == "sigmoid"
