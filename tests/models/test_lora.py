"""Adapters begin as nothing, learn beside frozen layers, and merge into them exactly."""

import pytest
import torch
from scattered_backbones import SMALL, features, images, scattered

from medino.core import InputError, torch_generator
from medino.models import VisionTransformer, add_lora, merge_lora
from medino.models.lora import LoRALinear


def adapted(backbone: VisionTransformer, **settings: object) -> VisionTransformer:
    """Adapters with weights as after some training."""
    arguments = {"rank": 3, "alpha": 6.0, "targets": ["attn.qkv", "mlp.fc1"]} | settings
    add_lora(backbone, **arguments, generator=torch_generator(0, "adapters"))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_b" in name:
                parameter.normal_(generator=torch_generator(0, name))
    return backbone


def test_a_new_adapter_changes_nothing() -> None:
    backbone = scattered()
    before = features(backbone, images())
    add_lora(backbone, 4, 8.0, ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"])
    assert torch.equal(features(backbone, images()), before)


def test_merging_is_exact() -> None:
    backbone = adapted(scattered().double())
    merged = merge_lora(backbone)
    assert not any(isinstance(module, LoRALinear) for module in merged.modules())
    assert list(merged.state_dict()) == list(scattered().state_dict())
    double = images().double()
    torch.testing.assert_close(features(merged, double), features(backbone, double), rtol=0, atol=1e-12)
    assert (features(merged, double) - features(scattered().double(), double)).abs().max() > 0.1


def test_the_merged_weight_is_the_papers() -> None:
    layer = adapted(scattered()).blocks[1].attn.qkv
    expected = layer.weight + 6.0 / 3 * layer.lora_b @ layer.lora_a
    torch.testing.assert_close(layer.merged().weight, expected, rtol=0, atol=0)


def test_only_adapters_of_the_layers_asked_for_learn() -> None:
    backbone = scattered().requires_grad_(False)
    add_lora(backbone, 2, 2.0, ["attn.proj"], blocks=[1, 3])
    learning = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
    assert learning == [f"blocks.{block}.attn.proj.lora_{part}" for block in (1, 3) for part in "ab"]


def test_a_file_of_weights_keeps_its_names() -> None:
    assert set(scattered().state_dict()) < set(adapted(scattered()).state_dict())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": 0}, "rank is 0; give 1 to the token width 32"),
        ({"rank": 33}, "rank is 33"),
        ({"targets": ["attn.query"]}, "can't adapt attn.query; choose among attn.qkv"),
        ({"targets": []}, "can't adapt nothing"),
        ({"targets": ["mlp.w12"]}, "has none of the layers mlp.w12"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        adapted(scattered(SMALL), **settings)
