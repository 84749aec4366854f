"""Stain separation and jitter in optical density."""

import numpy as np
import torch
from scipy import stats

from medino.views import StainJitter, draw_stain_jitter, jitter_stains, merge_stains, separate_stains
from medino.views.stain import EOSIN, HAEMATOXYLIN, STAINS

NONE = StainJitter((1, 1, 1), (0, 0, 0))


def test_separating_and_merging_gives_the_image_back() -> None:
    image = torch.randint(1, 256, (3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255
    torch.testing.assert_close(merge_stains(separate_stains(image)), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(jitter_stains(image[None].clone(), [NONE])[0], image, atol=1e-5, rtol=0)


def test_black_is_raised_to_one_level_and_stays_finite() -> None:
    torch.testing.assert_close(jitter_stains(torch.zeros(1, 3, 2, 2), [NONE]), torch.full((1, 3, 2, 2), 1 / 255))
    jitter = StainJitter((1.2, 0.8, 1), (0.05, -0.05, 0.05))
    assert jitter_stains(torch.zeros(1, 3, 2, 2), [jitter]).isfinite().all()


def test_a_slide_of_one_stain_holds_that_stain_only() -> None:
    """Beer-Lambert in closed form: exp(-amount * density)."""
    for index, density in enumerate((HAEMATOXYLIN, EOSIN)):
        colour = np.exp(-0.8 * np.array(density) / np.linalg.norm(density))
        amounts = separate_stains(torch.from_numpy(colour).float()[:, None, None]).flatten()
        expected = torch.zeros(3)
        expected[index] = 0.8
        torch.testing.assert_close(amounts, expected, atol=1e-5, rtol=0)


def test_jitter_scales_and_shifts_each_stain() -> None:
    amounts = (
        torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.6, 0.6, 0.02])[:, None, None]
    )
    jitter = StainJitter((1.2, 0.9, 1.1), (0.02, 0.03, 0.0))
    scales, shifts = (torch.tensor(values)[:, None, None] for values in (jitter.scales, jitter.shifts))
    expected = torch.einsum("shw,sc->chw", amounts * scales + shifts, STAINS.float()).neg().exp().clamp(0, 1)
    torch.testing.assert_close(jitter_stains(merge_stains(amounts)[None], [jitter])[0], expected, atol=1e-5, rtol=0)


def test_the_third_stain_is_at_right_angles_to_the_two() -> None:
    torch.testing.assert_close(STAINS[2] @ STAINS[:2].T, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(STAINS.norm(dim=1), torch.ones(3, dtype=torch.float64))


def test_stain_jitter_is_drawn_over_its_stated_ranges() -> None:
    generator = np.random.default_rng(0)
    draws = [draw_stain_jitter(generator) for _ in range(2000)]
    for stain in range(3):
        assert stats.kstest([draw.scales[stain] for draw in draws], stats.uniform(0.8, 0.4).cdf).pvalue > 0.01
        assert stats.kstest([draw.shifts[stain] for draw in draws], stats.uniform(-0.05, 0.1).cdf).pvalue > 0.01
