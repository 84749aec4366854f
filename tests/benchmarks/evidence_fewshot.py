"""What are features worth that a small network learned in ten minutes, at 1 to 32 labels a class of real images?

Runs `medino adapt` with each of experiments/fewshot/{histology,radiograph,cells}.yaml, and writes the few-shot part of
docs/benchmarks/evidence.md. A run that is there already is not done again: delete its folder to do so.
`make evidence-fewshot`, or `make evidence-fewshot SETS=cells`.
"""

import argparse
import csv
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import yaml

from medino.cli.main import main as medino
from medino.core import RunFolder
from medino.data import Manifest
from medino.probes import EvidenceRow, read_evidence, summaries
from medino.tracking import draw_fewshot
from medino.tracking.names import capital, probe_name
from tests.benchmarks.evidence_page import PAGE, write_part
from tests.benchmarks.paired import Difference, difference, outcomes
from tests.benchmarks.real_images import SETS as IMAGES

ROOT = Path(__file__).resolve().parents[2]
METRIC = "balanced_accuracy"
PROBES = ("logistic", "nearest_mean", "knn")
"""The first is the one of which the sentences speak; chosen before anything was measured."""

TRAINED, UNTRAINED, FLOOR, CNN = "adapted", "start", "thumbnail", "cnn"
NAMES = {TRAINED: "pretrained", UNTRAINED: "untrained", FLOOR: "thumbnail", CNN: "CNN trained on the shots"}
OTHERS = (UNTRAINED, FLOOR, CNN)

PART = """## Few-shot: ten minutes of pretraining beside untrained, floor and CNN

Measured by `make evidence-fewshot` on {machine}.

The backbone `mini` (192 wide, 6 blocks, patches of 8, images of 64 px) is trained from scratch by DINOv2's objective,
without labels, on the training part of each set (60 %) alone; a tenth is left for validation and not used; test
patients (30 %) are never seen before they are tested. Beside it: the same network untrained; a thumbnail of 12 x 12
pixels with histograms of colour and gradient, the floor; and a small residual network trained end to end on each
support set alone, at settings fixed beforehand. {episodes} support sets for each number of shots, the same for all; the
CNN is trained on the first {cnn_episodes} of them, and compared on these. Where nothing else runs on two cores, 500
steps of pretraining take eight to ten minutes: [learning.md](learning.md) has the time of 100.

The settings of the pretraining were found earlier on such histology tiles, some of those that are tested here among
them ([learning.md](learning.md)); the intervals don't know of that search. Radiographs and cells had no part in it. The
number of steps stands for ten minutes; runs of 100 and 300 steps had been seen on the same patients before.

Balanced accuracy, mean over support sets, with its 95 % interval over test patients. Differences are paired, on the
same patients, support sets and resamples; bold ones have an interval without zero. Each interval stands for itself:
among so many, one in twenty leaves zero out by chance.

{sets}"""


@dataclass(frozen=True)
class Study:
    """One set's run.

    Attributes:
        title: what the images show.
        unit: what stands for the patient, in words.
        run: its folder.
        settings: that it was run with.
    """

    title: str
    unit: str
    run: RunFolder
    settings: dict[str, Any]

    @property
    def evidence(self) -> pa.Table:
        """What was measured."""
        return read_evidence(self.run.evidence)


SETS = {"histology": "histology", "radiograph": "radiographs", "cells": "cells"}
"""The experiments, and what `real_images` calls their images."""


def paths(name: str, data: Path, work: Path) -> list[str]:
    """The options that say where a set lies; cells and their labels are first put where they can be scanned."""
    images = IMAGES[SETS[name]]
    if name != "cells":
        return ["--data", str(data / images.folder), "--labels", str(data / "MANIFEST.csv")]
    folder = work / "cells_set"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for path, label, _ in images.labels(data):
            shutil.copyfile(data / images.folder / path, folder / "images" / path)
            writer.writerow([path, label])
    return ["--data", str(folder / "images"), "--labels", str(folder / "labels.csv")]


def study(name: str, data: Path, work: Path) -> Study:
    """The run of a set, done if it is not there yet.

    Raises:
        RuntimeError: the command failed; it has said why.
    """
    config = ROOT / "experiments" / "fewshot" / f"{name}.yaml"
    run = RunFolder(work / name)
    if not run.evidence.is_file():
        words = ["adapt", "--config", str(config), *paths(name, data, work), "-o", str(run.path)]
        if medino(words) != 0:
            raise RuntimeError(f"{name} could not be measured")
    images = IMAGES[SETS[name]]
    settings = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    return Study(images.title, images.unit, run, {**settings["source"], **settings["plan"]})


def score(row: EvidenceRow) -> str:
    """A score with its interval."""
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def scores_table(evidence: pa.Table, shots: Sequence[int]) -> list[str]:
    """A line for each backbone and probe, a column for each number of shots."""
    found = {(row.backbone, row.probe, row.shots): row for row in summaries(evidence, metric=METRIC)}
    lines = [f"| | probe | {' | '.join(f'{number} a class' for number in shots)} |", "|---|---|" + "---|" * len(shots)]
    asked = [(name, probe) for probe in PROBES for name in (TRAINED, UNTRAINED, FLOOR)] + [(CNN, "end_to_end")]
    for name, probe in asked:
        cells = " | ".join(score(found[name, probe, number]) for number in shots)
        lines.append(f"| {NAMES[name]} | {probe_name(probe)} | {cells} |")
    return lines


