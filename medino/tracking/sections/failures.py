"""Where it fails: recall of each class, what is taken for what, how far to trust a probability, the hardest cases."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from medino.probes import EvidenceRow, extremes, of_kind, summaries
from medino.tracking import html
from medino.tracking.figures import draw_confusion, draw_reliability, draw_values
from medino.tracking.figures.confusion import MOST_CLASSES
from medino.tracking.figures.drawn import Drawn
from medino.tracking.headline import chosen_of_masks, headline
from medino.tracking.names import learner_name, metric_name, patients_tested, probe_name, shots_name
from medino.tracking.outcomes import Outcomes, Values, outcomes, recall, same_units, values
from medino.tracking.report import Part, Section, section_of
from medino.tracking.sections.segmentation import MAIN

HARDEST = 10
EXTREMES = 4
"""So many of the worst, the middle and the best masks are listed."""

CONFUSIONS = 20
"""Most frequent confusions that are listed where there are too many classes for a matrix."""


def failures_section(evidence: pa.Table, title: str = "Where it fails") -> Section | None:
    """What goes wrong under the headline's probe and shots, and in which masks; None where no outcomes were kept."""
    parts = [*_of_classes(evidence), *_of_masks(evidence)]
    return section_of(title, parts) if parts else None


def _of_classes(evidence: pa.Table) -> list[Part]:
    found = headline(evidence)
    row = found.after
    if row is None:
        return []
    if row.task == "regression":
        return _of_values(evidence, [one for one in (found.before, row) if one is not None])
    after = outcomes(evidence, row)
    before = outcomes(evidence, found.before) if found.before is not None else None
    if after is None:
        return []
    compared = [(row.backbone, after)]
    if before is not None and found.before is not None and same_units(after, before):
        compared.insert(0, (found.before.backbone, before))
    where = f"{row.dataset}, {probe_name(row.probe)}, {row.shots} {shots_name(row)}"
    parts: list[Part] = [
        html.heading(f"Classes: {row.dataset}"),
        html.paragraph(f"{where}, the mean over support draws. A gain on average can hide a class that lost."),
        _recalls(compared),
        _confusion(compared, where, patients_tested([row])),
    ]
    if _calibrated(evidence, row) and all(one.confidence is not None for _, one in compared):
        parts.append(_reliability(compared, where, patients_tested([row])))
    parts.append(_hardest(compared))
    return parts


def _of_values(evidence: pa.Table, rows: Sequence[EvidenceRow]) -> list[Part]:
    """Predicted against true numbers."""
    compared = [(row.backbone, found) for row in rows if (found := values(evidence, row)) is not None]
    if not compared:
        return []
    row = rows[-1]
    where = f"{row.dataset}, {probe_name(row.probe)}, {row.shots} {shots_name(row)}"
    caption = (
        f"Predicted against true values: {where}; {patients_tested([row])}. Each point is a unit, its mean over "
        "support draws; the line is where the prediction is right. Points that lie flatter than the line are drawn "
        "towards the mean."
    )
    drawn = draw_values(compared)
    return [
        html.heading(f"Values: {row.dataset}"),
        Drawn(f"values {where}", drawn, f"predicted against true values, {where}", caption),
        _furthest(compared),
    ]


def _furthest(compared: Sequence[tuple[str, Values]]) -> str:
    name, after = compared[-1]
    order = np.argsort(-np.abs(after.predicted - after.true), kind="stable")[:HARDEST]
    lines = [
        (after.units[index], f"{after.true[index]:.4g}", *(f"{one.predicted[index]:.4g}" for _, one in compared))
        for index in order
    ]
    header = ("unit (keyed hash)", "true value", *(f"by {one}" for one, _ in compared))
    caption = f"The units furthest from the truth with {name}, the mean over support draws."
    return html.table(header, lines, caption)


def _calibrated(evidence: pa.Table, row: EvidenceRow) -> bool:
    """Whether the probe's scores are probabilities: the study measured how well they are calibrated."""
    names = ("dataset", "backbone", "features", "probe", "unit", "shots")
    same = {name: getattr(row, name) for name in names if getattr(row, name) is not None}
    return bool(summaries(evidence, task=row.task, metric="calibration_error", **same))


