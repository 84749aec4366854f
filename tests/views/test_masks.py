"""Block masks follow the reference's distribution."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medino.core import InputError
from medino.views import BlockMasks

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden" / "plain.json").read_text())["mask_statistics"]


def drawn_masks(batches: int = 60) -> torch.Tensor:
    masks = BlockMasks(tuple(GOLDEN["grid"]), tuple(GOLDEN["mask_ratio"]), GOLDEN["mask_probability"])
    generator = np.random.default_rng(0)
    return torch.stack([masks(GOLDEN["batch_global_crops"], generator) for _ in range(batches)])


def test_masked_fractions_are_distributed_as_the_references() -> None:
    masks = drawn_masks()
    fractions = masks.float().mean(-1)
    assert masks.shape == (60, 128, 256)
    assert (fractions > 0).float().mean().item() == GOLDEN["share_of_crops_masked"]
    masked = fractions[fractions > 0].numpy()
    # Two patches of 256: a quantile of 3840 stratified draws moves by about half a patch between seeds.
    for quantile, expected in GOLDEN["masked_fraction_quantiles"].items():
        assert np.quantile(masked, float(quantile)) == pytest.approx(expected, abs=2 / 256)
    assert masked.mean() == pytest.approx(GOLDEN["masked_fraction_mean"], abs=1 / 256)


def test_every_batch_has_exactly_the_share_of_masked_crops() -> None:
    assert (drawn_masks(5).any(-1).sum(-1) == 64).all()
    odd = BlockMasks((8, 8), mask_probability=0.5)(7, np.random.default_rng(0))
    assert odd.any(-1).sum() == 3


def test_a_mask_never_exceeds_its_target() -> None:
    masks, generator = BlockMasks((14, 14)), np.random.default_rng(1)
    for target in range(100):
        assert masks.draw_mask(target, generator).sum() <= target


def test_masked_crops_spread_over_the_whole_range_of_ratios() -> None:
    fractions = BlockMasks((16, 16))(64, np.random.default_rng(3)).float().mean(-1).sort().values[32:]
    edges = torch.linspace(0.1, 0.5, 33)
    assert (fractions <= edges[1:]).all()
    # Seldom a mask falls short of its target, where no block fits any more.
    assert (fractions >= edges[:-1] - 1 / 256).float().mean() > 0.9


def test_masked_crops_stand_at_any_place_in_the_batch() -> None:
    masks, generator = BlockMasks((8, 8)), np.random.default_rng(0)
    share = torch.stack([masks(8, generator).any(-1) for _ in range(600)]).float().mean(0)
    assert share.sub(0.5).abs().max() < 0.1


def test_masks_are_blocks() -> None:
    """A masked patch has masked neighbours far more often than one of patches masked at random."""
    masks = drawn_masks(5).reshape(-1, 16, 16)
    masks = masks[masks.any(-1).any(-1)].float()
    both = (masks[:, :, 1:] * masks[:, :, :-1]).sum() / masks[:, :, :-1].sum()
    assert both > 0.7


def test_one_generator_draws_the_same_masks() -> None:
    masks = BlockMasks((16, 16))
    assert torch.equal(masks(32, np.random.default_rng(5)), masks(32, np.random.default_rng(5)))
    assert not torch.equal(masks(32, np.random.default_rng(5)), masks(32, np.random.default_rng(6)))


@pytest.mark.parametrize("grid", [(1, 1), (1, 9), (2, 2), (3, 5)])
def test_small_grids_end(grid: tuple[int, int]) -> None:
    masks = BlockMasks(grid)(10, np.random.default_rng(0))
    assert masks.shape == (10, grid[0] * grid[1])
    assert masks.float().mean(-1).max() <= 0.5


def test_bad_settings_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="mask_ratio"):
        BlockMasks((4, 4), mask_ratio=(0.5, 0.1))
    with pytest.raises(InputError, match="mask_probability"):
        BlockMasks((4, 4), mask_probability=1.5)
    with pytest.raises(InputError, match="grid"):
        BlockMasks((0, 4))
