"""Fully sharded data parallel training: each process keeps its part of the backbones' blocks (FSDP).

As in ZeRO's third stage (Rajbhandari et al. 2020, 1910.02054) and PyTorch's FSDP (Zhao et al. 2023, 2304.11277), the
parameters of a block are brought together where the block runs and are forgotten after it; their gradients, AdamW's
averages and the teacher's copy exist in parts alone. What is small or read outside of a block (heads, embeddings, the
last norm) is whole on every process. A checkpoint is the one file that one process would have written.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from medino.models import VisionTransformer
from medino.models.lora import LoRALinear


class FullySharded(DDPStrategy):
    """Lightning's strategy for it, `fully_sharded` by name, of `DINOv2`.

    Processes are started, checkpoints written and batches divided as by `ddp`, and a run goes on under either. It has
    run on CPUs; nobody has measured it on GPUs.
    """

    def __init__(self) -> None:
        super().__init__()

    def configure_ddp(self) -> None:
        """Shard the blocks of all backbones, where `ddp` would wrap the module."""
        assert isinstance(self.model, nn.Module)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        for backbone in [module for module in self.model.modules() if isinstance(module, VisionTransformer)]:
            for block in backbone.blocks:
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
                assert isinstance(block, FSDPModule)
                register_fsdp_forward_method(block, "forward_selected")
                if self.root_device.type == "cpu":
                    block.set_force_sum_reduction_for_comms(True)  # gloo knows no average
                # The types of parameters are noted where they are first brought together: while all of them learn.
                block.unshard()
                block.reshard()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole of every tensor on the first process, nothing on the others."""
        assert self.lightning_module is not None
        return self._on_first(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The same of an optimizer."""
        whole = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = whole.state_dict()
        return {**state, "state": {number: self._on_first(of_one) for number, of_one in state["state"].items()}}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give each process its part of a checkpoint's optimizer states."""
        super().load_optimizer_state_dict(checkpoint)
        for optimizer in self.optimizers:
            for parameter, state in optimizer.state.items():
                if isinstance(parameter, DTensor):
                    for name, value in state.items():
                        if value.shape == parameter.shape:
                            state[name] = distribute_tensor(
                                value, parameter.device_mesh, parameter.placements, src_data_rank=None
                            )

    def teardown(self) -> None:
        """As `ddp` does, but that parts are not moved from the devices that share them."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()

    def _on_first(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        gathered = {}
        for name, value in tensors.items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if self.is_global_zero:
                gathered[name] = whole.cpu() if isinstance(value, DTensor) else whole
        return gathered


StrategyRegistry.register("fully_sharded", FullySharded, description="pretraining with sharded blocks", override=True)


def is_sharded(network: nn.Module) -> bool:
    """Whether this process keeps only its part of some parameters."""
    return any(isinstance(parameter, DTensor) for parameter in network.parameters())


def local(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """What this process keeps of each tensor; to write there is to write into the tensor."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def gathered(backbone: VisionTransformer) -> VisionTransformer:
    """The backbone with all of its parameters on this process: itself, unless it is sharded.

    All processes must ask for it, also those that don't need it.
    """
    if not is_sharded(backbone):
        return backbone
    state = {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in backbone.state_dict().items()
    }
    with torch.device("meta"):
        whole = VisionTransformer(backbone.config)
        for name, layer in backbone.named_modules():
            if isinstance(layer, LoRALinear):
                branch, _, last = name.rpartition(".")
                holder = whole.get_submodule(branch)
                rank = len(layer.lora_a)
                setattr(holder, last, LoRALinear(getattr(holder, last), rank, layer.scale * rank))
    whole.load_state_dict(state, assign=True)
    return whole.requires_grad_(False).eval()
