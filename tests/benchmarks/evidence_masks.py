"""`make evidence-segment`: masks from a few labelled patients on the real sets; writes a section of evidence.md.

Of each set one half of the patients is for pretraining (without their masks) and for the support sets, the other half
is tested. What is there already (scan, pretraining, token maps, evidence) is not made again: delete the set's folder
below runs/evidence/masks to do so.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medino.cli.main import main as medino
from medino.core import RunFolder, read_json, write_json
from medino.data import assign_splits, scan
from medino.probes import read_evidence
from tests.benchmarks.evidence_masks_page import section
from tests.benchmarks.evidence_page import PAGE, write_part

ROOT = Path(__file__).parents[2]
WORK = Path("runs/evidence/masks")
KEY = "00" * 32
"""The images are public, and with one key for all runs the halves are the same in each."""

HALVES = {"train": 0.5, "test": 0.5}
VOLUMES = 40
"""Of the 160 volumes of the hippocampus: with more, two cores take hours for the U-Nets."""


@dataclass(frozen=True)
class MaskSet:
    """A set of images with masks.

    Attributes:
        title: what is looked for, in words.
        settings: the experiment that pretrains on it.
        prepare: from the folder of real data and one to write to, gives the folders of images and of masks.
        plane: of the slices of volumes.
    """

    title: str
    settings: str
    prepare: Callable[[Path, Path], tuple[Path, Path]]
    plane: str | None = None


def lungs(data: Path, folder: Path) -> tuple[Path, Path]:
    """Images and masks lie as they are needed."""
    return data / "cxr_shenzhen" / "images", data / "cxr_shenzhen" / "lung_masks"


def cells(data: Path, folder: Path) -> tuple[Path, Path]:
    """Part the masks from the images beside which they lie, under the images' names."""
    for path in sorted((data / "wbc_dataset1").glob("*.png")):
        target = folder / ("masks" if "_mask" in path.name else "images") / path.name.replace("_mask", "")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder / "images", folder / "masks"


def nuclei(data: Path, folder: Path) -> tuple[Path, Path]:
    """Join the instances of each image to one mask."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for path in sorted((data / "dsb2018_nuclei" / "labels").glob("*.png")):
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(folder / "masks" / path.name)
    return data / "dsb2018_nuclei" / "images", folder / "masks"


def hippocampus(data: Path, folder: Path) -> tuple[Path, Path]:
    """Take the first volumes and their labels."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for path in sorted((data / "hippocampus" / part).glob("*.nii.gz"))[:VOLUMES]:
            shutil.copyfile(path, folder / part / path.name)
    return folder / "images", folder / "labels"


SETS = {
    "lungs": MaskSet("lungs in chest radiographs", "radiograph_cpu", lungs),
    "nuclei": MaskSet("nuclei in microscopy", "histology_cpu", nuclei),
    "hippocampus": MaskSet("two parts of the hippocampus in MR volumes", "mr_cpu", hippocampus, "sagittal"),
    "cells": MaskSet("nucleus and cytoplasm of white blood cells", "histology_cpu", cells),
}


def cohort(images: MaskSet, data: Path, folder: Path) -> Path:
    """Scan a set and split it by patient, unless that is done."""
    path = folder / "cohort.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "key").write_text(KEY, encoding="ascii")
        shown, masks = images.prepare(data, folder)
        plane = {} if images.plane is None else {"plane": images.plane}
        manifest = scan([shown], masks=masks, key=folder / "key", name=folder.name, **plane)
        assign_splits(manifest, HALVES, seed=0).write(path)
    return path


def run_verb(words: list[str]) -> None:
    """Run the command; leave where it fails."""
    status = medino(words)
    if status:
        sys.exit(status)


def pretrain(name: str, data: Path, steps: int) -> None:
    """Prepare a set and train a backbone on its training half, unless that is done."""
    folder, images = WORK / name, SETS[name]
    manifest = cohort(images, data, folder)
    facts = folder / "facts.json"
    pretrained = RunFolder(folder / "pretrained")
    if not pretrained.backbone.is_file():
        # One that was stopped begins anew, so that its time is that of all its steps.
        shutil.rmtree(pretrained.path, ignore_errors=True)
        began = time.process_time()
        config = f"experiments/pretrain/{images.settings}.yaml"
        data_options = ["--data.init_args.manifest", str(manifest), "--data.init_args.num_workers", "0"]
        length = ["--trainer.max_steps", str(steps)]
        run_verb(["fit", "--config", config, "-o", str(pretrained.path), *data_options, *length])
        write_json(facts, {"pretraining_steps": steps, "pretraining_seconds": time.process_time() - began})


def study(name: str) -> None:
    """Compare on one set, and note the time, unless that is done."""
    facts = WORK / name / "facts.json"
    if RunFolder(WORK / name).evidence.is_file():
        return
    began = time.process_time()
    run_verb(["fewshot_masks", "--config", f"experiments/segment/{name}.yaml"])
    write_json(facts, {**read_json(facts), "study_seconds": time.process_time() - began})


def main() -> int:
    """Measure the sets that are asked for, and write what is known of all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDINO_TEST_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--pretraining_steps", type=int, default=500, help="of 32 images; runs that are there stay")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    os.chdir(ROOT)
    if not options.data.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    for name in options.sets:
        pretrain(name, options.data, options.pretraining_steps)
        study(name)
    known = {
        name: (images.title, read_evidence(RunFolder(WORK / name).evidence), read_json(WORK / name / "facts.json"))
        for name, images in SETS.items()
        if RunFolder(WORK / name).evidence.is_file()
    }
    text = section(known, list(SETS))
    write_part("masks", text, options.page)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
