"""What a step of each way to continue takes in memory and time, for a backbone of DINOv2's own size."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import pytorch_lightning as pl
import torch

from medino.cli.measuring import STEPS, measure
from medino.cli.planning import amount, optimiser_bytes, unique_bytes
from medino.cli.trainer import quiet_lightning
from medino.core import read_json, write_json
from medino.ssl import DINOv2, PretrainingData
from tests.benchmarks.adaptation_arms import ARMS

BACKBONE, WIDTH, BATCH = "small", 384, 8
"""ViT-S/14 at 224 px with the recipe's ten crops, 8 images a step."""

COSTED = ("full", "full_anchor", "lora", "lora_anchor", "explora", "explora_anchor")
"""Names of `ARMS`."""


@dataclass(frozen=True)
class Cost:
    """What a step takes.

    Attributes:
        learning: parameters of the backbone that learn.
        networks: bytes of student, teacher, heads and, with anchoring, the start; what is shared is counted once.
        optimiser: bytes of AdamW's averages.
        step: bytes of activations and gradients at most.
        seconds: of a step whose images are there.
    """

    learning: int
    networks: int
    optimiser: int
    step: int
    seconds: float


def cost(arm: str, work: Path) -> Cost:
    """Measure a way to continue, in a process of its own, or read what was measured.

    Args:
        arm: name of it.
        work: where images and results are kept.
    """
    result = work / "costs" / f"{arm}.json"
    if result.exists():
        return Cost(**read_json(result))
    torch.set_num_threads(1)
    data = PretrainingData(str(work / "histology" / "seen.parquet"), batch_size=BATCH, views="histology")
    settings = ARMS[arm].settings(len(data.manifest), STEPS, BATCH, WIDTH)
    module = DINOv2(backbone=BACKBONE, **settings)
    quiet_lightning()
    trainer = pl.Trainer(
        accelerator="cpu",
        fast_dev_run=STEPS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    networks = unique_bytes([*module.core.parameters(), *module.core.buffers()])
    # A training on a CPU keeps the memory that it has freed, and its peak then says little of what was in use.
    with patch("medino.ssl.module.keep_freed_memory"):
        pace = measure(module, data, trainer, STEPS, 1)
    found = Cost(
        learning=sum(each.numel() for each in module.core.student.backbone.parameters() if each.requires_grad),
        networks=networks,
        optimiser=optimiser_bytes(module),
        step=max((pace.peak_bytes or 0) - optimiser_bytes(module), 0),
        seconds=pace.step,
    )
    result.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, asdict(found))
    return found


def all_costs(work: Path) -> dict[str, Cost]:
    """Measure all ways one after the other, each in a new process: memory that one has taken hides the next one's."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        return dict(zip(COSTED, pool.map(cost, COSTED, [work] * len(COSTED)), strict=True))


def cost_table(costs: dict[str, Cost]) -> str:
    """The costs as a Markdown table."""
    lines = [
        "| what | learns | student, teacher, start | optimiser | a step | in all | s a step, to full |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, one in costs.items():
        sizes = (one.networks, one.optimiser, one.step, one.networks + one.optimiser + one.step)
        cells = [ARMS[arm].title, f"{one.learning:,}", *map(amount, sizes)]
        lines.append(f"| {' | '.join(cells)} | {one.seconds / costs['full'].seconds:.2f} |")
    return "\n".join(lines)
