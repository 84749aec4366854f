"""What a block keeps for its backward pass."""

from collections.abc import Callable

import torch

from medino.models import BackboneConfig
from medino.models.blocks import Block


def wide_tensors_kept(run: Callable[[], object], tokens: int, width: int) -> int:
    """How many tensors (tokens, width) a forward pass keeps."""
    kept: set[int] = set()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape == (tokens, width):
            kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        answer = run()
    del answer
    return len(kept)


def test_a_block_keeps_what_enters_its_gelu_and_not_what_leaves_it() -> None:
    config = BackboneConfig(name="tiny", embed_dim=24, depth=1, num_heads=2, patch_size=8, image_size=16)
    block, crops = Block(config, 0.0).train(), [torch.randn(3, 5, 24)]
    assert wide_tensors_kept(lambda: block(crops), 15, config.ffn_width) == 1
    plain = torch.randn(15, 24)
    assert wide_tensors_kept(lambda: block.mlp.last(block.mlp.hidden(plain)), 15, config.ffn_width) == 2
