"""What the test of sharded training runs in each of two processes.

Called as `python sharded_processes.py RANK PORT FOLDER MANIFEST`; leaves FOLDER/RANK.pt.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

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


def train(
    folder: Path,
    manifest: Path,
    processes: int,
    changes: dict[str, Any],
    strategy: Any = "ddp",
    precision: Any = "32-true",
) -> dict[str, Any]:
    """Four steps of a small network, drawn while it trains."""
    from medino.tracking import PatchMaps
    from tests.ssl.conftest import LossRecorder, tiny_data, tiny_trainer
    from tests.ssl.two_processes import well_conditioned_module, whole_state

    module, recorder = well_conditioned_module(**changes), LossRecorder()
    several = {"strategy": strategy, "devices": processes} if processes > 1 else {}
    trainer = tiny_trainer(folder, 4, recorder, PatchMaps(folder, every=2), precision=precision, **several)
    trainer.fit(module, datamodule=tiny_data(manifest))
    blocks = [module.core.student.backbone.blocks, module.core.teacher.backbone.blocks]
    averages = trainer.optimizers[0].state
    return {
        "losses": recorder.losses,
        "state": whole_state(module),
        "held": [sum(held_entries(each) for each in part.parameters()) for part in blocks],
        "held averages": sum(
            held_entries(averages[each]["exp_avg"]) for each in blocks[0].parameters() if each in averages
        ),
        "in all": sum(each.numel() for each in blocks[0].parameters()),
    }


def held_entries(tensor: torch.Tensor) -> int:
    """How many of a tensor's entries this process holds."""
    return tensor.to_local().numel() if isinstance(tensor, DTensor) else tensor.numel()


def main(rank: int, port: str, folder: Path, manifest: Path) -> None:
    """Join the group, run everything, leave the results."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from medino.ssl import FullySharded
    from tests.ssl import two_processes as two

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
    two.leave(found, folder, rank)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
