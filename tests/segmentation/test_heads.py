import pytest
import torch
from monai.networks.nets import UNETR
from torch import nn

from medino.core import InputError
from medino.segmentation import LinearHead, MultiLayerHead
from medino.segmentation.heads import UnetrHead, build_head, draw_channel_factors, drop_channels, layers_of_head


def test_linear_head_is_batch_norm_and_one_linear_map_of_each_token() -> None:
    maps = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    head = LinearHead(6, 3).train()
    tokens = maps.permute(0, 2, 3, 1).reshape(-1, 6)
    normed = (tokens - tokens.mean(0)) / (tokens.var(0, unbiased=False) + 1e-5).sqrt()
    expected = normed @ head.classify.weight[:, :, 0, 0].T + head.classify.bias
    torch.testing.assert_close(head(maps).permute(0, 2, 3, 1).reshape(-1, 3), expected)


def test_multi_layer_head_answers_on_a_grid_four_times_as_fine() -> None:
    assert MultiLayerHead(24, 3)(torch.randn(2, 24, 5, 7)).shape == (2, 3, 20, 28)


@pytest.mark.parametrize("name", ["linear", "multilayer", "unetr"])
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


@pytest.mark.parametrize(
    ("patch_size", "fineness"), [(2, 2), (4, 4), (8, 8), (14, 16), (16, 16), (32, 16)], ids=lambda value: str(value)
)
def test_unetr_answers_on_the_grid_that_doublings_bring_nearest_to_the_pixels(patch_size: int, fineness: int) -> None:
    head = UnetrHead(4 * 8, 3, patch_size).eval()
    maps, images = torch.randn(2, 32, 3, 5), torch.randn(2, 3, 3 * patch_size, 5 * patch_size)
    assert head(maps, images=images).shape == (2, 3, 3 * fineness, 5 * fineness)
    one_patch = head(maps[..., :1, :1], images=images[..., :patch_size, :patch_size])
    assert one_patch.shape == (2, 3, fineness, fineness)


def test_unetr_looks_at_each_of_its_layers_and_at_the_image() -> None:
    head = UnetrHead(4 * 8, 2, 8)
    maps, images = torch.randn(2, 32, 4, 4, requires_grad=True), torch.randn(2, 3, 32, 32, requires_grad=True)
    head(maps, images=images).square().sum().backward()
    assert maps.grad is not None
    assert images.grad is not None
    assert all(bool(layer.abs().sum() > 0) for layer in maps.grad.chunk(4, dim=1))
    assert bool(images.grad.abs().sum() > 0)
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_unetr_decodes_as_monais(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its transformer asks for a package that is not needed here: the tokens come from elsewhere.
    monkeypatch.setattr("monai.networks.nets.unetr.ViT", lambda **settings: nn.Identity())
    head = UnetrHead(4 * 8, 2, 16)
    # MONAI's own network for patches of 16: upsampled once, twice and three times before they are joined.
    peer = UNETR(3, 2, img_size=(32, 32), feature_size=16, hidden_size=8, mlp_dim=8, num_heads=1, spatial_dims=2)
    for join, encoder in zip(head.join_tokens, (peer.encoder4, peer.encoder3, peer.encoder2), strict=True):
        assert [p.shape for p in join.parameters()] == [p.shape for p in encoder.parameters()]
        join.load_state_dict(encoder.state_dict())
    for up, decoder in zip(head.up, (peer.decoder5, peer.decoder4, peer.decoder3, peer.decoder2), strict=True):
        up.load_state_dict(decoder.state_dict())
    head.join_image.load_state_dict(peer.encoder1.state_dict())
    head.classify.load_state_dict(peer.out.conv.conv.state_dict())
    maps, image = torch.randn(1, 32, 2, 2), torch.randn(1, 3, 32, 32)
    z3, z6, z9, z12 = maps.div((1 + 1e-5) ** 0.5).chunk(4, dim=1)
    d3 = peer.decoder5(z12, peer.encoder4(z9))
    d2 = peer.decoder4(d3, peer.encoder3(z6))
    expected = peer.out(peer.decoder2(peer.decoder3(d2, peer.encoder2(z3)), peer.encoder1(image)))
    torch.testing.assert_close(head.eval()(maps, images=image), expected)


def test_unetr_without_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="looks at the images, too"):
        UnetrHead(4 * 8, 2, 8)(torch.randn(1, 32, 2, 2))


def test_unetr_takes_four_layers_evenly_spaced() -> None:
    assert layers_of_head("unetr", None, 12) == [2, 5, 8, 11]
    assert layers_of_head("unetr", None, 24) == [5, 11, 17, 23]
    assert layers_of_head("unetr", [0, 1, 2, 3], 12) == [0, 1, 2, 3]
    assert layers_of_head("multilayer", None, 12) == 4
    for layers, depth in (([0, 1, 2], 12), ([0, 1, 2, 2], 12), (None, 3)):
        with pytest.raises(InputError, match="takes four layers"):
            layers_of_head("unetr", layers, depth)
