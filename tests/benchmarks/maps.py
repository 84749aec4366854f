"""`make bench-maps`: a linear head trained on kept token maps, beside the same training with the backbone in each step.

Both sides are one and the same loop on the same 200 radiographs; what differs is where a step's maps come from.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from medino.core import size_in_words, whole_file
from medino.data import Manifest, scan
from medino.features import BackboneMaps, EvaluationTransform, MapStore, keep_maps
from medino.models import PRESETS, build_backbone
from medino.segmentation import HeadTraining
from medino.segmentation.kept import train_head
from medino.segmentation.mask_design import MaskedImages

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "maps.md"

IMAGES, STEPS, TURNS, ANEW_STEPS = 200, 200, 3, 2
"""Images and steps of a training on kept maps; turns, and steps of each turn with the features computed anew."""

CASES = {"mini": 128, "small": 224}
"""Backbones (untrained: the weights change no time) and the sides of their images, pixels."""

TEXT = """\
# Training on kept token maps

Made by `make bench-maps` on {cores} CPU cores, {machine}, torch {torch}. A linear head (BatchNorm, dropout, 1x1
convolution; Dice + cross-entropy, batches of 16) learns the lungs in {images} chest radiographs: once on token maps
that were computed before and kept on the disk in fp16, once with the frozen backbone run in every step. Both are the
same loop in one process, in turns; the medians of {turns} turns are shown. The ratios count, single times depend on the
machine.

{rows}

The last column: how many times faster {steps} steps are even when the maps have to be computed first.
"""

COLUMNS = (
    "backbone, image",
    "maps on the disk",
    "computing them, once",
    "a step on kept maps",
    "a step with the backbone",
    "ratio",
    f"{STEPS} steps on kept maps",
    "with their computing",
)


@dataclass(frozen=True)
class Anew:
    """What stands in a store's place of maps: they are computed whenever they are asked for.

    Attributes:
        images: (N, 3, S, S) of the store's rows.
        maker: makes the maps.
        shape: of the array that it stands for.
    """

    images: torch.Tensor
    maker: BackboneMaps
    shape: tuple[int, ...]

    def __getitem__(self, place: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """(B, h, w, D) maps of some rows as they are."""
        return self.maker(self.images[place[0]]).numpy()


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(name: str, side: int, manifest: Manifest, folder: Path) -> str:
    """The table's line of one backbone."""
    backbone = build_backbone(replace(PRESETS[name], image_size=side))
    maker, transform = BackboneMaps(backbone), EvaluationTransform.for_backbone(backbone.config, size=side)
    stores: list[MapStore] = []
    computing = seconds(lambda: stores.append(keep_maps(folder / name, maker, manifest, transform)))
    store = stores[0]
    images, rows = MaskedImages(manifest, transform, {"background": 0, "lung": 1}), np.arange(len(manifest))
    images.read(rows)
    masks = images.masks(rows)
    anew = Anew(images.images(rows), maker, store.maps.shape)
    without = replace(store, maps=cast(np.ndarray, anew))

    def training(kept: MapStore, steps: int) -> float:
        return seconds(lambda: train_head(kept, rows, masks, 2, HeadTraining(steps=steps), seed=0))

    # The first step and the preparation of the masks are the same on both sides, and in neither's time of a step.
    turns = [
        (training(store, 1), training(store, STEPS), training(without, 1), training(without, 1 + ANEW_STEPS))
        for _ in range(TURNS)
    ]
    kept = statistics.median(whole - first for first, whole, _, _ in turns) / (STEPS - 1)
    recomputed = statistics.median(whole - first for _, _, first, whole in turns) / ANEW_STEPS
    whole = statistics.median(whole for _, whole, _, _ in turns)
    size = size_in_words((folder / name / "maps.npy").stat().st_size)
    return (
        f"| {name}, {side} px | {size} | {computing:.1f} s | {1000 * kept:.1f} ms | {1000 * recomputed:.0f} ms | "
        f"**{recomputed / kept:.0f}x** | {whole:.1f} s | {recomputed * STEPS / (whole + computing):.1f}x |"
    )


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDINO_TEST_DATA", "../shared/data")))
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args()
    folder = options.data / "cxr_shenzhen"
    if not folder.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as work:
        manifest = scan([folder / "images"], masks=folder / "lung_masks", key=Path(work) / "key")
        manifest = manifest.select(np.arange(IMAGES))
        rows = [measure(name, side, manifest, Path(work)) for name, side in CASES.items()]
    page = TEXT.format(
        cores=os.cpu_count(),
        machine=platform.machine(),
        torch=torch.__version__,
        images=IMAGES,
        turns=TURNS,
        steps=STEPS,
        rows="\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows]),
    )
    with whole_file(options.page) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
