"""How fast a pretraining step is and what memory it takes, beside the recipe's formulas read one after the other.

`make bench-ssl` writes docs/benchmarks/ssl.md. Each side runs in a process of its own and takes its steps in turns with
the others.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medino.core import whole_file
from medino.models import PRESETS, BackboneConfig
from tests.benchmarks.ssl_step import DROP_PATH, GLOBAL_SIZE, LOCAL_CROPS, LOCAL_SIZE

ROOT = Path(__file__).resolve().parents[2]
MASKED = 0.5 * 0.3
"""Share of the global crops' patches that are masked, on average: half of the crops, 0.1 to 0.5 of each."""

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.2}
"""Dense bfloat16 products a second by the makers' data sheets, 1e12."""

SIDES = {
    "reference": "yardstick",
    "ours": "**medino**",
    "checkpointed": "medino, checkpointed",
    "reference_keeping": "yardstick, freed memory kept",
    "compiled": "medino, compiled",
}
"""What can be compared, by names in the table; all but the last where nothing else is asked for."""

PAGE = """# How fast a pretraining step is

Made by `make bench-ssl` on {machine}.

The yardstick (`tests/benchmarks/reference_step.py`) is the recipe's step as its formulas read: crop sizes one after
the other, subset drop path, full scores, eager. It gives the golden numbers (`tests/ssl/test_reference_step.py`), and
so does medino's step. Both start from the same weights and take the same batches: {images} images, 2 crops of {large}
px and {small_crops} of {small} px, drop path {drop_path}, {prototypes:,} prototypes, the recipe's masks. Each side runs
in a process of its own and takes its steps in turns with the others; the first turn is not counted. Speed is the ratio
of the median seconds of a step. Memory is the peak of the process (`ru_maxrss`; on a GPU the allocator's peak) less
what the process held before the networks were made; weights, gradients and optimiser are in it.

On a CPU, medino's pretrainings keep memory that was freed (`medino.core.keep_freed_memory`). PyTorch by default, and so
the yardstick, gives tensors of over 32 MB back to the system, which clears their pages anew each time. The row of a
yardstick that keeps its memory, too, says what of the difference is due to that.

{table}

{gpu}
"""


@dataclass
class Side:
    """One process: its name, how it is spoken with, and the seconds of its steps."""

    name: str
    process: subprocess.Popen[str]
    seconds: list[float] = field(default_factory=list)

    def ask(self, what: str) -> float:
        """Its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self.name} ended")
        return float(answer)


@contextmanager
def started(name: str, settings: dict[str, Any]) -> Iterator[Side]:
    """A side, until it is no longer needed."""
    words = [sys.executable, "-m", "tests.benchmarks.ssl_step", name, json.dumps(settings)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Side(name, process)
        finally:
            process.kill()


def measure(sides: Sequence[str], turns: int, settings: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Median seconds of a step and peak bytes of each side; the first turn warms up."""
    with ExitStack() as stack:
        running = [stack.enter_context(started(name, settings)) for name in sides]
        for turn in range(turns + 1):
            for side in running:
                seconds = side.ask("step")
                print(f"{settings['backbone']}, turn {turn}, {side.name}: {seconds:.2f} s", flush=True)
                if turn:
                    side.seconds.append(seconds)
        return {side.name: (statistics.median(side.seconds), side.ask("peak")) for side in running}


def step_flops(config: BackboneConfig, images: int, prototypes: int) -> float:
    """Floating-point operations of the products of one step, as the recipe has it: nothing left out in the last block.

    Two operations a product and addition; the backward pass is twice the forward. Drop path runs the share of samples
    that it keeps.
    """
    dim, depth, hidden = config.embed_dim, config.depth, config.ffn_width
    weights = 4 * dim * dim + (2 if config.ffn_layer == "mlp" else 3) * dim * hidden

    def forward(crops: int, size: int) -> float:
        tokens = (size // config.patch_size) ** 2 + 1 + config.num_register_tokens
        return crops * tokens * depth * 2 * (weights + 2 * tokens * dim)

    large, small = forward(2 * images, GLOBAL_SIZE), forward(LOCAL_CROPS * images, LOCAL_SIZE)
    masked = 2 * images * (GLOBAL_SIZE // config.patch_size) ** 2 * MASKED
    head = 2 * (dim * 2048 + 2048 * 2048 + 2048 * 256 + 256 * prototypes)
    student = (1 - DROP_PATH) * (large + small) + head * ((2 + LOCAL_CROPS) * images + masked)
    return 3 * student + large + head * (2 * images + masked)


def device_name() -> str:
    """The machine, without its host name."""
    if torch.cuda.is_available():
        how = "with deterministic algorithms where PyTorch has them, as `medino fit` runs"
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {how}"
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = f"{names[0]} ({model})" if names else model
    return f"{os.cpu_count()} CPU cores, {model}, torch {torch.__version__}"


def rows(backbone: str, found: dict[str, tuple[float, float]], settings: dict[str, Any]) -> list[str]:
    """Lines of the table."""
    base_seconds, base_bytes = found["reference"]
    lines = []
    for name, (seconds, peak) in found.items():
        cells = [
            backbone,
            "bf16" if settings["bf16"] else "fp32",
            SIDES[name],
            f"{seconds:.2f}",
            f"{settings['images'] / seconds:.2f}",
            f"{base_seconds / seconds:.2f}",
            f"{peak / 1e6:,.0f}",
            f"{peak / base_bytes:.2f}",
            share_of_peak(backbone, seconds, settings),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def share_of_peak(backbone: str, seconds: float, settings: dict[str, Any]) -> str:
    """Operations a second by the formula over the device's, where the device is known."""
    if not torch.cuda.is_available():
        return "-"
    known = [peak for name, peak in PEAK_TFLOPS.items() if name in torch.cuda.get_device_name()]
    flops = step_flops(PRESETS[backbone], settings["images"], settings["prototypes"])
    return f"{flops / seconds / known[0] / 1e12:.0%}" if known else "unknown device"


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", choices=list(PRESETS), default=None)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES)[:4])
    parser.add_argument("--images", type=int, default=8 if not torch.cuda.is_available() else 32)
    parser.add_argument("--prototypes", type=int, default=65536)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "ssl.md")
    options = parser.parse_args()
    if "reference" not in options.sides:
        parser.error("--sides needs reference, which the others are compared with")
    cuda = torch.cuda.is_available()
    settings = {
        "device": "cuda" if cuda else "cpu",
        "images": options.images,
        "prototypes": options.prototypes,
        "bf16": cuda,
        "threads": os.cpu_count() or 1,
    }
    lines = [
        "| backbone | precision | step | seconds | images a second | times the yardstick | peak, MB | of the "
        "yardstick's | share of the device's peak |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for backbone in options.backbones or (["small", "base", "large"] if cuda else ["small"]):
        each = {**settings, "backbone": backbone}
        lines += rows(backbone, measure(options.sides, options.turns, each), each)
    text = PAGE.format(
        machine=device_name(),
        images=options.images,
        large=GLOBAL_SIZE,
        small_crops=LOCAL_CROPS,
        small=LOCAL_SIZE,
        drop_path=DROP_PATH,
        prototypes=options.prototypes,
        table="\n".join(lines),
        gpu=""
        if cuda
        else "Not measured on a GPU: there was none. The same command there compares S, B and L in bf16.",
    )
    with whole_file(options.page) as temporary:
        temporary.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
