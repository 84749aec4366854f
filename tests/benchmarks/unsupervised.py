"""Objects without labels beside lungs and nuclei: how far the first component and the normalised cut of patches get.

`make bench-unsupervised` writes docs/benchmarks/unsupervised.md, and a sheet of overlays of each set below runs/.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from medino.core import RunFolder, read_json, track, whole_file
from medino.data import Intensity, Manifest, PixelDataset
from medino.data.slides.tissue import otsu
from medino.features import BackboneMaps, EvaluationTransform, MapMaker, PatchPixels
from medino.models import build_backbone, load_backbone
from medino.probes import patient_counts, percentile_interval
from medino.segmentation.overlays import drawn_in, write_overlay
from medino.segmentation.prediction import CutMasker, ForegroundMasker
from medino.views import IMAGENET_MEAN, IMAGENET_STD
from tests.benchmarks.evidence_masks import SETS, WORK, cohort

ROOT = Path(__file__).resolve().parents[2]
SHEETS = Path("runs/unsupervised")
SIZE, PATCH, REPLICATES = 192, 8, 2000

PAGE = """# Objects without any label

Made by `make bench-unsupervised` on {machine}.

What `medino segment --unsupervised` marks, beside the masks of people: lungs on {lungs} chest radiographs
(Shenzhen), nuclei on {nuclei} microscopy images (DSB 2018), out of the test halves of `make evidence-segment`. Dice of
all that is marked against all lungs or nuclei, mean over images; 95 % intervals are percentiles of {replicates}
resamples of the files, each of which stands for its own patient. Images are shown whole at {size} px, patch {patch}.
"Pixels" are a patch's own values, "untrained" is the small backbone `mini` as it is drawn, "trained" the same after
`make evidence-segment` trained it from scratch on the set's other half without masks
({steps}).

"Everything" marks all of each image. "Otsu" is one threshold of the grey values (Otsu 1979) of each image; its
foreground is the side with less of the border, the same rule as for the first component. Both are what the
patches have to beat. The rule was changed once (from the smaller share of its own pixels at the border) after a
look at twelve of these images; nothing else was chosen on them.

| tokens | way | lungs | nuclei |
|---|---|---|---|
{rows}

{words}

`runs/unsupervised/lungs.png` and `nuclei.png` are overlays of {on_sheet} images each (the first, the last, those evenly
between): what people marked, and what is found without a label, the parts of a cut in colours that repeat.

TokenCut joins patches whose cosine is above 0.2, the value for features of published DINO backbones. Where nearly all
pairs lie above it, as may be with pixels and with young features, what is cut is noise, and the sheets show such cuts.
Neither way is worth its time on features as young as these; published weights were not at hand to be measured.
"""


COUNTS = {"lungs": 71, "nuclei": 67}
"""How many of the test images of each set of `make evidence-segment` are measured."""

ON_SHEET = 4
"""Images of a set that are drawn."""

Image = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The image as it is shown (3, S, S), as it is (3, H, W) in [0, 1], and where the mask is not 0 (H, W)."""


def read(name: str, data: Path, transform: EvaluationTransform) -> list[Image]:
    """Evenly chosen test images of a set."""
    manifest = Manifest.read(cohort(SETS[name], data, WORK / name))
    rows = np.flatnonzero(manifest.column("split") == "test")
    rows = rows[np.linspace(0, len(rows) - 1, COUNTS[name]).round().astype(int)]
    pixels, found = PixelDataset(manifest), []
    for row in rows.tolist():
        decoded = pixels[row]
        found.append((transform(decoded), transform.intensity.apply(decoded), pixels.mask(row) > 0))
    return found


def makers_of(name: str) -> dict[str, MapMaker]:
    """What makes the tokens; `make evidence-segment` leaves a backbone trained on the set's other half."""
    makers: dict[str, MapMaker] = {"pixels": PatchPixels(PATCH), "untrained": BackboneMaps(build_backbone("mini"))}
    trained = RunFolder(WORK / name / "pretrained").backbone
    if trained.exists():
        makers["trained"] = BackboneMaps(load_backbone(trained))
    return makers


def by_otsu(image: Image) -> torch.Tensor:
    """(H, W) int64: 1 on one side of the grey values' threshold."""
    grey = image[1].mean(dim=0)
    bright = grey > otsu(grey.numpy(), (0.0, 1.0))
    border = torch.ones_like(bright)
    border[1:-1, 1:-1] = False
    return (~bright if bright[border].float().mean() > 0.5 else bright).long()