def _recalls(compared: Sequence[tuple[str, Outcomes]]) -> str:
    after = compared[-1][1]
    lines = []
    for label in dict.fromkeys(sorted(after.targets.tolist())):
        measured = [recall(one, label) for _, one in compared]
        line: list[object] = [label, measured[-1][3]]
        line += [f"{html.number(value)} {html.interval(low, high)}" for value, low, high, _ in measured]
        if len(compared) > 1:
            gain, low, high, _ = recall(after, label, compared[0][1])
            line += [f"{html.number(gain, signed=True)} {html.interval(low, high, signed=True)}"]
        lines.append(line)
    header = ("class", "patients", *(name for name, _ in compared), *(["difference"] if len(compared) > 1 else []))
    return html.table(header, lines, "Recall of each class with its 95 % interval over patients.")


def _confusion(compared: Sequence[tuple[str, Outcomes]], where: str, patients: str) -> Part:
    """The matrices, or the most frequent confusions where there are too many classes to draw."""
    classes = {label for _, one in compared for label in one.classes}
    if len(classes) <= MOST_CLASSES:
        caption = (
            f"What is taken for what, in per cent of each true class: {where}; {patients}. On the "
            "diagonal is what was right."
        )
        return Drawn(f"confusion {where}", draw_confusion(compared), f"confusion matrix, {where}", caption)
    name, after = compared[-1]
    off = []
    for label in sorted(set(after.targets.tolist())):
        shares = after.shares[after.targets == label].mean(axis=0)
        off += [(share, label, other) for share, other in zip(shares, after.classes, strict=True) if other != label]
    most = sorted(off, reverse=True)[:CONFUSIONS]
    lines = [(f"is {label}", f"taken for {other}", f"{100 * share:.0f} %") for share, label, other in most]
    return html.table(
        ("", "", name), lines, f"The most frequent confusions among {len(classes)} classes: shares of each true class."
    )


def _reliability(compared: Sequence[tuple[str, Outcomes]], where: str, patients: str) -> Drawn:
    caption = (
        f"How far to trust a probability: {where}. Of the predictions made with a given confidence, the share that was "
        f"right, with 95 % intervals over {patients}; below, how often each confidence was given. Under "
        "the dotted line the probe is surer than it should be."
    )
    return Drawn(f"reliability {where}", draw_reliability(compared), f"reliability diagram, {where}", caption)


def _hardest(compared: Sequence[tuple[str, Outcomes]]) -> str:
    after = compared[-1][1]
    lines = [
        (
            after.units[index],
            after.targets[index],
            *(f"{100 * (1 - one.right[index]):.0f} %" for _, one in compared),
        )
        for index in after.order[:HARDEST]
    ]
    header = ("unit (keyed hash)", "class", *(f"wrong with {name}" for name, _ in compared))
    caption = "The units most often wrong, over support draws. The hash finds them in the manifest."
    return html.table(header, lines, caption)


def _of_masks(evidence: pa.Table) -> list[Part]:
    """The extremes of each dataset, under the headline's backbone and head: of several, the list would show the worst
    of the worst and the best of the best."""
    parts: list[Part] = []
    for dataset in dict.fromkeys(row.dataset for row in summaries(evidence, task="segmentation", metric=MAIN)):
        row = chosen_of_masks(evidence, dataset).after
        if row is None:
            continue
        same = {name: getattr(row, name) for name in ("task", "dataset", "backbone", "features", "probe", "unit")}
        kept = of_kind(evidence, "outcome", metric=MAIN, **same).to_pylist()
        values: dict[tuple[str, str], list[float]] = {}
        for case in kept:
            if case["shots"] == row.shots and case["value"] is not None:
                values.setdefault((case["unit_id"] or html.MISSING, case["target"]), []).append(case["value"])
        if values:
            parts += [html.heading(f"Masks: {dataset}"), _extremes(row, values)]
    return parts


def _extremes(row: EvidenceRow, values: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """The worst, the middle and the best cases by Dice: in a few-shot study a case's mean over support draws."""
    cases = [(unit, target, float(np.mean(some))) for (unit, target), some in values.items()]
    lines = [
        (name, unit, target, html.number(dice))
        for name, places in extremes([dice for _, _, dice in cases], EXTREMES).items()
        for unit, target, dice in (cases[place] for place in places)
    ]
    shots = "" if row.shots is None else f", {row.shots} {shots_name(row)}, the mean over draws"
    caption = (
        f"The worst, the middle and the best of {len(cases)} cases by {metric_name(MAIN)}: {row.backbone}, "
        f"{learner_name(row)}{shots}. The hash finds the image in the manifest."
    )
    return html.table(("", "image (keyed hash)", "class", metric_name(MAIN)), lines, caption)
