"""The network computes what the reference implementations computed, for every golden pair, size and mask."""

import pytest
import torch
from golden_cases import GoldenCase, golden_cases

from medino.models import ProjectionHead, VisionTransformer

TOLERANCE = 1e-5
CASES = golden_cases()
CASES_AND_SIZES = [pytest.param(case, size, id=f"{case.name}-{size}") for case in CASES for size in case.sizes]
MASKED = [param for param in CASES_AND_SIZES if f"forward/{param.values[1]}/mask" in param.values[0].tensors]


def backbone_of(case: GoldenCase) -> VisionTransformer:
    backbone = VisionTransformer(case.config)
    backbone.load_state_dict(case.part("init/backbone."), strict=True)
    return backbone.eval()


def agree(ours: torch.Tensor, golden: torch.Tensor) -> None:
    torch.testing.assert_close(ours, golden, rtol=0, atol=TOLERANCE)


def test_there_are_golden_pairs() -> None:
    assert CASES


@pytest.mark.parametrize(("case", "size"), CASES_AND_SIZES)
def test_features_agree_with_the_reference(case: GoldenCase, size: str) -> None:
    backbone, golden = backbone_of(case), case.part(f"forward/{size}/")
    with torch.no_grad():
        plain = backbone.forward_features(golden["image"])
        tokens = backbone(golden["image"])
    compared = [name for name in plain if name in golden]
    assert {"x_norm_clstoken", "x_norm_patchtokens"} <= set(compared)
    for name in compared:
        agree(plain[name], golden[name])
    agree(tokens.class_token, golden["x_norm_clstoken"])
    agree(tokens.patches.flatten(1, 2), golden["x_norm_patchtokens"])


@pytest.mark.parametrize(("case", "size"), MASKED)
def test_masked_features_agree_with_the_reference(case: GoldenCase, size: str) -> None:
    backbone, golden = backbone_of(case), case.part(f"forward/{size}/")
    with torch.no_grad():
        masked = backbone.forward_features(golden["image"], golden["mask"].bool())
    compared = [name for name in masked if f"masked/{name}" in golden]
    assert compared
    for name in compared:
        agree(masked[name], golden[f"masked/{name}"])


@pytest.mark.parametrize(("case", "size"), CASES_AND_SIZES)
def test_intermediate_layers_agree_with_the_reference(case: GoldenCase, size: str) -> None:
    backbone, golden = backbone_of(case), case.part(f"forward/{size}/")
    with torch.no_grad():
        layers = backbone.intermediate(golden["image"], 2)
    for index, tokens in enumerate(layers):
        agree(tokens.class_token, golden[f"last2/{index}/cls"])
        if f"last2/{index}/patch_map" in golden:
            agree(tokens.patches.permute(0, 3, 1, 2), golden[f"last2/{index}/patch_map"])


@pytest.mark.parametrize(("case", "size"), CASES_AND_SIZES)
def test_attention_agrees_with_the_reference(case: GoldenCase, size: str) -> None:
    backbone, golden = backbone_of(case), case.part(f"forward/{size}/")
    with torch.no_grad():
        attention = backbone.last_attention(golden["image"])
    if "last_attention" in golden:
        agree(attention, golden["last_attention"])
    agree(attention.sum(-1), torch.ones(attention.shape[:-1]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_heads_take_the_reference_s_weights(case: GoldenCase) -> None:
    head_settings = case.facts["head"]
    for name in ("dino_head", "ibot_head"):
        weights = case.part(f"init/{name}.")
        if not weights:
            continue
        prototypes, bottleneck_dim = weights["last_layer.weight_v"].shape
        head = ProjectionHead(
            case.settings["embed_dim"],
            prototypes,
            hidden_dim=head_settings["hidden_dim"],
            bottleneck_dim=bottleneck_dim,
            layers=head_settings["nlayers"],
        )
        head.load_state_dict(weights, strict=True)
