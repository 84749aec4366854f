"""A strategy decides what of the backbone learns; what is frozen stays to the bit and is held once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medino.core import InputError, RunFolder
from medino.models import backbone_fingerprint, load_backbone
from medino.ssl import DINOv2, ExPLoRA, Freeze, Full, LoRA, Strategy, latest_checkpoint
from tests.ssl.conftest import tiny_module
from tests.ssl.test_module import StopAfter

Train = Callable[..., tuple[DINOv2, dict[int, float]]]

STRATEGIES = {
    "lora": LoRA(rank=2, alpha=4.0),
    "explora": ExPLoRA(free_blocks=1, rank=2),
    "freeze": Freeze(("patch_embed.*", "blocks.0.*")),
}


def learning(module: DINOv2) -> set[str]:
    """The student's backbone's parameters that learn."""
    return {name for name, value in module.core.student.backbone.named_parameters() if value.requires_grad}


def held_bytes(module: DINOv2) -> int:
    """Bytes of the parameters of both backbones, what is shared counted once."""
    parameters = [*module.core.student.backbone.parameters(), *module.core.teacher.backbone.parameters()]
    return sum(each.untyped_storage().nbytes() for each in {each.data_ptr(): each for each in parameters}.values())


def test_each_strategy_lets_learn_what_it_says() -> None:
    everything = set(dict(tiny_module().core.student.backbone.named_parameters()))
    assert learning(tiny_module(strategy=Full())) == everything
    adapters = {
        f"blocks.{block}.attn.{layer}.lora_{part}" for block in (0, 1) for layer in ("qkv", "proj") for part in "ab"
    }
    assert learning(tiny_module(strategy=STRATEGIES["lora"])) == adapters | {"mask_token"}
    norms = {name for name in everything if "norm" in name}
    last = {name for name in everything if name.startswith("blocks.1.")}
    expected = {"mask_token", "blocks.0.attn.qkv.lora_a", "blocks.0.attn.qkv.lora_b"} | norms | last
    assert learning(tiny_module(strategy=STRATEGIES["explora"])) == expected
    frozen = {name for name in everything if name.startswith(("patch_embed.", "blocks.0."))}
    assert learning(tiny_module(strategy=STRATEGIES["freeze"])) == everything - frozen


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_frozen_stays_to_the_bit_and_the_rest_learns(name: str, manifest: Path, train: Train) -> None:
    start = {key: value.clone() for key, value in tiny_module(strategy=STRATEGIES[name]).state_dict().items()}
    module, _ = train(manifest, 3, module={"strategy": STRATEGIES[name]})
    free = learning(module)
    for key, value in module.core.student.backbone.state_dict().items():
        assert torch.equal(value, start[f"core.student.backbone.{key}"]) == (key not in free), key
    teacher = module.core.teacher.backbone.state_dict()
    assert any(not torch.equal(teacher[key], start[f"core.teacher.backbone.{key}"]) for key in free)


def test_the_teacher_shares_what_is_frozen_and_averages_the_adapters() -> None:
    full, lora = tiny_module(), tiny_module(strategy=STRATEGIES["lora"])
    one = held_bytes(full) // 2
    adapters = sum(value.nbytes for name, value in lora.core.student.backbone.named_parameters() if "lora" in name)
    mask_token = lora.core.student.backbone.mask_token
    assert mask_token is not None
    assert held_bytes(lora) == one + 2 * adapters + mask_token.nbytes
    student, teacher = (network.backbone.blocks[0].attn.qkv for network in (lora.core.student, lora.core.teacher))
    assert student.weight is teacher.weight
    with torch.no_grad():
        student.lora_b.fill_(1.0)
    lora.core.update_teacher(momentum=0.75)
    assert torch.equal(teacher.lora_b, torch.full_like(teacher.lora_b, 0.25))
    assert torch.equal(student.lora_b, torch.ones_like(student.lora_b))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_backbone_of_a_run_has_no_adapters(name: str, tmp_path: Path, manifest: Path, train: Train) -> None:
    module, _ = train(manifest, 2, module={"strategy": STRATEGIES[name]})
    backbone = load_backbone(tmp_path / "run")
    assert list(backbone.state_dict()) == list(tiny_module().core.student.backbone.state_dict())
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = module.core.teacher.backbone(image).class_token
        torch.testing.assert_close(backbone(image).class_token, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "explora"])
def test_a_resumed_run_is_the_run_uninterrupted(name: str, tmp_path: Path, manifest: Path, train: Train) -> None:
    settings = {"strategy": STRATEGIES[name]}
    whole, losses = train(manifest, 6, run="whole", module=settings)
    train(manifest, 6, run="parts", module=settings, callbacks=(StopAfter(2),))
    checkpoint = latest_checkpoint(RunFolder(tmp_path / "parts"))
    assert checkpoint is not None
    resumed, after = train(manifest, 6, run="parts", module=settings, ckpt_path=checkpoint)
    assert after == {step: losses[step] for step in (3, 4, 5)}
    mine, theirs = whole.state_dict(), resumed.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    loaded = DINOv2.load_from_checkpoint(checkpoint, weights_only=True)
    assert learning(loaded) == learning(whole)


def test_an_adapter_starts_from_the_start() -> None:
    lora, full = tiny_module(strategy=STRATEGIES["lora"]), tiny_module()
    assert lora.start_fingerprints == full.start_fingerprints
    assert lora.start_fingerprints["backbone_before"] == backbone_fingerprint(full.core.student.backbone)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ({"name": "Prompts"}, "there is no strategy 'Prompts'; choose one of Full, LoRA, ExPLoRA, Freeze"),
        ({"name": "LoRA", "ranks": 3}, "the strategy LoRA can't be set up so"),
        (ExPLoRA(free_blocks=2), "free_blocks is 2; of 2 blocks 1 to 1 can be freed"),
        (Freeze(("blocks.9.*",)), "the pattern 'blocks.9.\\*' fits no parameter"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused(strategy: Strategy | dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny_module(strategy=strategy)
