"""What there is to know of parameters of which each process keeps its part (`FullySharded`)."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from medino.models import VisionTransformer
from medino.models.lora import LoRALinear


def is_sharded(network: nn.Module) -> bool:
    """Whether this process keeps only its part of some parameters."""
    return any(isinstance(parameter, DTensor) for parameter in network.parameters())


def local(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """What this process keeps of each tensor; to write there is to write into the tensor."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def part_of(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """What goes with this process's part of a parameter, of a tensor that goes with all of it; no process is asked."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def kernel(parameters: Iterable[torch.Tensor]) -> dict[str, bool | None]:
    """AdamW's settings for a group: one kernel for all of its parameters, unless whole and sharded ones meet in it."""
    kinds = {isinstance(parameter, DTensor) for parameter in parameters}
    return {"fused": True, "foreach": None} if len(kinds) < 2 else {"fused": False, "foreach": False}


def gathered(backbone: VisionTransformer) -> VisionTransformer | None:
    """The backbone with all of its parameters: itself, or where it is sharded a frozen copy on the first process's CPU.

    All processes must ask for it, also those that get None.
    """
    if not is_sharded(backbone):
        return backbone
    state = {}
    for name, value in backbone.state_dict().items():
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if torch.distributed.get_rank() == 0:
            state[name] = whole.cpu()
    if not state:
        return None
    with torch.device("meta"):
        copy = VisionTransformer(backbone.config)
        for name, layer in backbone.named_modules():
            if isinstance(layer, LoRALinear):
                branch, _, last = name.rpartition(".")
                holder = copy.get_submodule(branch)
                rank = len(layer.lora_a)
                setattr(holder, last, LoRALinear(getattr(holder, last), rank, layer.scale * rank))
    copy.load_state_dict(state, assign=True)
    return copy.requires_grad_(False).eval()
