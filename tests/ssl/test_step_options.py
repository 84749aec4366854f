"""Options of the training step change what they say and nothing else: checkpointing, compiling, bfloat16."""

import shutil
from typing import Any

import pytest
import torch

from medino.core import torch_generator
from medino.ssl import DINOv2, PretrainingBatch
from tests.ssl.conftest import tiny_module

BACKBONE = {"embed_dim": 24, "depth": 3, "num_heads": 2, "image_size": 32, "layerscale_init": 1.0}


def batch(masked: int, step: int = 0) -> PretrainingBatch:
    """Four images, of whose global crops every other one has some masked patches."""
    generator = torch_generator(0, "batch", step)
    masks = torch.zeros(8, 16, dtype=torch.bool)
    masks[::2, :masked] = True
    crops = (torch.randn(8, 3, 32, 32, generator=generator), torch.randn(8, 3, 16, 16, generator=generator))
    return PretrainingBatch(*crops, masks, step=step)


def step(module: DINOv2, masked: int = 5, number: int = 0) -> tuple[dict[str, float], list[torch.Tensor]]:
    """Loss terms and gradients."""
    module.core.train()
    module.core.student.zero_grad()
    losses = module.core.compute_losses(batch(masked, number), 0.05, torch_generator(0, "drop_path", number))
    losses.total.backward()
    gradients = [parameter.grad for parameter in module.core.student.parameters() if parameter.grad is not None]
    return {name: float(term) for name, term in losses.terms.items()}, gradients


def module(**changes: Any) -> DINOv2:
    return tiny_module(backbone_settings=BACKBONE, drop_path_rate=0.4, **changes)


def kept_for_backward(trained: DINOv2) -> int:
    """Bytes that the forward pass keeps for the backward pass, parameters left out, each storage once."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in trained.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trained.core.compute_losses(batch(5), 0.05, torch_generator(0, "drop_path"))
    return sum(storage.nbytes() for storage in kept.values())


def test_checkpointed_blocks_give_the_same_step_to_the_bit_and_keep_less() -> None:
    plain, checkpointed = module(), module(checkpoint_blocks=True)
    losses, gradients = step(plain)
    again, others = step(checkpointed)
    assert again == losses
    assert len(others) == len(gradients)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(others, gradients, strict=True))
    assert kept_for_backward(checkpointed) < 0.6 * kept_for_backward(plain)


def test_bfloat16_is_close_to_float32_and_the_losses_stay_in_float32() -> None:
    losses, gradients = step(module())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module()
        low_losses, low_gradients = step(low)
        total = low.core.compute_losses(batch(5), 0.05, torch_generator(0, "drop_path")).total
    assert total.dtype == torch.float32
    assert list(low_losses) == list(losses)
    for name, value in losses.items():
        # bfloat16 has 8 bits; scores are divided by 0.05 to 0.1 before the softmax.
        assert low_losses[name] == pytest.approx(value, rel=0.03), name
    whole, low_whole = (torch.cat([each.flatten() for each in parts]) for parts in (gradients, low_gradients))
    assert bool(low_whole.isfinite().all())
    assert float(torch.cosine_similarity(whole, low_whole, dim=0)) > 0.97


@pytest.mark.parametrize("centering", ["centering", "sinkhorn_knopp"])
def test_bfloat16_targets_are_probabilities_in_float32(centering: str) -> None:
    masked = int(batch(5).masks.sum())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (taught,) = module(centering=centering).core.teach([batch(5)], 0.04)
        patches = torch.empty(masked, taught.probabilities.shape[1])
        taught.patch_targets["ibot"](slice(0, masked), patches)
    for targets in (taught.probabilities, patches):
        assert targets.dtype == torch.float32
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(targets)))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++) on the CPU")
def test_compiled_blocks_give_the_same_steps_for_changing_numbers_of_masked_patches() -> None:
    torch._dynamo.reset()
    plain, compiled = module(), module(compile_blocks=True)
    for number, masked in enumerate((5, 3, 9, 0)):
        (losses, gradients), (again, others) = (step(each, masked, number) for each in (plain, compiled))
        assert again == pytest.approx(losses, rel=1e-4)
        for ours, theirs in zip(others, gradients, strict=True):
            assert float((ours - theirs).norm()) <= 1e-3 * float(theirs.norm()) + 1e-6
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    step(compiled, 7, 4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted
    assert set(compiled.state_dict()) == set(plain.state_dict())
