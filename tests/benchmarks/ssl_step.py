"""One side of the comparison in a process of its own: takes steps when asked to, and says what they took.

`python -m tests.benchmarks.ssl_step SIDE SETTINGS` with SETTINGS in JSON; reads "step" lines, answers each with
seconds; answers "peak" with the peak of memory in bytes above what the process held before the networks were made.
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from medino.core import keep_freed_memory, numpy_generator, torch_generator
from medino.ssl import DINOv2, PretrainingBatch, Schedules, clip_gradients, make_schedules
from medino.ssl.parameter_groups import set_step_settings
from medino.views import BlockMasks
from tests.benchmarks.reference_step import ReferenceStep

DROP_PATH, LOCAL_CROPS, GLOBAL_SIZE, LOCAL_SIZE = 0.3, 8, 224, 98


def make_batch(images: int, patch_size: int, step: int, device: torch.device) -> PretrainingBatch:
    """Noise in the recipe's shapes, with the recipe's masks."""
    generator = torch_generator(0, "bench crops", step)
    side = GLOBAL_SIZE // patch_size
    masks = BlockMasks((side, side))(2 * images, numpy_generator(0, "bench masks", step))
    local_size = LOCAL_SIZE // patch_size * patch_size
    return PretrainingBatch(
        torch.randn(2 * images, 3, GLOBAL_SIZE, GLOBAL_SIZE, generator=generator),
        torch.randn(LOCAL_CROPS * images, 3, local_size, local_size, generator=generator),
        masks.flatten(1).bool(),
        step=step,
    ).to(device)


def schedules() -> Schedules:
    """Those of a short run, past its frozen steps."""
    return make_schedules(
        1000,
        learning_rate=(1e-4, 1e-6),
        warmup_steps=1,
        weight_decay=(0.04, 0.4),
        momentum=(0.992, 1.0),
        teacher_temperature=(0.04, 0.07),
        teacher_temperature_warmup_steps=300,
        frozen_last_layer_steps=0,
    )


def ours(module: DINOv2) -> Callable[[PretrainingBatch], Any]:
    """The step of the module that users train with, without the trainer around it."""
    optimizer, settings_of = module.configure_optimizers(), schedules()
    module.train()

    def step(batch: PretrainingBatch) -> None:
        settings = settings_of.at(batch.step)
        set_step_settings(optimizer, settings.learning_rate, settings.last_layer_learning_rate, settings.weight_decay)
        optimizer.zero_grad()
        drop_path = torch_generator(0, "drop_path", batch.step)
        losses = module.core.compute_losses(batch, settings.teacher_temperature, drop_path)
        losses.total.backward()
        clip_gradients(module.core.student_parts, 3.0, each_parameter=False)
        optimizer.step()
        module.core.update_teacher(settings.momentum)
        module.core.update_centers(losses)

    return step


def reference(module: DINOv2, device: torch.device) -> Callable[[PretrainingBatch], Any]:
    """The yardstick, from the same weights."""
    h: Any = module.hparams
    widths = {"dino_head": (h.head_hidden_dim, h.head_bottleneck_dim, h.prototypes)}
    step, settings_of = (
        ReferenceStep(module.backbone_config, widths, module.core.student.state_dict(), device=device),
        schedules(),
    )
    return lambda batch: step(batch, settings_of.at(batch.step))


def peak_memory(device: torch.device) -> int:
    """Bytes: of the device, or of the process where that is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(side: str, settings: dict[str, Any]) -> None:
    """Answer on standard output until the input ends."""
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    device = torch.device(settings["device"])
    if device.type == "cpu" and side != "reference":
        # As `DINOv2.setup` does.
        keep_freed_memory()
    if device.type == "cuda":
        # As `medino fit` does by its trainer (deterministic: warn), for all sides: other kernels run.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True, warn_only=True)
    before = peak_memory(device)
    module = DINOv2(
        settings["backbone"],
        backbone_settings={"image_size": GLOBAL_SIZE},
        drop_path_rate=DROP_PATH,
        prototypes=settings["prototypes"],
        checkpoint_blocks=side == "checkpointed",
        compile_blocks=side == "compiled",
    ).to(device)
    step = reference(module, device) if side.startswith("reference") else ours(module)
    patch_size = module.backbone_config.patch_size
    del module
    gc.collect()
    for number, line in enumerate(sys.stdin):
        if line.strip() == "peak":
            print(peak_memory(device) - before, flush=True)
            continue
        batch = make_batch(settings["images"], patch_size, number, device)
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=settings["bf16"]):
            step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
