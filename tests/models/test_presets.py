"""Presets are the published sizes, and a seed is the same weights whatever else was drawn."""

import pytest
import torch

from medino.core import InputError
from medino.models import PRESETS, BackboneConfig, build_backbone
from medino.models.presets import empty_backbone

PUBLISHED_PARAMETERS = {
    # Meta's dinov2_vit{s,b,l,g}14, position embedding for 518 pixels and mask token included.
    "small": 22_056_576,
    "base": 86_580_480,
    "large": 304_368_640,
    "giant2": 1_136_480_768,
}

TEST = BackboneConfig(embed_dim=48, depth=2, num_heads=2, patch_size=8, image_size=64, num_register_tokens=3)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_presets_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in empty_backbone(PRESETS[name]).parameters()) == parameters


def test_every_preset_goes_by_its_own_name() -> None:
    assert {"mini", "tiny", "small", "base", "large", "giant2"} == set(PRESETS)
    assert all(config.name == name for name, config in PRESETS.items())


def test_a_seed_is_the_same_weights_and_disturbs_no_other_draw() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_backbone(TEST, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = build_backbone(TEST, seed=5).state_dict()
    other = build_backbone(TEST, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["pos_embed"], other["pos_embed"])


def test_initial_weights_have_the_recipe_s_distributions() -> None:
    weights = build_backbone(TEST).state_dict()
    assert all(torch.isfinite(value).all() for value in weights.values())
    for name in ("blocks.1.attn.qkv.weight", "blocks.0.mlp.fc2.weight", "pos_embed"):
        assert weights[name].std() == pytest.approx(0.02, rel=0.05)
        assert abs(weights[name].mean()) < 1e-3
    for name in ("cls_token", "register_tokens"):
        assert 3e-7 < weights[name].std() < 2e-6
    assert not weights["mask_token"].any()
    assert not weights["blocks.0.attn.qkv.bias"].any()
    assert (weights["blocks.0.ls1.gamma"] == TEST.layerscale_init).all()
    assert (weights["norm.weight"] == 1).all()
    # The convolution's default: uniform within 1 / sqrt(fan in).
    bound = (3 * 8 * 8) ** -0.5
    assert weights["patch_embed.proj.weight"].abs().max() <= bound
    assert weights["patch_embed.proj.weight"].std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_dino_v1_has_a_wider_class_token_and_neither_mask_token_nor_layerscale() -> None:
    weights = build_backbone(TEST.replace(mask_token=False, layerscale_init=None)).state_dict()
    assert weights["cls_token"].std() == pytest.approx(0.02, rel=0.4)
    assert not [name for name in weights if "ls1" in name or name == "mask_token"]


def test_an_unknown_preset_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"'huge'.*mini, tiny, small"):
        build_backbone("huge")
