"""One labelled slice to a volume: propagation beside copying the slice and a linear head trained on it, on hippocampus.

Half of the patients are trained on without labels, and their labels choose each method's setting; Dice is measured on
the other half. `make bench-propagate` writes docs/benchmarks/propagation.md.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from medino.core import RunFolder, read_json, track, whole_file, write_json
from medino.data import Manifest, assign_splits
from medino.features import BackboneMaps, EvaluationTransform, MapMaker, PatchPixels
from medino.models import load_backbone, save_backbone
from medino.probes import patient_counts, percentile_interval
from medino.segmentation import Propagation
from medino.ssl import SMALL_SCALE, DINOv2, PretrainingData
from tests.benchmarks.propagate_methods import (
    LabelledVolume,
    by_linear_head,
    copied,
    dices,
    propagated,
    read_volumes,
    scanned,
    transform_of,
)
from tests.benchmarks.real_images import KEY
from tests.benchmarks.training import train

ROOT = Path(__file__).resolve().parents[2]
BACKBONE = {"embed_dim": 128, "depth": 4, "num_heads": 2, "patch_size": 4, "image_size": 64}
STEPS, BATCH, SIZE, REPLICATES = 150, 32, 96, 2000
CHOSEN_ON, TESTED = 4, 20
RADII, RATES = (2, 4, 8), (1e-2, 1e-1)
COPY = "copy the slice"

Method = Callable[[LabelledVolume, Mapping[int, torch.Tensor]], torch.Tensor]

PAGE = """# From one slice to a volume

Made by `make bench-propagate` on {machine}.

Hippocampus in MR (MSD Task04): the first {test} of the {others} patients that are not trained on, one volume
each, about 35 sagittal slices a volume. Of each, the middle slice is marked with its two parts (anterior,
posterior), and all other slices are found from it. Nothing else of the volume, and no other patient's labels,
is used. Dice is over the slices that nobody marked, mean of the two parts; 95 % intervals are percentiles of
{replicates} resamples of the test patients, the same for all methods, and differences are paired.

Slices are shown whole at {size} px, in patches of 4 px ({voxels:.1f} voxels of 1 mm). The backbone is a small
vision transformer (128 wide, 4 blocks), as it is drawn ("untrained") and after {steps} steps of {batch} slices
by DINOv2's objective on {seen} other patients' slices without their labels ("trained", {minutes}).
"Pixels" are the patches' own 48 values: what is left without any backbone. The linear head (BatchNorm and a 1x1
convolution, Dice + cross-entropy, 100 steps) is trained on the marked slice of the volume alone, anew for each
volume.

{table}

Each method's one setting was chosen on {chosen_on} volumes of the patients that were trained on, by the same
measure: the radius of the neighbourhood in patches, the head's learning rate. The trained backbone takes what
was best for the untrained one. Tried: {tried}. A radius that is too large costs nearly all, as a small object's
soft labels thin out from slice to slice: it is why `medino propagate` looks 2 patches around by default. The
window is that of the whole volume (`--intensity.window full`); the other settings are DINO's for video.

{words}

