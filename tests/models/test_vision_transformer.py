"""What the network promises beside the golden numbers: sizes, masks, drop path, gradients, errors."""

from collections.abc import Callable

import pytest
import torch

from medino.core import InputError, torch_generator
from medino.models import BackboneConfig, Tokens, VisionTransformer, build_backbone
from medino.models.drop_path import BatchSubset, PerSample
from medino.models.vision_transformer import drop_path_rates

SMALL = BackboneConfig(
    name="test", embed_dim=24, depth=3, num_heads=2, patch_size=8, image_size=32, num_register_tokens=2
)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "images", *shape))


def some_patches(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch_generator(0, "patches")) < 0.5


def add(
    drop_path: type[BatchSubset] | type[PerSample],
    x: torch.Tensor,
    branch: Callable[[torch.Tensor], torch.Tensor],
    rate: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """What a block does with a branch."""
    drawn = drop_path.draw(len(x), rate, generator)
    return drop_path.add(x, branch(drop_path.take(x, drawn)), drawn)


def same(a: Tokens, b: Tokens) -> bool:
    return all(torch.equal(getattr(a, part), getattr(b, part)) for part in ("class_token", "registers", "patches"))


def test_tokens_have_their_shapes_at_any_size() -> None:
    backbone = build_backbone(SMALL).eval()
    for height, width in ((32, 32), (8, 8), (40, 16), (16, 88)):
        tokens = backbone(images(2, 3, height, width))
        assert tokens.class_token.shape == (2, 24)
        assert tokens.registers.shape == (2, 2, 24)
        assert tokens.patches.shape == (2, height // 8, width // 8, 24)


def test_several_crop_sizes_in_one_call_are_each_on_their_own() -> None:
    backbone = build_backbone(SMALL).eval()
    crops = [images(4, 3, 32, 32), images(6, 3, 16, 16)]
    masks = [some_patches(4, 16), None]
    together = backbone.forward_crops(crops, masks)
    for tokens, batch, mask in zip(together, crops, masks, strict=True):
        assert same(tokens, backbone(batch, mask))


@pytest.mark.parametrize("drop_path", ["batch_subset", "per_sample"])
@pytest.mark.parametrize("training", [False, True])
def test_selected_tokens_and_their_gradients_are_those_of_all_tokens(drop_path: str, training: bool) -> None:
    config = SMALL.replace(drop_path_rate=0.4, drop_path=drop_path, layerscale_init=1.0)
    backbone = build_backbone(config, seed=0).train(training)
    crops, masks = [images(4, 3, 32, 32), images(6, 3, 16, 16)], [some_patches(4, 16), None]

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss.sin(), list(backbone.parameters())))

    whole = backbone.forward_crops(crops, masks, torch_generator(0, "drop_path"))
    some = backbone.forward_selected(crops, masks, masks, torch_generator(0, "drop_path"))
    expected = [whole[0].class_token, whole[0].patches.flatten(1, 2)[masks[0]], whole[1].class_token]
    found = [some[0].class_token, some[0].patches, some[1].class_token]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert some[1].patches.shape == (0, 24)
    losses = [sum(part.square().sum() for part in parts) for parts in (found, expected)]
    for ours, theirs in zip(*map(gradients, losses), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_last_block_does_not_work_for_tokens_that_nobody_wants() -> None:
    backbone = build_backbone(SMALL.replace(drop_path_rate=0.5)).train()
    seen: list[int] = []
    backbone.blocks[-1].norm2.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    wanted = torch.zeros(8, 16, dtype=torch.bool)
    wanted[:, 3] = True
    backbone.forward_selected([images(8, 3, 32, 32)], [wanted], generator=torch_generator(0, "test"))
    assert seen == [4 * 2]


def test_a_patch_map_lies_as_the_image_lies() -> None:
    backbone = build_backbone(SMALL.replace(depth=1, num_register_tokens=0)).eval()
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name.endswith(("attn.proj.weight", "fc2.weight", "pos_embed")):
                parameter.zero_()
    # Without position, attention and MLP a patch is a function of its own pixels.
    batch = torch.zeros(1, 3, 24, 40)
    batch[:, :, 8:16, 32:40] = 1
    patches = backbone(batch).patches[0]
    differs = (patches != patches[0, 0]).any(-1)
    assert differs.nonzero().tolist() == [[1, 4]]


def test_masked_patches_take_no_part_and_the_rest_does() -> None:
    backbone = build_backbone(SMALL).eval()
    batch = images(1, 3, 16, 16)
    mask = torch.tensor([[True, False, False, False]])
    other = batch.clone()
    other[:, :, :8, :8] = 5.0
    assert same(backbone(batch, mask), backbone(other, mask))
    assert not same(backbone(batch), backbone(batch, mask))
    nothing = torch.zeros_like(mask)
    assert same(backbone(batch), backbone(batch, nothing))


def test_the_last_intermediate_layer_is_the_output() -> None:
    backbone = build_backbone(SMALL).eval()
    batch = images(2, 3, 32, 16)
    assert same(backbone.intermediate(batch, 2)[-1], backbone(batch))
    first, last = backbone.intermediate(batch, [0, 2])
    assert same(last, backbone(batch))
    assert same(first, backbone.intermediate(batch, 3)[0])


@pytest.mark.parametrize("layers", [0, 4, [3], [-1], []])
def test_blocks_that_are_not_there_are_refused(layers: int | list[int]) -> None:
    with pytest.raises(InputError, match="blocks 0 to 2"):
        build_backbone(SMALL).intermediate(images(1, 3, 16, 16), layers)


def test_gradients_reach_every_parameter() -> None:
    backbone = build_backbone(SMALL.replace(drop_path_rate=0.3)).train()
    tokens = backbone(images(4, 3, 16, 16), some_patches(4, 4), torch_generator(0, "drop_path"))
    total = tokens.class_token.square().sum() + tokens.patches.sin().sum() + tokens.registers.sin().sum()
    total.backward()
    unreached = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert unreached == []
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())


