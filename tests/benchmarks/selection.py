"""Does choosing what to label first beat labelling at random, at five labels a class on real images?

Half of the patients (or of what stands for them) are candidates, the other half tests. `make bench-selection` writes
docs/benchmarks/selection.md.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medino.core import numpy_generator, whole_file
from medino.curation.labelling import METHODS, choose_to_label
from medino.data import Manifest
from medino.features import FeatureTable, embed, thumbnail_features
from medino.models import build_backbone
from medino.probes import (
    balanced_accuracy,
    balanced_accuracy_replicates,
    logistic,
    nearest_mean,
    patient_counts,
    percentile_interval,
)
from tests.benchmarks.real_images import SETS, ImageSet, cohort, halves

DEFAULT_SETS = ("histology", "radiographs", "cells")
PROBES = {"nearest mean": nearest_mean, "logistic": logistic}
A_CLASS, DRAWS, REPLICATES = 5, 20, 2000
RANDOM = "random"
ROOT = Path(__file__).resolve().parents[2]

PAGE = """# Does choosing what to label first beat random?

Made by `make bench-selection` on {machine}.

Five labels a class are spent on the half of the patients (or of what stands for them) that is not tested: on images
that `medino select` chooses from the features alone, at most one of a patient, or on {draws} random draws of as many
images, one of a patient each. Nobody sees a label before the choice, so that a class can be missed; a column says how
often. The probe learns from what was chosen; balanced accuracy is measured on all images of the other half.

Each method chooses with {draws} seeds. Means over seeds and draws, ± their standard deviation. The interval of the
difference is a bootstrap over test patients, the same resamples for both, and over seeds and draws; bold ones have an
interval without zero. "Better than" is the share of the random draws that the method's mean exceeds. Nothing was tuned
on these sets: the settings are the authors' (`medino/curation/labelling.py`).

Where a class got one label or none, logistic regression keeps its C at 1 and may never predict a rare class (cells).

Features: the 12 x 12 thumbnail with histograms, and the class token of the untrained backbone `mini` (64 px).

{table}

{verdict}
"""


@dataclass(frozen=True)
class Score:
    """What a method came to on one set, with one kind of features and one probe."""

    accuracies: np.ndarray
    difference: float
    low: float
    high: float
    better_than: float
    missed: float


@dataclass(frozen=True, eq=False)
class Task:
    """One set's features, halves and labels as integers."""

    vectors: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    train: np.ndarray
    test: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


def task(manifest: Manifest, table: FeatureTable) -> Task:
    """Join the features with the halves."""
    place = {name: row for row, name in enumerate(table.sample_ids.tolist())}
    rows = [place[name] for name in manifest.column("sample_id")]
    _, labels = np.unique(manifest.column("label").astype(str), return_inverse=True)
    _, patients = np.unique(manifest.column("patient").astype(str), return_inverse=True)
    splits = manifest.column("split")
    return Task(
        table.vectors()[1][rows], labels, patients, np.flatnonzero(splits == "train"), np.flatnonzero(splits == "test")
    )


def at_random(patients: np.ndarray, count: int, draw: int) -> np.ndarray:
    """Rows drawn at random, one of a patient."""
    order = numpy_generator(draw, "random labels").permutation(len(patients))
    _, first = np.unique(patients[order], return_index=True)
    return order[np.sort(first)[:count]]


def predict(of: Task, rows: np.ndarray, probe: Callable[..., np.ndarray]) -> np.ndarray:
    """(N,) classes of the test images, by what was labelled; a class that was missed is never predicted."""
    known, classes = np.unique(of.labels[rows], return_inverse=True)
    scores = probe(of.vectors[rows][None], classes, of.vectors[of.test], len(known))
    return known[scores[0].argmax(axis=1)]


def over_draws(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray, name: str) -> np.ndarray:
    """(R,) mean balanced accuracy of (E, N) predictions, where each resample draws patients and seeds anew."""
    single = np.stack([balanced_accuracy_replicates(targets, row[None], weights) for row in predicted], axis=1)
    drawn = numpy_generator(0, "draws", name).multinomial(
        len(predicted), np.full(len(predicted), 1 / len(predicted)), len(weights)
    )
    return (single * drawn).sum(axis=1) / len(predicted)


