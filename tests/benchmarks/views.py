"""`make bench-views`: the ten views of an image beside the ten resizes that no such pipeline can do without.

The yardstick cuts the same ten random crops (2 of 224 pixels, 8 of 98) out of a colour image of 512 x 512 pixels of 8
bits and resizes them, bicubic and antialiased, by `torch.nn.functional.interpolate`, channels last. Beside it stand all
of the views of an image as the loader's workers make them, from the decoded pixels to normalised tensors, with every
augmentation of the recipe as often as it is drawn. One thread; each draw is timed several times, in turns, by the
processor time of the process, and its shortest time counts, so that what else the machine does meets neither side.

Run by `python -m tests.benchmarks.views`.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from medino.core import numpy_generator
from medino.data import Pixels, Window
from medino.views import MultiCrop, draw_crop

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "views.md"
SHARED = Path(os.environ.get("MEDINO_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

SIDE = 512
CROPS = (((0.32, 1.0), 224),) * 2 + (((0.05, 0.32), 98),) * 8
"""Scale and size of each of the recipe's crops."""

TARGET = 2.7
"""Times the resizes alone that the views may take."""

TEXT = """\
# How fast views are made

Made by `make bench-views` on one core of {cores}, {processor}, torch {torch}. Ten views of an image of {side} x {side}
pixels (2 of 224, 8 of 98) with all augmentations, beside the ten antialiased resizes of the same crops alone, of 8-bit
colours, timed in the same run and in turns with it. Each of {draws} draws counts by the best of {rounds} times. The aim
is {target} times the resizes, for all rows:
{verdict}.

Images come as the readers give them: colours of 8 bits as they lie in their file, grey values as floats. Where a grey
image has no window of its own, percentiles of its values are taken once.

| views of | resizes alone, ms | ten views, ms | times the resizes (all draws) | median of the draws |
|---|--:|--:|--:|--:|
{rows}
"""


def colours(shared: Path = SHARED) -> np.ndarray:
    """(512, 512, 3) uint8: four H&E tiles side by side; noise where the shared images are not there."""
    files = sorted((shared / "lc25000_lung").rglob("*.jp*g"))[:4]
    if len(files) < 4:
        return numpy_generator(0, "benchmark image").integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    tiles = [np.asarray(Image.open(file).convert("RGB").resize((SIDE // 2,) * 2)) for file in files]
    return np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])


def measure(draws: int = 24, rounds: int = 15) -> list[dict[str, float | str]]:
    """Time the views of three kinds of image, each beside the yardstick.

    Args:
        draws: how many different draws of ten views.
        rounds: how often each is timed.

    Returns:
        For each kind its name, mean milliseconds of yardstick and views, the ratio of these and the draws' median one.
    """
    torch.set_num_threads(1)
    image = colours()
    rgb = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    colour = Pixels(rgb[0], (0.0, 255.0))
    # Sixteen bits: the green channel with what eight bits have rounded away.
    fine = torch.from_numpy(numpy_generator(0, "benchmark noise").integers(0, 256, (1, SIDE, SIDE)))
    grey = Pixels((rgb[0, 1:2].long() * 256 + fine).float(), (0.0, 65535.0), modality="DX")
    windowed = replace(grey, windows=(Window(32768, 60000),))
    kinds = {
        "RGB, the recipe (natural)": (MultiCrop("natural"), colour),
        "16-bit grey (radiology)": (MultiCrop("radiology"), windowed),
        "16-bit grey without a window of its own": (MultiCrop("radiology"), grey),
        "RGB, stains (histology)": (MultiCrop("histology"), colour),
    }
    found: list[dict[str, float | str]] = []
    for name, (views, pixels) in kinds.items():
        ours, theirs = [], []
        for draw in range(draws):
            best = _best(
                [
                    lambda draw=draw: resizes(rgb, np.random.default_rng(draw)),
                    lambda draw=draw, views=views, pixels=pixels: views(pixels, np.random.default_rng(draw)),
                ],
                rounds,
            )
            theirs.append(1000 * best[0])
            ours.append(1000 * best[1])
        found.append(
            {
                "name": name,
                "resizes": statistics.mean(theirs),
                "views": statistics.mean(ours),
                "ratio": sum(ours) / sum(theirs),
                "median": statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
            }
        )
    return found


def resizes(image: torch.Tensor, generator: np.random.Generator) -> list[torch.Tensor]:
    """The yardstick: ten random crops of an image (1, 3, H, W) uint8, channels last, resized."""
    resized = []
    for scale, size in CROPS:
        top, left, height, width = draw_crop(SIDE, SIDE, scale, generator)
        crop = image[..., top : top + height, left : left + width]
        resized.append(F.interpolate(crop, (size, size), mode="bicubic", align_corners=False, antialias=True))
    return resized


def _best(ways: list[Callable[[], object]], rounds: int) -> list[float]:
    """The shortest processor time of each way, in turns, in seconds."""
    best = [float("inf")] * len(ways)
    for _ in range(rounds):
        for place, way in enumerate(ways):
            start = time.process_time()
            way()
            best[place] = min(best[place], time.process_time() - start)
    return best


def table(found: list[dict[str, float | str]]) -> str:
    """The rows of the page's table."""
    return "\n".join(
        "| {name} | {resizes:.2f} | {views:.2f} | {ratio:.2f} | {median:.2f} |".format(**row) for row in found
    )


def verdict(found: list[dict[str, float | str]]) -> str:
    """Whether the aim is reached."""
    missed = [str(row["name"]) for row in found if float(row["ratio"]) > TARGET]
    return f"not reached for {' and '.join(missed)}" if missed else "reached"


def processor() -> str:
    """What the operating system calls the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--draws", type=int, default=24, help="different draws of ten views")
    parser.add_argument("--rounds", type=int, default=15, help="times that each is timed")
    options = parser.parse_args()
    found = measure(options.draws, options.rounds)
    page = TEXT.format(
        cores=os.cpu_count(),
        processor=processor(),
        torch=torch.__version__,
        side=SIDE,
        draws=options.draws,
        rounds=options.rounds,
        target=TARGET,
        verdict=verdict(found),
        rows=table(found),
    )
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
