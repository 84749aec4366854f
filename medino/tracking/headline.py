"""The numbers that matter, chosen by a rule that does not look at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from medino.probes import EvidenceRow, differences, summaries
from medino.probes.registry import END_TO_END
from medino.tracking.html import interval, number
from medino.tracking.names import learner_name, metric_name, shots_name
from medino.tracking.verdict import beside_others, verdict

MAIN_METRICS = {
    "classification": "balanced_accuracy",
    "multilabel": "auroc",
    "ordinal": "quadratic_kappa",
    "regression": "mae",
    "segmentation": "dice",
}
"""What a study of each task is judged by; one that did not measure it, by its first metric."""

ADAPTED = "adapted"
"""The backbone that the headline is about, where the evidence holds one of that name."""

BASELINES = ("pixels", "thumbnail", "random", "cnn", "unet")
"""What studies set beside backbones; the headline is about one of these only where there is nothing else."""

STARTS = ("start", "random")
"""What a backbone is compared with in the headline, if it was: what it was started from, or the same untrained."""

PROBES = ("logistic", "nearest_mean", "knn")
"""The order in which a probe is taken for the headline; the choice never depends on the scores."""


@dataclass(frozen=True)
class Headline:
    """What stands at the top of a report and at the end of a command.

    Attributes:
        before: the few-shot score of the backbone that was started from.
        after: the same of the adapted backbone.
        difference: `after - before`, paired.
        dice: the Dice of the segmentation head, the mean over classes where there is one.
        dice_before: in a study of masks, the same of the backbone that this one is compared with.
        dice_difference: `dice - dice_before`, paired.
        others: the same backbone's paired differences to all else that it was compared with in the same way.
        dice_others: the same of masks.

    Each is None where it was not measured. The rule, of labels and of masks: the first dataset, its main metric (see
    `main_metric`), the adapted backbone or else the first that is no baseline and that no other is compared with,
    logistic regression, the most shots; compared with its start, an untrained one or else the first reference.
    """

    before: EvidenceRow | None
    after: EvidenceRow | None
    difference: EvidenceRow | None
    dice: EvidenceRow | None
    dice_before: EvidenceRow | None = None
    dice_difference: EvidenceRow | None = None
    others: tuple[EvidenceRow, ...] = ()
    dice_others: tuple[EvidenceRow, ...] = ()

    def lines(self) -> list[str]:
        """The numbers as lines of text, for a terminal."""
        lines = [
            f"{where}: {_in_words(row)}"
            for where, row in (("few-shot before", self.before), ("few-shot after", self.after))
            if row is not None
        ]
        lines += _told(self.difference, self.others)
        if self.dice is not None:
            lines.append(f"segmentation: {_in_words(self.dice)}")
        return lines + _told(self.dice_difference, self.dice_others)


class Chosen(NamedTuple):
    """The scores before and after and their paired difference, each None where it was not measured, and others."""

    before: EvidenceRow | None
    after: EvidenceRow | None
    difference: EvidenceRow | None
    others: tuple[EvidenceRow, ...] = ()


def headline(evidence: pa.Table) -> Headline:
    """Choose the headline of a run's evidence."""
    labels, masks = chosen_of_labels(evidence), chosen_of_masks(evidence)
    return Headline(
        before=labels.before,
        after=labels.after,
        difference=labels.difference,
        dice=masks.after,
        dice_before=masks.before,
        dice_difference=masks.difference,
        others=labels.others,
        dice_others=masks.others,
    )


def chosen_of_labels(evidence: pa.Table) -> Chosen:
    """What the headline shows of labels."""
    return _chosen(few_shot(summaries(evidence)), few_shot(differences(evidence)), ADAPTED)


def chosen_of_masks(evidence: pa.Table, dataset: str | None = None) -> Chosen:
    """What the headline shows of masks, all or of one dataset: the backbone that it shows of labels, if it is there."""
    of_labels = chosen_of_labels(evidence).after
    where = {"task": "segmentation"} if dataset is None else {"task": "segmentation", "dataset": dataset}
    wanted = ADAPTED if of_labels is None else of_labels.backbone
    return _chosen(summaries(evidence, **where), differences(evidence, **where), wanted)