@pytest.mark.parametrize("drop_path", ["batch_subset", "per_sample"])
def test_drop_path_is_drawn_from_the_given_generator_alone(drop_path: str) -> None:
    backbone = build_backbone(SMALL.replace(drop_path_rate=0.5, drop_path=drop_path, layerscale_init=1.0)).train()
    batch = images(8, 3, 16, 16)
    state = torch.get_rng_state()
    first = backbone(batch, generator=torch_generator(0, "drop_path", 1))
    again = backbone(batch, generator=torch_generator(0, "drop_path", 1))
    other = backbone(batch, generator=torch_generator(0, "drop_path", 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(first, again)
    assert not same(first, other)
    backbone.eval()
    assert same(backbone(batch), backbone(batch, generator=torch_generator(0, "drop_path", 2)))


@pytest.mark.parametrize(("batch", "rate", "kept"), [(8, 0.3, 5), (8, 0.5, 4), (10, 0.4, 6), (3, 0.9, 1), (1, 0.3, 1)])
def test_batch_subset_drop_path_runs_only_the_kept_samples(batch: int, rate: float, kept: int) -> None:
    seen = []

    def branch(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return torch.ones_like(x)

    x = torch.zeros(batch, 2, 3)
    added = add(BatchSubset, x, branch, rate, torch_generator(0, "test"))[:, 0, 0]
    assert seen == [kept]
    assert (added > 0).sum() == kept
    torch.testing.assert_close(added[added > 0], torch.full((kept,), batch / kept))
    assert not x.any()


@pytest.mark.parametrize("drop_path", [BatchSubset, PerSample])
def test_drop_path_keeps_the_expected_residual(drop_path: type[BatchSubset] | type[PerSample]) -> None:
    generator = torch_generator(0, "test")
    total = torch.zeros(10)
    for _ in range(2000):
        total += add(drop_path, torch.zeros(10, 1, 1), torch.ones_like, 0.4, generator)[:, 0, 0]
    # The standard error of each mean is sqrt(.4 / .6 / 2000) = .018.
    torch.testing.assert_close(total / 2000, torch.ones(10), rtol=0, atol=0.08)


def test_per_sample_drop_path_drops_samples_independently() -> None:
    generator = torch_generator(0, "test")
    kept = [
        int((add(PerSample, torch.zeros(10, 1, 1), torch.ones_like, 0.4, generator) > 0).sum()) for _ in range(2000)
    ]
    counts = torch.tensor(kept, dtype=torch.float64)
    # Binomial with n = 10, p = .6: mean 6, variance 2.4.
    assert counts.mean() == pytest.approx(6, abs=0.15)
    assert counts.var() == pytest.approx(2.4, abs=0.35)


def test_sub_layers_draw_their_subsets_on_their_own() -> None:
    backbone = build_backbone(SMALL.replace(drop_path_rate=0.5)).train()
    chosen = []

    def note(_: object, inputs: tuple[torch.Tensor]) -> None:
        tokens = inputs[0].unflatten(0, (-1, 1 + 2 + 4))
        chosen.append(tokens[:, 0, 0].detach().clone())

    for block in backbone.blocks:
        block.norm1.register_forward_pre_hook(note)
        block.norm2.register_forward_pre_hook(note)
    backbone(images(8, 3, 16, 16), generator=torch_generator(0, "test"))
    assert [len(rows) for rows in chosen] == [4] * 6
    assert len({tuple(rows.tolist()) for rows in chosen}) == 6


def test_drop_path_rates_are_uniform_or_rise_with_depth() -> None:
    config = SMALL.replace(drop_path_rate=0.2)
    assert drop_path_rates(config) == [0.2, 0.2, 0.2]
    assert drop_path_rates(config.replace(drop_path="per_sample")) == pytest.approx([0.0, 0.1, 0.2])


def test_autocast_keeps_the_tokens_finite_and_close() -> None:
    backbone = build_backbone(SMALL).eval()
    batch = images(2, 3, 16, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = backbone(batch)
    full = backbone(batch)
    torch.testing.assert_close(low.patches.float(), full.patches, rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 3, 4, 4), "smaller than a patch of 8"),
        ((1, 3, 16, 4), "smaller than a patch of 8"),
        ((1, 3, 30, 16), "such as 32 x 16"),
        ((1, 1, 16, 16), "shape"),
        ((3, 16, 16), "shape"),
    ],
)
def test_images_that_cannot_be_cut_into_patches_are_refused(shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build_backbone(SMALL)(torch.zeros(shape))


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="masks have shape"):
        build_backbone(SMALL)(torch.zeros(1, 3, 16, 16), torch.zeros(1, 5, dtype=torch.bool))
    without = build_backbone(SMALL.replace(mask_token=False))
    with pytest.raises(InputError, match="no mask token"):
        without(torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_heads": 5}, "multiple of num_heads"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"depth": 2.5}, "depth is 2.5"),
        ({"num_register_tokens": -1}, "num_register_tokens is -1"),
        ({"num_register_tokens": "four"}, "num_register_tokens is 'four'"),
        ({"layerscale_init": "small"}, "layerscale_init is 'small'"),
        ({"image_size": 4}, "smaller than a patch"),
        ({"ffn_layer": "moe"}, "ffn_layer is 'moe'"),
        ({"drop_path": "none"}, "drop_path is 'none'"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
    ],
)
def test_settings_that_make_no_network_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        VisionTransformer(SMALL.replace(**change))