def compared(evidence: pa.Table, other: str, probe: str, shots: int) -> Difference:
    """The pretrained network's paired difference to another; to the CNN on the support sets that both have."""
    trained = outcomes(evidence, TRAINED, probe, shots)
    reference = outcomes(evidence, other, "end_to_end" if other == CNN else probe, shots)
    episodes = min(len(trained.predicted), len(reference.predicted))
    on_both = [replace(each, predicted=each.predicted[:episodes]) for each in (trained, reference)]
    return difference(on_both[:1], on_both[1:])


def shown(found: Difference) -> str:
    """Better, worse, or neither: on which side of zero the whole interval lies."""
    return "better" if found.low > 0 else "worse" if found.high < 0 else "no difference shown"


def differences_table(found: dict[tuple[str, str, int], Difference], shots: Sequence[int]) -> list[str]:
    """A line for each comparison and probe, a column for each number of shots."""
    lines = [
        f"| pretrained minus | probe | {' | '.join(f'{number} a class' for number in shots)} |",
        "|---|---|" + "---|" * len(shots),
    ]
    for other in OTHERS:
        for probe in PROBES:
            cells = []
            for number in shots:
                each = found[other, probe, number]
                interval = f"{each.value:+.3f} [{each.low:+.3f}, {each.high:+.3f}]"
                cells.append(interval if shown(each) == "no difference shown" else f"**{interval}**")
            lines.append(f"| {NAMES[other]} | {probe_name(probe)} | {' | '.join(cells)} |")
    return lines


def in_words(found: dict[tuple[str, str, int], Difference], shots: Sequence[int]) -> list[str]:
    """What the intervals say of the learned features against each of the others, by the first probe."""
    said = []
    for other in OTHERS:
        by_word = {
            word: [str(number) for number in shots if shown(found[other, PROBES[0], number]) == word]
            for word in ("better", "worse", "no difference shown")
        }
        parts = [f"{word} at {', '.join(numbers)}" for word, numbers in by_word.items() if numbers]
        said.append(f"- against {NAMES[other]}: {'; '.join(parts)} a class")
    against_floor = {cell: shown(each) for cell, each in found.items() if cell[0] == FLOOR}
    if not any(against_floor[FLOOR, PROBES[0], number] == "better" for number in shots):
        said.append(
            f"- **By {probe_name(PROBES[0])} the learned features don't beat the floor at any number of shots**"
        )
    counts = Counter(against_floor.values())
    said.append(
        f"- against the floor over all probes and shots, {len(against_floor)} comparisons: better in "
        f"{counts['better']}, worse in {counts['worse']}, no difference shown in {counts['no difference shown']}"
    )
    return said


def draw(study: Study, folder: Path) -> str:
    """Draw a study's scores over shots; returns the figure's name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"evidence_{study.run.path.name}.png"
    evidence = study.evidence
    figure = draw_fewshot(summaries(evidence), evidence, METRIC, (UNTRAINED, TRAINED, FLOOR, CNN))
    figure.savefig(folder / name, dpi=110)
    return name


def section(study: Study, figures: Path) -> str:
    """What one set's run has shown; `figures` is where its figure is put."""
    evidence, shots = study.evidence, study.settings["shots"]
    found = {
        (other, probe, number): compared(evidence, other, probe, number)
        for other in OTHERS
        for probe in PROBES
        for number in shots
    }
    manifest = Manifest.read(study.run.path / "cohort" / "cohort.parquet")
    trained_on = int((manifest.column("split") == "train").sum())
    tested = summaries(evidence, metric=METRIC)[0]
    steps, batch = study.settings["steps"], study.settings["batch_size"]
    return "\n".join(
        [
            f"### {capital(study.settings['name'])}",
            "",
            f"{capital(study.title)}: {len(manifest)} images, {trained_on} of them for training; {tested.patients} "
            f"test patients (what stands for the patient: {study.unit}), {tested.patients_seen} of them seen in "
            f"pretraining. Pretraining: {steps} steps of {batch}, {steps * batch} images seen. "
            f"`medino adapt --config experiments/fewshot/{study.run.path.name}.yaml`.",
            "",
            f"The pretrained network by {probe_name(PROBES[0])}:",
            "",
            *in_words(found, shots),
            "",
            f"![Balanced accuracy over shots, {study.settings['name']}](../figures/{draw(study, figures)})",
            "",
            f"*Bands and bars: 95 % intervals over {tested.patients} test patients; faint: support sets. `start` "
            "is the untrained network, `adapted` the pretrained one, `cnn` is trained on the shots alone.*",
            "",
            *scores_table(evidence, shots),
            "",
            *differences_table(found, shots),
            "",
        ]
    )


def main() -> int:
    """Measure what is not measured yet, and write the page's part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDINO_TEST_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--work", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--page", type=Path, default=PAGE)
    machine = f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}"
    parser.add_argument("--machine", default=machine, help="what the page says of the machine")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    for name in options.sets or SETS:
        study(name, options.data, options.work)
    done = [
        study(name, options.data, options.work) for name in SETS if RunFolder(options.work / name).evidence.is_file()
    ]
    first = done[0].evidence
    text = PART.format(
        machine=options.machine,
        episodes=done[0].settings["episodes"],
        cnn_episodes=len(outcomes(first, CNN, "end_to_end", done[0].settings["shots"][0]).predicted),
        sets="\n".join(section(each, options.page.parent.parent / "figures") for each in done),
    )
    write_part("few-shot", text, options.page)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
