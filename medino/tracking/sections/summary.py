"""The top of the report: what was compared, the numbers that matter, and the sentence that they allow."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from medino.probes import EvidenceRow, summaries
from medino.tracking import html
from medino.tracking.headline import ADAPTED, headline
from medino.tracking.names import (
    capital,
    features_name,
    learner_name,
    metric_name,
    patients_tested,
    probe_name,
    shots_name,
    task_name,
)
from medino.tracking.report import Section
from medino.tracking.verdict import beside_others, cautions, verdict

RULE = (
    "Brackets hold the 95 % interval from resampling test patients. Which of all measured numbers stands here was "
    "fixed beforehand: the first dataset; the adapted backbone, or else the first that is no baseline, against its "
    "start or an untrained one where these were compared; balanced accuracy, or AUROC of several labels an image, "
    "quadratic kappa of ordered classes, mean absolute error of numbers, Dice of masks over all classes; logistic "
    "regression; the most labelled units."
)


def summary_section(evidence: pa.Table, title: str = "What was compared") -> Section | None:
    """What was compared and the headline numbers with their intervals; None where the evidence holds no summary."""
    found = headline(evidence)
    score = found.after or found.before
    measured = score or found.dice
    if measured is None:
        return None
    parts = [html.facts(_compared(summaries(evidence)))]
    for difference, others in ((found.difference, found.others), (found.dice_difference, found.dice_others)):
        if difference is not None:
            parts.append(html.paragraph(verdict(difference), "verdict"))
        if others:
            parts.append(html.paragraph(beside_others(others)))
    if score is not None:
        against = f" and {found.before.backbone}" if found.after and found.before else ""
        text = (
            f"The numbers below: {score.backbone}{against} on {score.dataset}, {probe_name(score.probe)} on the "
            f"{features_name(score.features)} of the frozen backbone, {score.shots} {shots_name(score)}, tested on "
            f"{patients_tested([score])} that no probe has learned from."
        )
        parts.append(html.paragraph(capital(text)))
    if found.dice is not None and found.dice_before is not None:
        parts.append(html.paragraph(_of_masks(found.dice, found.dice_before)))
    adapted = found.after is not None and found.after.backbone == ADAPTED
    before, after = (" before", " after") if adapted else ("", "")
    cards = [
        _card(f"Few-shot{before}", found.before),
        _card(f"Few-shot{after}", found.after),
        _card("Difference, paired", found.difference, signed=True),
        _card("Segmentation", found.dice_before),
        _card("Segmentation", found.dice),
        _card("Segmentation, paired difference", found.dice_difference, signed=True),
    ]
    parts.append(html.cards(card for card in cards if card))
    parts.extend(html.paragraph(text, "caution") for text in cautions(measured))
    parts.append(html.paragraph(RULE, "note"))
    return Section(title, html.join(*parts))


def _of_masks(after: EvidenceRow, before: EvidenceRow) -> str:
    """Of which study of masks the numbers are."""
    learned = dict.fromkeys(f"{row.backbone} ({learner_name(row)})" for row in (after, before))
    return (
        f"The numbers of masks: {' and '.join(learned)} on {after.dataset}, {after.shots} {shots_name(after)}, tested "
        f"on {patients_tested([after])} that no head has learned from."
    )


def _compared(rows: Sequence[EvidenceRow]) -> list[tuple[str, str]]:
    """What went into the studies: one line a labelled set and task."""
    pairs = []
    for dataset, task in dict.fromkeys((row.dataset, row.task) for row in rows):
        own = [row for row in rows if (row.dataset, row.task) == (dataset, task)]
        told = f"{_listed(row.backbone for row in own)}; by {_listed(learner_name(row) for row in own)}"
        shots = sorted({row.shots for row in own if row.shots is not None})
        if shots:
            told += f"; {_listed(map(str, shots))} {shots_name(own[0])}"
        pairs.append((f"{dataset}, {task_name(task)}", told))
    return pairs


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _card(label: str, row: EvidenceRow | None, signed: bool = False) -> str:
    if row is None:
        return ""
    what = f"{metric_name(row.metric)}, {row.patients} patients"
    return html.card(
        f"{label}: {row.backbone}" if not signed else label,
        html.number(row.value, signed),
        f"{html.interval(row.low, row.high, signed)} {what}",
    )