def _chosen(scores: Sequence[EvidenceRow], compared: Sequence[EvidenceRow], wanted: str) -> Chosen:
    """The headline's rows among all of labels or all of masks, of the backbone `wanted` if it is there."""
    references = {row.compared_with for row in compared}

    def rank(row: EvidenceRow) -> tuple[bool, bool, bool, bool, bool, int, int, int]:
        return (
            row.backbone != wanted,
            row.backbone in BASELINES,
            row.backbone in references,
            row.features != "class",
            row.target is not None,
            PROBES.index(row.probe) if row.probe in PROBES else len(PROBES),
            -(row.shots or 0),
            STARTS.index(row.compared_with) if row.compared_with in STARTS else len(STARTS),
        )

    if compared:
        difference = min(of_main_metric(compared), key=rank)
        before = _partner(scores, difference, difference.compared_with)
        after = _partner(scores, difference, difference.backbone)
        return Chosen(before, after, difference, _to_others(compared, difference))
    return Chosen(None, min(of_main_metric(scores), key=rank, default=None), None)


def main_metric(rows: Sequence[EvidenceRow]) -> str:
    """The metric that a study is judged by, of its rows."""
    measured = list(dict.fromkeys(row.metric or "" for row in rows))
    main = MAIN_METRICS.get(rows[0].task, "") if rows else ""
    return main if main in measured or not measured else measured[0]


def few_shot(rows: Sequence[EvidenceRow]) -> list[EvidenceRow]:
    """The rows of everything but masks."""
    return [row for row in rows if row.task != "segmentation"]


def of_main_metric(rows: Sequence[EvidenceRow]) -> list[EvidenceRow]:
    """The rows of the first dataset and task, its main metric."""
    of_first = [row for row in rows if (row.dataset, row.task) == (rows[0].dataset, rows[0].task)]
    return [row for row in of_first if row.metric == main_metric(of_first)]


def _partner(rows: Sequence[EvidenceRow], of: EvidenceRow, backbone: str | None) -> EvidenceRow | None:
    """The score of `backbone` that goes into the difference `of`.

    What is trained from end to end has a probe and features of its own, and heads of one study look at other layers.
    """
    where = ("task", "dataset", "unit", "shots", "draw", "metric", "target")
    same = [
        row for row in rows if row.backbone == backbone and all(getattr(row, at) == getattr(of, at) for at in where)
    ]
    alike = [
        row
        for row in same
        if row.probe == END_TO_END
        or (row.probe == of.probe and (row.features == of.features or row.task == "segmentation"))
    ]
    return min(alike, key=lambda row: (row.probe != of.probe, row.features != of.features), default=None)


def _to_others(compared: Sequence[EvidenceRow], of: EvidenceRow) -> tuple[EvidenceRow, ...]:
    """The differences of the same backbone, measured in the same way, to all else."""
    where = ("task", "dataset", "unit", "backbone", "probe", "features", "shots", "draw", "metric", "target")
    return tuple(
        row
        for row in compared
        if row.compared_with != of.compared_with and all(getattr(row, at) == getattr(of, at) for at in where)
    )


def _told(difference: EvidenceRow | None, others: Sequence[EvidenceRow]) -> list[str]:
    if difference is None:
        return []
    return [verdict(difference), *([beside_others(others)] if others else [])]


def _in_words(row: EvidenceRow) -> str:
    measured = f"{metric_name(row.metric)} {number(row.value)} {interval(row.low, row.high)}"
    what = f"{row.backbone}, {learner_name(row)}"
    shots = f", {row.shots} {shots_name(row)}" if row.shots else ""
    target = f", {row.target}" if row.target else ""
    return f"{measured} ({what}{shots}{target}, {row.patients} patients)"
