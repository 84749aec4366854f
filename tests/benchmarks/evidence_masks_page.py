"""The section on masks of docs/benchmarks/evidence.md: tables, and in words what the intervals say."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from medino.probes import EvidenceRow, differences, summaries

HEAD = """\
## Masks

Made by `make evidence-segment` on two CPU cores. Of each set half of the patients is for pretraining (a ViT of 192 x 6
blocks, from scratch by batches of 32 images, without any mask) and for the support sets; the other half is tested, and
was never seen. `learned` is that backbone, `random` the same untrained, `pixels` the pixels of each patch: each with a
linear head of 500 steps on kept token maps, which tells little that is finer than a patch of 8 pixels. `unet` is
MONAI's U-Net (0.4 M weights) trained from scratch on the same masks, 150 steps of at most 8 images. Nothing was chosen
on the tested patients; how heads are trained was chosen on some of the other half, of lungs and nuclei, with 1, 5 and
20 labelled patients. That it was looked at at all was because of what earlier heads had reached on the tested lungs.

Scores are means over three draws of the labelled patients, in brackets the 95 % interval over test patients; Dice
and normalised surface distance (NSD, with its tolerance) are means over classes. Where truth and prediction are both
empty, Dice and NSD are 1 and the 95 % Hausdorff distance (HD95) is 0; where one is, Dice and NSD are 0 and HD95 is
undefined: left out and counted. p by Holm over all comparisons with the same backbone.
"""


def section(known: Mapping[str, tuple[str, pa.Table, Mapping[str, Any]]], wanted: Sequence[str]) -> str:
    """The section.

    Args:
        known: by name of the set its title, evidence and measured seconds.
        wanted: the sets that there should be.
    """
    parts = [HEAD]
    parts += [of_set(name, *facts) for name, facts in known.items()]
    missing = [name for name in wanted if name not in known]
    if missing:
        parts.append(f"Not run: {', '.join(missing)}.")
    return "\n".join(parts)


def of_set(name: str, title: str, evidence: pa.Table, facts: Mapping[str, Any]) -> str:
    """Tables and words of one set."""
    rows, compared = summaries(evidence), differences(evidence)
    first = rows[0]
    surface = next(row.metric for row in rows if (row.metric or "").startswith("surface_dice"))
    distance = next(row.metric for row in rows if row.metric in ("hausdorff95_mm", "hausdorff95_px"))
    classes = list(dict.fromkeys(row.target for row in rows if row.target is not None))
    lines = [
        f"### {title[0].upper()}{title[1:]} (`experiments/segment/{name}.yaml`)\n",
        f"{first.patients} test patients ({first.patient_unit}); a case is one {first.unit}; NSD at "
        f"{surface.removeprefix('surface_dice_')}; {timing(facts)}\n",
        f"| patients | features | Dice | NSD | {' | '.join(f'Dice, {each}' for each in classes)} | "
        f"{' | '.join(f'HD95 {distance[-2:]}, {each} (undefined)' for each in classes)} |",
        "|---" * (4 + 2 * len(classes)) + "|",
    ]
    by = {(row.shots, row.backbone, row.metric, row.target): row for row in rows}
    for shots, backbone in dict.fromkeys((row.shots, row.backbone) for row in rows):

        def cell(
            metric: str, target: str | None = None, digits: int = 3, at: tuple[int | None, str] = (shots, backbone)
        ) -> str:
            row = by.get((*at, metric, target))
            if row is None:
                return ""
            if row.value is None or math.isnan(row.value):
                return "undefined"
            return f"{row.value:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"

        far = [
            f"{cell(distance, each, 1)} ({by[shots, backbone, f'{distance}_undefined', each].value:.1f})"
            for each in classes
        ]
        cells = [cell("dice"), cell(surface), *(cell("dice", each) for each in classes), *far]
        lines.append(f"| {shots} | {backbone} | {' | '.join(cells)} |")
    chosen = [row for row in compared if row.metric == "dice" and row.target is None and row.backbone == "learned"]
    lines += ["", "| patients | Dice of `learned` minus that of | difference | p | in words |", "|---|---|---|---|---|"]
    for row in sorted(chosen, key=lambda row: (row.shots or 0, row.compared_with or "")):
        value = f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        lines.append(f"| {row.shots} | {row.compared_with} | {value} | {row.p_holm:.3f} | {in_words(row)} |")
    return "\n".join(lines) + "\n\n" + verdict(chosen) + "\n"


def in_words(row: EvidenceRow) -> str:
    """What the interval of a difference says."""
    assert row.low is not None
    assert row.high is not None
    return "better" if row.low > 0 else "worse" if row.high < 0 else "not told apart"


def verdict(rows: Sequence[EvidenceRow]) -> str:
    """One sentence for each of those compared with."""
    sentences = []
    for other in dict.fromkeys(row.compared_with for row in rows):
        said: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda row: row.shots or 0):
            if row.compared_with == other:
                said.setdefault(in_words(row), []).append(str(row.shots))
        words = {"better": "beat", "worse": "fall below", "not told apart": "are not told from"}
        parts = [f"{words[what]} `{other}` with {', '.join(shots)}" for what, shots in said.items()]
        sentences.append(f"The learned features {' and '.join(parts)} labelled patients.")
    return " ".join(sentences)


def timing(facts: Mapping[str, Any]) -> str:
    """How long it took, on one core."""
    pretraining, study = (facts[f"{name}_seconds"] / 60 for name in ("pretraining", "study"))
    steps = facts["pretraining_steps"]
    return f"pretraining of {steps} steps in {pretraining:.1f} min of one CPU core, study in {study:.1f} min."
