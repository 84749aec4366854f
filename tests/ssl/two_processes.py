"""What the test of two processes runs in each of them: collectives, then training under Lightning's DDP.

Called as `python -m tests.ssl.two_processes RANK PORT FOLDER MANIFEST`; leaves FOLDER/RANK.pt.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from medino.core import RunFolder
from medino.ssl import Watch, global_mean, koleo_loss, latest_checkpoint, sinkhorn_knopp
from medino.ssl.queues import ImageQueue
from tests.ssl.conftest import TINY_BACKBONE, LossRecorder, tiny_data, tiny_module, tiny_trainer, write_manifest

torch.set_num_threads(1)


def logits(rows: int = 9, prototypes: int = 6) -> torch.Tensor:
    return torch.randn(rows, prototypes, generator=torch.Generator().manual_seed(0))


def koleo_features() -> torch.Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


def collectives(rank: int) -> dict[str, Any]:
    """Sinkhorn, centre mean and KoLeo of this process's part."""
    uneven = logits()[:2] if rank == 0 else logits()[2:]
    features = koleo_features().chunk(2)[rank].requires_grad_()
    koleo = koleo_loss(features)
    koleo.backward()
    past = koleo_features()[:3].flip(1)
    return {
        "sinkhorn": sinkhorn_knopp(uneven, 0.05),
        "sinkhorn of one": sinkhorn_knopp(logits()[:0] if rank == 0 else logits(), 0.05),
        "mean": global_mean(uneven),
        "koleo": koleo.detach(),
        "koleo gradient": features.grad,
        "koleo alone": koleo_loss(features.detach(), scope="process"),
        "koleo and past": koleo_loss(features.detach(), past),
        "queue": queue(rank),
    }


def queue(rank: int) -> torch.Tensor:
    """What a queue of 5 images holds after two steps of 4, of which each process brings 2."""
    made = ImageQueue(5, 3)
    for step in range(2):
        tokens = torch.arange(24.0).view(2, 4, 3) + 100 * step
        made.push(tokens[:, 2 * rank : 2 * rank + 2].flatten(0, 1), torch.arange(2) + 2 * rank + 10 * step)
    return torch.cat([made.held().flatten(), made.held_numbers().float()])


def well_conditioned_module(**changes: Any) -> Any:
    """Without drop path, which is drawn for each part of the batch, and with gradients well above rounding."""
    backbone = {**TINY_BACKBONE, "layerscale_init": 1.0}
    return tiny_module(**{"drop_path_rate": 0.0, "backbone_settings": backbone, **changes})


def train(
    folder: Path, manifest: Path, processes: int, stop_after: int | None = None, strategy: Any = "ddp"
) -> dict[str, Any]:
    """Four steps, the second of which is broken on the last process alone.

    Args:
        folder: of the run; it goes on where it has a checkpoint.
        manifest: the images.
        processes: of which this is one.
        stop_after: the step after which the run is left, to be gone on with.
        strategy: of several processes.
    """

    class BreakOnLast(pl.Callback):
        def on_train_batch_start(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch.step == 1 and trainer.global_rank == trainer.world_size - 1:
                batch.global_crops.fill_(float("nan"))

    class Leave(pl.Callback):
        def on_train_batch_end(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            trainer.should_stop = trainer.should_stop or batch.step == stop_after

    recorder = LossRecorder()
    module = well_conditioned_module()
    changes = {"strategy": strategy, "devices": processes} if processes > 1 else {}
    trainer = tiny_trainer(folder, 4, recorder, BreakOnLast(), Leave(), **changes)
    checkpoint = latest_checkpoint(RunFolder(folder))
    trainer.fit(module, datamodule=tiny_data(manifest), ckpt_path=checkpoint, weights_only=True)
    return {"losses": recorder.losses, "skipped": module.skipped_steps, "state": whole_state(module)}


def whole_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A module's state, sharded tensors brought together."""
    state = module.state_dict()
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}


def train_with_everything_on(
    folder: Path, manifest: Path, processes: int, accumulate: int, strategy: Any = "ddp"
) -> dict[str, Any]:
    """Four steps with all that helps small batches and released weights; the backbone is released after two of them."""
    module = well_conditioned_module(
        centering="sinkhorn_knopp",
        sinkhorn_queue=6,
        koleo_queue=5,
        # Of all losses, KoLeo alone looks no further than its micro-batch.
        koleo_weight=0.1 if accumulate == 1 else 0.0,
        accumulate=accumulate,
        anchor={"feature_weight": 3.0, "gram_weight": 5.0},
        heads_first={"at_most": 0.5, "least_improvement": -9.0, "ramp": 0.5},
        warmup=0.0,
        lr_scaling="none",
        base_lr=1e-3,
    )
    recorder = LossRecorder()
    changes = {"strategy": strategy, "devices": processes} if processes > 1 else {}
    tiny_trainer(folder, 4, recorder, **changes).fit(module, datamodule=tiny_data(manifest))
    assert module.release is not None
    return {"losses": recorder.losses, "released_at": module.release.released_at, "state": whole_state(module)}


def watch(folder: Path, manifest: Path, processes: int) -> dict[str, Any]:
    """Eight steps, watched in each, of a run that counts as collapsed as soon as that is asked."""
    watch, module = Watch(every_n_steps=1, least_information=100.0), well_conditioned_module()
    changes = {"strategy": "ddp", "devices": processes} if processes > 1 else {}
    trainer = tiny_trainer(folder, 8, watch, **changes)
    trainer.fit(module, datamodule=tiny_data(manifest))
    assert watch.best is not None
    return {"steps": module.next_step, "best step": watch.best["step"], "best value": watch.best["value"]}


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """All weights to 1e-5, where every one was free to move by 2e-3."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        pair = [value, other[name]]
        if name.endswith("qkv.bias"):
            # The keys' bias has no gradient but rounding (it shifts all scores of a softmax alike), which AdamW takes
            # for one.
            pair = [torch.cat([part.chunk(3)[0], part.chunk(3)[2]]) for part in pair]
        torch.testing.assert_close(*pair, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def in_two_processes(module: str, folder: Path) -> list[dict[str, Any]]:
    """What `leave` of a module's two processes left; they find a manifest, and a run that one process has begun."""
    manifest = write_manifest(folder)
    train(folder / "begun by one", manifest, 1, stop_after=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    root = Path(__file__).resolve().parents[2]
    words = [sys.executable, "-m", module]
    started = [
        subprocess.Popen(
            [*words, str(rank), port, str(folder), str(manifest)], cwd=root, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=400)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def join(rank: int, port: str) -> None:
    """Join the group; Lightning then joins processes that were started for it, as by torchrun."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    dist.init_process_group("gloo")


def leave(found: dict[str, Any], folder: Path, rank: int) -> None:
    """Leave the results, and the group."""
    torch.save(found, folder / f"{rank}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()


def main(rank: int, port: str, folder: Path, manifest: Path) -> None:
    """Join the group, run everything, leave the results."""
    join(rank, port)
    found = collectives(rank) | train(folder / "run", manifest, 2)
    train(folder / "begun by two", manifest, 2, stop_after=1)
    found["gone on"] = train(folder / "begun by one", manifest, 2)
    for accumulate in (1, 2):
        name = f"everything {accumulate}"
        found[name] = train_with_everything_on(folder / name, manifest, 2, accumulate)
    found["watched"] = watch(folder / "watched", manifest, 2)
    leave(found, folder, rank)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
