import pytest
import torch
from torch import nn

from medino.segmentation import LinearHead, MultiLayerHead
from medino.segmentation.heads import build_head, draw_channel_factors, drop_channels


def test_linear_head_is_batch_norm_and_one_linear_map_of_each_token() -> None:
    maps = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    head = LinearHead(6, 3).train()
    tokens = maps.permute(0, 2, 3, 1).reshape(-1, 6)
    normed = (tokens - tokens.mean(0)) / (tokens.var(0, unbiased=False) + 1e-5).sqrt()
    expected = normed @ head.classify.weight[:, :, 0, 0].T + head.classify.bias
    torch.testing.assert_close(head(maps).permute(0, 2, 3, 1).reshape(-1, 3), expected)


def test_multi_layer_head_answers_on_a_grid_four_times_as_fine() -> None:
    assert MultiLayerHead(24, 3)(torch.randn(2, 24, 5, 7)).shape == (2, 3, 20, 28)


@pytest.mark.parametrize("name", ["linear", "multilayer"])
def test_initial_weights_depend_on_the_seed_alone(name: str) -> None:
    first = build_head(name, 8, 2, seed=3)  # type: ignore[arg-type]
    before = torch.get_rng_state()
    second = build_head(name, 8, 2, seed=3)  # type: ignore[arg-type]
    other = build_head(name, 8, 2, seed=4)  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.classify.weight, other.classify.weight)


def test_dropout_keeps_the_expectation_and_drops_the_stated_share() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in range(50)]
    factors = draw_channel_factors(400, 0.1, generators)
    assert factors.shape == (50, 400)
    assert float((factors == 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(factors.unique(), torch.tensor([0.0, 1 / 0.9]))


def test_an_image_drops_the_same_channels_whatever_is_beside_it() -> None:
    alone = draw_channel_factors(64, 0.5, [torch.Generator().manual_seed(7)])
    beside = draw_channel_factors(64, 0.5, [torch.Generator().manual_seed(seed) for seed in (3, 7)])
    assert torch.equal(alone[0], beside[1])


def test_whole_channels_are_dropped_as_by_pytorch() -> None:
    maps = torch.randn(2, 5, 3, 3)
    torch.manual_seed(0)
    peer = nn.functional.dropout2d(torch.ones_like(maps), 0.4)
    torch.testing.assert_close(drop_channels(maps, peer[:, :, 0, 0]), maps * peer)