def dice(found: torch.Tensor, truth: torch.Tensor) -> float:
    """1 where both are empty."""
    total = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def ways(makers: Mapping[str, MapMaker], transform: EvaluationTransform) -> dict[tuple[str, str], Callable]:
    """What is measured, by tokens and way; each from an image to (H, W) int64, the numbers of what is found."""
    found: dict[tuple[str, str], Callable] = {
        ("none", "everything"): lambda image: torch.ones_like(image[2], dtype=torch.int64),
        ("none", "Otsu"): by_otsu,
    }
    for name, maker in makers.items():
        for way, masker in (("pca", ForegroundMasker(maker, transform)), ("tokencut", CutMasker(maker, transform))):
            found[name, way] = lambda image, masker=masker: masker([image[0]], [tuple(image[2].shape)])[0]
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
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "unsupervised.md")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    transform = EvaluationTransform(size=SIZE, fit="pad", intensity=Intensity(), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    scores: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for title in COUNTS:
        shown = read(title, options.data, transform)
        drawn = np.unique(np.linspace(0, len(shown) - 1, ON_SHEET).round().astype(int)).tolist()
        columns = {"masks of people": [shown[number][2].long() for number in drawn]}
        for (tokens, way), mark in ways(makers_of(title), transform).items():
            masks = [mark(image) for image in track(shown, f"{title}, {tokens}, {way}", total=len(shown))]
            values = np.array([dice(mask > 0, image[2]) for mask, image in zip(masks, shown, strict=True)])
            scores.setdefault((tokens, way), {})[title] = values
            print(title, tokens, way, interval(values), flush=True)
            if way != "everything":
                columns[way if tokens == "none" else f"{way}, {tokens}"] = [masks[number] for number in drawn]
        write_overlay(SHEETS / f"{title}.png", sheet([shown[number][1] for number in drawn], columns))
    text = PAGE.format(
        machine=f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}",
        **COUNTS,
        replicates=REPLICATES,
        size=SIZE,
        patch=PATCH,
        rows="\n".join(f"| {tokens} | {way} | {' | '.join(cells(of))} |" for (tokens, way), of in scores.items()),
        steps="; ".join(f"{title}: {trained_steps(title)}" for title in COUNTS),
        words=verdict(scores),
        on_sheet=ON_SHEET,
    )
    with whole_file(options.page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    return 0


def sheet(images: Sequence[torch.Tensor], columns: Mapping[str, Sequence[torch.Tensor]]) -> Figure:
    """One image a row, with what each column found in it drawn in, one colour a number.

    Args:
        images: each (3, H, W) in [0, 1].
        columns: by name the masks (H, W) int64 of the images.
    """
    figure = Figure(figsize=(1.5 * (1 + len(columns)), 1.5 * len(images) + 0.3), layout="constrained")
    axes = figure.subplots(len(images), 1 + len(columns), squeeze=False)
    for row, image in enumerate(images):
        pictures = {"image": torch.zeros_like(image[:1], dtype=torch.bool)}
        for name, masks in columns.items():
            pictures[name] = F.one_hot(masks[row]).permute(2, 0, 1)[1:].bool()
        for place, (name, planes) in zip(axes[row], pictures.items(), strict=True):
            place.imshow(drawn_in(image, planes))
            place.set_axis_off()
            if row == 0:
                place.set_title(name, fontsize=8)
    return figure


def cells(of: Mapping[str, np.ndarray]) -> list[str]:
    """What a row of the table says of each set."""
    return [interval(of[title]) if title in of else "not measured" for title in COUNTS]


def trained_steps(name: str) -> str:
    """How long the trained backbone was trained."""
    facts = WORK / name / "facts.json"
    return f"{read_json(facts)['pretraining_steps']} steps" if facts.exists() else "not there, not measured"


def verdict(scores: Mapping[tuple[str, str], Mapping[str, np.ndarray]]) -> str:
    """What wins, and by how much the best way by tokens is beside the best without them."""
    sentences = []
    for title in COUNTS:
        means = {key: of[title].mean() for key, of in scores.items() if title in of}
        with_tokens = max((key for key in means if key[0] != "none"), key=lambda key: means[key])
        without = max((key for key in means if key[0] == "none"), key=lambda key: means[key])
        gain = interval(scores[with_tokens][title] - scores[without][title])
        sentences.append(
            f"On {title} the best of the ways by tokens is {with_tokens[1]} on {with_tokens[0]}; its paired difference "
            f"to the best without tokens ({without[1]}) is {gain}."
        )
    return " ".join(sentences)


if __name__ == "__main__":
    sys.exit(main())
