"""Fully sharded data parallel training: each process keeps its part of the backbones' blocks (FSDP).

As in ZeRO's third stage (Rajbhandari et al. 2020, 1910.02054) and PyTorch's FSDP (Zhao et al. 2023, 2304.11277), the
parameters of a block are brought together where the block runs and forgotten after it; their gradients, once the
block's backward pass is over, AdamW's averages and the teacher's copy exist in parts alone. What is small or read
outside of a block (heads, embeddings, the last norm) is whole on every process. A checkpoint is the one file that one
process would have written.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from medino.core import InputError
from medino.models import VisionTransformer
from medino.ssl.sharding import is_sharded, kernel, part_of
from medino.ssl.training import Training


class FullySharded(DDPStrategy):
    """Lightning's strategy for it, `fully_sharded` by name; without settings, as those of `ddp` are of its wrapper.

    Processes are started, checkpoints written and batches divided as by `ddp`, and a run goes on under either. It has
    run on CPUs; nobody has measured it on GPUs. Only training is sharded: a validation alone holds all on each process.
    """

    def __init__(self) -> None:
        super().__init__()

    def setup(self, trainer: Trainer) -> None:
        """As `ddp` does.

        Raises:
            InputError: the module is not `DINOv2`, or was sharded before.
        """
        assert self.lightning_module is not None
        check_shardable(self.lightning_module)
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Shard the blocks of all backbones, where `ddp` would wrap the module."""
        assert isinstance(self.model, nn.Module)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        for backbone in [module for module in self.model.modules() if isinstance(module, VisionTransformer)]:
            for block in backbone.blocks:
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
            whole = {each for each in backbone.parameters() if not isinstance(each, DTensor)}
            # Under one root, the gradients of a block are forgotten when those of the next one are divided.
            fully_shard(backbone, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
            for method in ("forward_crops", "forward_selected"):
                register_fsdp_forward_method(backbone, method)
            for block in backbone.blocks:
                assert isinstance(block, FSDPModule)
                register_fsdp_forward_method(block, "forward_selected")
                if self.root_device.type == "cpu":
                    block.set_force_sum_reduction_for_comms(True)  # gloo knows no average
                # The type of a block's gradients is noted when it is first brought together, from the parameters that
                # learn then; of a backbone that is held there would be none.
                block.unshard()
                block.reshard()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole of every tensor on the first process, nothing on the others."""
        assert self.lightning_module is not None
        return self._on_first(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The same of an optimizer, as one process would have it."""
        whole = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = whole.state_dict()
        return {
            "state": {number: self._on_first(of_one) for number, of_one in state["state"].items()},
            "param_groups": [{**group, **kernel([])} for group in state["param_groups"]],
        }

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give each process its part of a checkpoint's optimizer states, and leave it its kernels."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            numbers = [number for group in saved["param_groups"] for number in group["params"]]
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            state = {
                number: {name: part_of(value, parameter) for name, value in saved["state"][number].items()}
                for number, parameter in zip(numbers, parameters, strict=True)
                if number in saved["state"]
            }
            groups = [
                {**group, **kernel(own["params"])}
                for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=True)
            ]
            optimizer.load_state_dict({"state": state, "param_groups": groups})

    def teardown(self) -> None:
        """As `ddp` does, but that parts are not moved from the devices that share them."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        self.checkpoint_io.teardown()

    def _on_first(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, value in tensors.items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if self.is_global_zero:
                found[name] = whole.cpu() if isinstance(value, DTensor) else whole
        return found


StrategyRegistry.register("fully_sharded", FullySharded, description="pretraining with sharded blocks", override=True)


def check_shardable(module: nn.Module) -> None:
    """Refuse what `FullySharded` would train wrongly, or not at all.

    Raises:
        InputError: the module does not average the gradients of what stays whole, or was sharded before.
    """
    if not isinstance(module, Training):
        raise InputError(
            f"the strategy fully_sharded is that of pretraining, and {type(module).__name__} does not know it; set "
            "trainer.strategy to auto or ddp"
        )
    if is_sharded(module):
        raise InputError("the module was sharded by the training before; make a new one and load its checkpoint")
