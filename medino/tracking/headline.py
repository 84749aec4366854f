"""The numbers that matter, chosen by a rule that does not look at them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from medino.probes import EvidenceRow, differences, summaries
from medino.tracking.html import interval, number
from medino.tracking.names import metric_name, probe_name, shots_name
from medino.tracking.verdict import verdict

MAIN_METRICS = {
    "classification": "balanced_accuracy",
    "multilabel": "auroc",
    "ordinal": "quadratic_kappa",
    "regression": "mae",
    "segmentation": "dice",
}
"""What a study of each task is judged by; one that did not measure it, by its first metric."""

ADAPTED = "adapted"
"""The backbone that the headline is about, where the evidence holds one of that name; else the first one compared."""

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

    Each is None where it was not measured. The rule: the first dataset, its main metric (see `main_metric`), logistic
    regression, the most shots.
    """

    before: EvidenceRow | None
    after: EvidenceRow | None
    difference: EvidenceRow | None
    dice: EvidenceRow | None

    def lines(self) -> list[str]:
        """The numbers as lines of text, for a terminal."""
        lines = [
            f"{where}: {_in_words(row)}"
            for where, row in (("few-shot before", self.before), ("few-shot after", self.after))
            if row is not None
        ]
        if self.difference is not None:
            lines.append(verdict(self.difference))
        if self.dice is not None:
            lines.append(f"segmentation: {_in_words(self.dice)}")
        return lines


def headline(evidence: pa.Table) -> Headline:
    """Choose the headline of a run's evidence."""
    scores = few_shot(summaries(evidence))
    compared = of_main_metric(few_shot(differences(evidence)))
    before = after = difference = None
    if compared:
        difference = min(compared, key=_rank)
        before, after = (_partner(scores, difference, name) for name in (difference.compared_with, difference.backbone))
    elif scores:
        after = min(of_main_metric(scores), key=_rank)
    return Headline(before, after, difference, _dice(evidence, after))


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


def _rank(row: EvidenceRow) -> tuple[bool, bool, int, int]:
    probe = PROBES.index(row.probe) if row.probe in PROBES else len(PROBES)
    return (row.backbone != ADAPTED, row.features != "class", probe, -(row.shots or 0))


def _partner(rows: Sequence[EvidenceRow], of: EvidenceRow, backbone: str | None) -> EvidenceRow | None:
    """The score of `backbone` that goes into the difference `of`."""
    where = ("task", "dataset", "features", "probe", "unit", "shots", "metric")
    same = (row for row in rows if all(getattr(row, name) == getattr(of, name) for name in where))
    return next((row for row in same if row.backbone == backbone), None)


def _dice(evidence: pa.Table, after: EvidenceRow | None) -> EvidenceRow | None:
    """The Dice of the adapted backbone's head, over all classes where such a row is there."""
    rows = [row for row in summaries(evidence, task="segmentation") if row.metric == "dice"]
    wanted = after.backbone if after is not None else ADAPTED
    return min(rows, key=lambda row: (row.backbone != wanted, row.target is not None, -(row.shots or 0)), default=None)


def _in_words(row: EvidenceRow) -> str:
    measured = f"{metric_name(row.metric)} {number(row.value)} {interval(row.low, row.high)}"
    what = f"{row.backbone}, {probe_name(row.probe)}"
    shots = f", {row.shots} {shots_name(row)}" if row.shots else ""
    target = f", {row.target}" if row.target else ""
    return f"{measured} ({what}{shots}{target}, {row.patients} patients)"
