"""Objects without labels beside lungs and nuclei: how far the first component and the normalised cut of patches get.

`make bench-unsupervised` writes docs/benchmarks/unsupervised.md, and overlays into a folder that is asked for.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medino.core import track, whole_file
from medino.data import Intensity, PixelDataset, scan
from medino.data.slides.tissue import otsu
from medino.features import BackboneMaps, EvaluationTransform, MapMaker, PatchPixels
from medino.models import build_backbone, load_backbone
from medino.probes import patient_counts, percentile_interval
from medino.segmentation.overlays import write_picture
from medino.segmentation.prediction import CutMasker, ForegroundMasker
from medino.views import IMAGENET_MEAN, IMAGENET_STD

ROOT = Path(__file__).resolve().parents[2]
SIZE, PATCH, REPLICATES = 192, 8, 2000

PAGE = """# Objects without any label

Made by `make bench-unsupervised` on {machine}.

What `medino segment --unsupervised` marks, beside the masks of people: lungs on {lungs} chest radiographs
(Shenzhen), nuclei on {nuclei} microscopy images (DSB 2018); every so-many-th file of each set. Dice of all that is
marked against all lungs or nuclei, mean over images; 95 % intervals are percentiles of {replicates} resamples of
the files, each of which stands for its own patient. Images are shown whole at {size} px in patches of {patch} px.

"Everything" marks all of each image. "Otsu" is one threshold of the grey values (Otsu 1979) of each image; its
foreground is the side with the smaller share at the border, the same rule as for the first component. Both are what
the patches have to beat. No setting was chosen on these images.

| tokens | way | lungs | nuclei |
|---|---|---|---|
{rows}

{words}
"""


@dataclass(frozen=True)
class ImageSet:
    """Images and masks, as folders below the real data, and how many of them are measured."""

    images: str
    masks: str
    count: int


SETS = {
    "lungs": ImageSet("cxr_shenzhen/images", "cxr_shenzhen/lung_masks", 71),
    "nuclei": ImageSet("dsb2018_nuclei/images", "dsb2018_nuclei/labels", 67),
}

Image = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The image as it is shown (3, S, S), as it is (3, H, W) in [0, 1], and where the mask is not 0 (H, W)."""


def read(data: Path, images: ImageSet, transform: EvaluationTransform) -> list[Image]:
    """Evenly chosen images of a set that have a mask."""
    manifest = scan([data / images.images], masks=data / images.masks, workers=2)
    rows = np.flatnonzero([path is not None for path in manifest.column("mask_path")])
    rows = rows[np.linspace(0, len(rows) - 1, images.count).round().astype(int)]
    pixels, found = PixelDataset(manifest), []
    for row in rows.tolist():
        decoded = pixels[row]
        found.append((transform(decoded), transform.intensity.apply(decoded), pixels.mask(row) > 0))
    return found


def by_otsu(image: Image) -> torch.Tensor:
    """(H, W) bool: one side of the grey values' threshold."""
    grey = image[1].mean(dim=0)
    bright = grey > otsu(grey.numpy(), (0.0, 1.0))
    border = torch.ones_like(bright)
    border[1:-1, 1:-1] = False
    shares = [border[side].float().mean() for side in (bright, ~bright)]
    return bright if shares[0] <= shares[1] else ~bright


def dice(found: torch.Tensor, truth: torch.Tensor) -> float:
    """1 where both are empty."""
    total = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def ways(makers: Mapping[str, MapMaker], transform: EvaluationTransform) -> dict[tuple[str, str], Callable]:
    """What is measured, by tokens and way; each from an image to (H, W) bool."""
    found: dict[tuple[str, str], Callable] = {
        ("none", "everything"): lambda image: torch.ones_like(image[2]),
        ("none", "Otsu"): by_otsu,
    }
    for name, maker in makers.items():
        for way, masker in (("pca", ForegroundMasker(maker, transform)), ("tokencut", CutMasker(maker, transform))):
            found[name, way] = lambda image, masker=masker: masker([image[0]], [tuple(image[2].shape)])[0] > 0
    return found


def interval(values: np.ndarray) -> str:
    """Mean and its 95 % interval over files."""
    drawn = patient_counts(len(values), REPLICATES, seed=0)
    low, high = percentile_interval(drawn @ values / drawn.sum(axis=1))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> int:
    """Run the benchmark and write its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDINO_TEST_DATA", "../shared/data")))
    parser.add_argument("--weights", nargs="*", default=[], help="backbones of patch 8 beside the untrained, NAME=FILE")
    parser.add_argument("--overlays", type=Path, help="write overlays here (images of patients)")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "unsupervised.md")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    transform = EvaluationTransform(size=SIZE, fit="pad", intensity=Intensity(), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    makers: dict[str, MapMaker] = {"pixels": PatchPixels(PATCH), "untrained": BackboneMaps(build_backbone("mini"))}
    makers |= {
        name: BackboneMaps(load_backbone(path)) for name, path in (each.split("=", 1) for each in options.weights)
    }
    scores: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for title, images in SETS.items():
        shown = read(options.data, images, transform)
        for (tokens, way), mark in ways(makers, transform).items():
            masks = [mark(image) for image in track(shown, f"{title}, {tokens}, {way}", total=len(shown))]
            values = np.array([dice(mask, image[2]) for mask, image in zip(masks, shown, strict=True)])
            scores.setdefault((tokens, way), {})[title] = values
            print(title, tokens, way, interval(values), flush=True)
            if options.overlays is not None:
                for number in range(3):
                    path = options.overlays / f"{title}_{tokens}_{way}_{number}.png"
                    write_picture(path, shown[number][1], masks[number][None])
    text = PAGE.format(
        machine=f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}",
        lungs=SETS["lungs"].count,
        nuclei=SETS["nuclei"].count,
        replicates=REPLICATES,
        size=SIZE,
        patch=PATCH,
        rows="\n".join(
            f"| {tokens} | {way} | {interval(of['lungs'])} | {interval(of['nuclei'])} |"
            for (tokens, way), of in scores.items()
        ),
        words=verdict(scores),
    )
    with whole_file(options.page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    return 0


def verdict(scores: Mapping[tuple[str, str], Mapping[str, np.ndarray]]) -> str:
    """What wins, and by how much the best way by tokens is beside the best without them."""
    sentences = []
    for title in SETS:
        with_tokens = max((key for key in scores if key[0] != "none"), key=lambda key: scores[key][title].mean())
        without = max((key for key in scores if key[0] == "none"), key=lambda key: scores[key][title].mean())
        gain = interval(scores[with_tokens][title] - scores[without][title])
        sentences.append(
            f"On {title} the best of the ways by tokens is {with_tokens[1]} on {with_tokens[0]}; its paired difference "
            f"to the best without tokens ({without[1]}) is {gain}."
        )
    return " ".join(sentences)


if __name__ == "__main__":
    sys.exit(main())
