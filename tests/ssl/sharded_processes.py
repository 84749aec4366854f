"""What the test of sharded training runs in each of two processes.

Called as `python -m tests.ssl.sharded_processes RANK PORT FOLDER MANIFEST`; leaves FOLDER/RANK.pt.
"""

import gc
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.distributed.tensor import DTensor

from medino.core import InputError, RunFolder
from medino.ssl import FullySharded, latest_checkpoint
from medino.tracking import PatchMaps
from tests.ssl import two_processes as two
from tests.ssl.conftest import TINY_BACKBONE, LossRecorder, tiny_data, tiny_trainer
from tests.ssl.two_processes import well_conditioned_module, whole_state

torch.set_num_threads(1)

ADAPTERS = {
    "strategy": {"name": "LoRA", "rank": 2},
    "anchor": {},
    "heads_first": {"at_most": 0.5, "least_improvement": -9.0, "ramp": 0.5},
    "warmup": 0.0,
}
"""Frozen parameters beside adapters that learn, a third backbone, and a backbone that is held at first."""

OPTIONS = {"drop_path_rate": 0.3, "checkpoint_blocks": True}
"""What draws and computes anew within a block."""

DEEP = {"backbone_settings": {**TINY_BACKBONE, "depth": 5, "layerscale_init": 1.0}}

ONE_RATE = {"layer_decay": 1.0, "patch_embed_multiplier": 1.0}
"""Parameters that are whole and such as are sharded then learn in one group."""


class Gradients(pl.Callback):
    """Counts the blocks whose whole gradients are in memory when the backward pass has left the blocks."""

    def __init__(self) -> None:
        self.alive: list[int] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        backbone = pl_module.core.student.backbone
        entries = sum(each.numel() for each in backbone.blocks[0].parameters())

        def count(gradient: torch.Tensor) -> None:
            tensors = [each for each in gc.get_objects() if isinstance(each, torch.Tensor)]
            # A block's gradients lie side by side while they are divided.
            flat = [each for each in tensors if each.dim() == 1 and each.numel() >= entries]
            self.alive.append(len(flat))

        if backbone.cls_token.requires_grad:  # not with adapters
            backbone.cls_token.register_hook(count)


def train(
    folder: Path,
    manifest: Path,
    processes: int,
    changes: dict[str, Any],
    strategy: Any = "ddp",
    precision: Any = "32-true",
    steps: int = 4,
) -> dict[str, Any]:
    """Some steps of a small network, drawn while it trains; a run that was begun goes on."""
    module, recorder, gradients = well_conditioned_module(**changes), LossRecorder(), Gradients()
    several = {"strategy": strategy, "devices": processes} if processes > 1 else {}
    callbacks = (recorder, gradients, PatchMaps(folder, every=2))
    trainer = tiny_trainer(folder, steps, *callbacks, precision=precision, **several)
    checkpoint = latest_checkpoint(RunFolder(folder))
    trainer.fit(module, datamodule=tiny_data(manifest), ckpt_path=checkpoint, weights_only=True)
    blocks = [module.core.student.backbone.blocks, module.core.teacher.backbone.blocks]
    averages = trainer.optimizers[0].state
    return {
        "losses": recorder.losses,
        "state": whole_state(module),
        "held": [sum(held_entries(each) for each in part.parameters()) for part in blocks],
        "held averages": sum(
            held_entries(averages[each]["exp_avg"]) for each in blocks[0].parameters() if each in averages
        ),
        "gradients alive": gradients.alive,
        "kernels": [[group["fused"], group["foreach"]] for group in trainer.optimizers[0].param_groups],
        "in all": sum(each.numel() for each in blocks[0].parameters()),
    }


def second_training(folder: Path, manifest: Path) -> str:
    """What is said where a module is trained again."""
    module = well_conditioned_module()
    for steps in (1, 2):
        try:
            trainer = tiny_trainer(folder, steps, strategy=FullySharded(), devices=2)
            trainer.fit(module, datamodule=tiny_data(manifest))
        except InputError as error:
            return str(error)
    return ""


def held_entries(tensor: torch.Tensor) -> int:
    """How many of a tensor's entries this process holds."""
    return tensor.to_local().numel() if isinstance(tensor, DTensor) else tensor.numel()


def main(rank: int, port: str, folder: Path, manifest: Path) -> None:
    """Join the group, run everything, leave the results."""
    two.join(rank, port)
    found = two.train(folder / "run", manifest, 2, strategy=FullySharded())
    two.train(folder / "begun sharded", manifest, 2, stop_after=1, strategy=FullySharded())
    found["gone on"] = two.train(folder / "begun by one", manifest, 2, strategy=FullySharded())
    for accumulate in (1, 2):
        name = f"everything {accumulate}"
        found[name] = two.train_with_everything_on(folder / name, manifest, 2, accumulate, FullySharded())
    found["adapters"] = train(folder / "adapters", manifest, 2, ADAPTERS, FullySharded())
    for what, changes, precision in (("options", OPTIONS, "32-true"), ("bf16", {}, "bf16-mixed")):
        for name, strategy in (("sharded", FullySharded()), ("ddp", "ddp")):
            run = f"{what} {name}"
            found[run] = train(folder / run, manifest, 2, changes, strategy, precision)
    for first, second in (("ddp", "sharded"), ("sharded", "ddp")):
        run = f"{first} then {second}"
        for steps, name in ((2, first), (4, second)):
            strategy = FullySharded() if name == "sharded" else "ddp"
            found[run] = train(folder / run, manifest, 2, ONE_RATE, strategy, steps=steps)
    found["deep"] = train(folder / "deep", manifest, 2, DEEP, FullySharded())
    found["again"] = second_training(folder / "again", manifest)
    two.leave(found, folder, rank)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