def compare(of: Task, choices: dict[str, list[np.ndarray]], probe: Callable[..., np.ndarray]) -> dict[str, Score]:
    """Each way to choose, beside random."""
    targets = of.labels[of.test]
    predicted = {name: np.stack([predict(of, rows, probe) for rows in lists]) for name, lists in choices.items()}
    _, owner = np.unique(of.patients[of.test], return_inverse=True)
    weights = patient_counts(int(owner.max()) + 1, REPLICATES, seed=0)[:, owner]
    resampled = {name: over_draws(targets, rows, weights, name) for name, rows in predicted.items()}
    single = {name: np.array([balanced_accuracy(targets, row) for row in rows]) for name, rows in predicted.items()}
    scores = {}
    for name, accuracies in single.items():
        low, high = percentile_interval(resampled[name] - resampled[RANDOM])
        missed = float(np.mean([len(set(of.labels[rows].tolist())) < of.classes for rows in choices[name]]))
        better = float((accuracies.mean() > single[RANDOM]).mean())
        difference = float(accuracies.mean() - single[RANDOM].mean())
        scores[name] = Score(accuracies, difference, low, high, better, missed)
    return scores


def measure(images: ImageSet, data: Path, work: Path) -> tuple[dict[tuple[str, str], dict[str, Score]], int]:
    """All features and probes of one set, and the number of test patients."""
    work.mkdir(parents=True)
    train, test = halves(cohort(data, images, work), seed=0)
    manifest = Manifest.from_samples([*train.samples(), *test.samples()], roots=train.roots, name=train.name)
    manifest = manifest.with_column("split", ["train"] * len(train) + ["test"] * len(test))
    tables = {
        "thumbnail": thumbnail_features(manifest),
        "untrained": embed(build_backbone("mini", seed=0), manifest),
    }
    results = {}
    for name, table in tables.items():
        of = task(manifest, table)
        budget, pool = A_CLASS * of.classes, of.patients[of.train]
        choices = {RANDOM: [of.train[at_random(pool, budget, draw)] for draw in range(DRAWS)]}
        for method in METHODS:
            choices[method] = [
                of.train[choose_to_label(of.vectors[of.train], pool, budget, method=method, seed=seed)]
                for seed in range(DRAWS)
            ]
        for probe, function in PROBES.items():
            results[name, probe] = compare(of, choices, function)
    return results, len(np.unique(of.patients[of.test]))


def main() -> int:
    """Run the benchmark and write its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDINO_TEST_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=DEFAULT_SETS)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "selection.md")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    lines = [
        "| images | features | probe | chosen by | balanced accuracy | minus random [95 %] | better than "
        "| misses a class | test patients |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ways = {method: [0, 0, 0] for method in METHODS}
    with tempfile.TemporaryDirectory() as work:
        for name in options.sets:
            results, patients = measure(SETS[name], options.data, Path(work) / name)
            for (features, probe), scores in results.items():
                for method, score in scores.items():
                    compared, better = "", ""
                    if method != RANDOM:
                        mark = "**" if score.low > 0 or score.high < 0 else ""
                        compared = f"{mark}{score.difference:+.3f} [{score.low:+.3f}, {score.high:+.3f}]{mark}"
                        better = f"{score.better_than:.0%} of draws"
                        ways[method][0 if score.low > 0 else 1 if score.high < 0 else 2] += 1
                    accuracy = f"{score.accuracies.mean():.3f} ± {score.accuracies.std(ddof=1):.3f}"
                    tested = f"{patients} ({SETS[name].unit})"
                    row = (name, features, probe, method, accuracy, compared, better, f"{score.missed:.0%}", tested)
                    lines.append(f"| {' | '.join(row)} |")
            print("\n".join(lines[-12:]), flush=True)
    verdict = "\n".join(
        f"- {method}: interval above random in {above} of {above + below + across} rows, "
        f"below it in {below}, across it in {across}: {'better' if above and not below else 'not shown to be better'}."
        for method, (above, below, across) in ways.items()
    )
    text = PAGE.format(
        draws=DRAWS,
        table="\n".join(lines),
        verdict=verdict,
        machine=f"{os.cpu_count()} CPU cores, {platform.machine()}, torch {torch.__version__}",
    )
    with whole_file(options.page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