The best radius and the best rate are at the end of what was tried: a radius of 1 and a head trained longer were not.
"""


def pretrain(manifest: Path, run: Path, steps: int) -> float:
    """Train from scratch on slices without labels; leaves the untrained backbone and the trained one.

    Returns:
        Seconds of processor time.
    """
    settings = {**SMALL_SCALE, "backbone_settings": {**BACKBONE, **SMALL_SCALE["backbone_settings"]}}
    module = DINOv2(**settings, seed=0)
    save_backbone(module.core.student.backbone, run / "untrained.safetensors")
    data = PretrainingData(
        str(manifest), batch_size=BATCH, views="radiology", global_size=64, local_size=24, num_local_crops=4, seed=0
    )
    began = time.process_time()
    train(module, data, run, steps, "pretraining")
    return time.process_time() - began


def makers_of(run: Path) -> dict[str, MapMaker]:
    """What makes the tokens, by name."""
    return {
        "pixels": PatchPixels(BACKBONE["patch_size"]),
        "untrained": BackboneMaps(load_backbone(run / "untrained.safetensors")),
        "trained": BackboneMaps(load_backbone(RunFolder(run).backbone)),
    }


def candidates(makers: Mapping[str, MapMaker], transform: EvaluationTransform) -> dict[str, dict[str, Method]]:
    """Each method with each of its settings."""
    found: dict[str, dict[str, Method]] = {COPY: {"": copied}}
    for name, maker in makers.items():
        found[f"linear head, {name}"] = {
            f"rate {rate:g}": partial(by_linear_head, maker=maker, transform=transform, rate=rate) for rate in RATES
        }
    for name, maker in makers.items():
        found[f"propagation, {name}"] = {
            f"radius {radius}": partial(
                propagated, maker=maker, transform=transform, propagation=Propagation(radius=radius)
            )
            for radius in RADII
        }
    return found


def measured(method: Method, volumes: Sequence[LabelledVolume], what: str) -> np.ndarray:
    """(N,) mean Dice of the parts of each volume."""
    scores = []
    for volume in track(volumes, what, total=len(volumes)):
        given = volume.middle
        scores.append(np.nanmean(dices(method(volume, given), volume, list(given))))
    return np.array(scores)


def tried_settings(
    methods: Mapping[str, Mapping[str, Method]], volumes: Sequence[LabelledVolume], work: Path
) -> dict[str, dict[str, float]]:
    """The mean of each method by its setting; what was tried before is not tried again.

    Trained tokens get what untrained ones got, so as not to be favoured.
    """
    kept = work / "tried.json"
    found: dict[str, dict[str, float]] = read_json(kept) if kept.exists() else {}
    for name, settings in methods.items():
        if name in found or name.endswith(", trained"):
            continue
        scores = {key: measured(method, volumes, f"{name}, {key}").mean() for key, method in settings.items()}
        found[name] = {key: round(float(score), 3) for key, score in scores.items()}
        print(name, found[name], flush=True)
        write_json(kept, found)
    return found


def chosen_setting(tried: Mapping[str, Mapping[str, float]], name: str) -> str:
    """The best setting of a method."""
    scores = tried[name.replace(", trained", ", untrained")]
    return max(scores, key=lambda key: scores[key])


def interval(values: np.ndarray) -> str:
    """Mean and its 95 % interval over patients."""
    drawn = patient_counts(len(values), REPLICATES, seed=0)
    low, high = percentile_interval(drawn @ values / drawn.sum(axis=1))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def table(scores: Mapping[str, np.ndarray]) -> str:
    """Dice of each method, and its paired difference to copying."""
    lines = ["| method | Dice [95 %] | beside copying [95 %] | better on |", "|---|---|---|---|"]
    for name, values in scores.items():
        against = "" if name == COPY else interval(values - scores[COPY])
        better = "" if name == COPY else f"{int((values > scores[COPY]).sum())} of {len(values)}"
        lines.append(f"| {name} | {interval(values)} | {against} | {better} |")
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark and write its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDINO_TEST_DATA", "../shared/data")))
    parser.add_argument("--work", type=Path, help="keep the training and the scores here, and go on with them")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "propagation.md")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        text = page(options.data, options.work or Path(temporary), options.steps)
    with whole_file(options.page) as written:
        written.write_text(text, encoding="utf-8")
    print(text)
    return 0


def page(data: Path, work: Path, steps: int) -> str:
    """Train, choose, measure; the page's text."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "key").write_text(KEY, encoding="ascii")
    manifest = assign_splits(scanned(data, work / "key"), {"train": 0.5, "test": 0.5}, seed=0)
    split, run = manifest.column("split"), work / "run"
    seen, unseen = (manifest.select(split == name) for name in ("train", "test"))
    seen.write(work / "seen.parquet")
    if not RunFolder(run).backbone.exists():
        write_json(work / "seconds.json", pretrain(work / "seen.parquet", run, steps))
    seconds = read_json(work / "seconds.json")
    transform = transform_of(SIZE, "full")
    methods = candidates(makers_of(run), transform)
    tried = tried_settings(methods, read_volumes(first_patients(seen, CHOSEN_ON), transform), work)
    chosen = {name: chosen_setting(tried, name) for name in methods}
    scores = all_scores(methods, chosen, read_volumes(first_patients(unseen, TESTED), transform), work)
    return PAGE.format(
        machine=f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}",
        test=len(scores[COPY]),
        others=len(set(unseen.column("patient"))),
        seen=len(set(seen.column("patient"))),
        replicates=REPLICATES,
        size=SIZE,
        voxels=4 * 50 / SIZE,
        steps=steps,
        batch=BATCH,
        minutes=f"{seconds / 60:.0f} minutes of processor time",
        table=table(scores),
        chosen_on=CHOSEN_ON,
        tried="; ".join(
            f"{name}: " + ", ".join(f"{key} {score:.3f}" for key, score in of.items())
            for name, of in tried.items()
            if name != COPY
        ),
        words=verdict(scores),
    )


def first_patients(manifest: Manifest, count: int) -> Manifest:
    """The rows of the first patients, whose order is that of their files' names."""
    patients = list(dict.fromkeys(manifest.column("patient")))[:count]
    return manifest.select(np.isin(manifest.column("patient").astype(str), patients))


def all_scores(
    methods: Mapping[str, Mapping[str, Method]],
    chosen: Mapping[str, str],
    volumes: Sequence[LabelledVolume],
    work: Path,
) -> dict[str, np.ndarray]:
    """Dice of each test patient by method; what was measured before is not again."""
    found = {}
    for name, settings in methods.items():
        kept = work / f"{name}.npy"
        if not kept.exists():
            np.save(kept, measured(settings[chosen[name]], volumes, name))
        found[name] = np.load(kept)
    return found


def verdict(scores: Mapping[str, np.ndarray]) -> str:
    """What the numbers from one slice say, in words."""
    best = max(scores, key=lambda name: scores[name].mean())
    trained, untrained = scores["propagation, trained"], scores["propagation, untrained"]
    pixels = scores["propagation, pixels"]
    return (
        f"From one slice, {best} has the highest mean. Training moves propagation by {interval(trained - untrained)} "
        f"against the untrained network, and by {interval(trained - pixels)} against the pixels themselves."
    )


if __name__ == "__main__":
    sys.exit(main())
