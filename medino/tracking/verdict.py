"""What an interval allows to say, and no more."""

import math
from collections.abc import Sequence

from medino.probes import LOWER_IS_BETTER, EvidenceRow
from medino.tracking.html import interval, number
from medino.tracking.names import UNDEFINED, capital, learner_name, metric_name, shots_name

FEW_PATIENTS = 30
"""Below this many test patients a percentile interval is itself unsure; the report says so."""

LEVEL = 0.05
"""Of the p-values by Holm: what belongs to intervals of 95 %."""

BETTER, WORSE, NOTHING_SHOWN, UNDECIDED = "better", "worse", "no difference shown", "no interval"


def verdict(row: EvidenceRow) -> str:
    """One sentence on a paired difference: helped, harmed, or no difference shown.

    Args:
        row: a summary row with `compared_with`.
    """
    where = f"{learner_name(row)}, {row.shots} {shots_name(row)}" if row.shots else learner_name(row)
    found = f"{metric_name(row.metric)} {number(row.value, signed=True)} {interval(row.low, row.high, signed=True)}"
    found = f"{found} against {row.compared_with} ({where}, {row.patients} test patients)"
    shown = in_a_word(row)
    if shown == NOTHING_SHOWN:
        low, high = (number(abs(end or 0.0)) for end in _worse_first(row))
        if low == high == number(0.0):
            return f"No difference shown: {found}. The two score alike on every resample of these patients."
        return f"No difference shown: {found}. Anything from {low} worse to {high} better is still possible."
    said = {BETTER: f"{capital(row.backbone)} helped", WORSE: f"{capital(row.backbone)} harmed"}
    return f"{said.get(shown, 'Not decided')}: {found}.{_over_all_comparisons(row, shown)}"


def beside_others(rows: Sequence[EvidenceRow]) -> str:
    """One sentence on the same backbone's differences to all else that stood beside it.

    Args:
        rows: one or more, each with another `compared_with`.
    """
    words = {
        BETTER: "better than",
        WORSE: "worse than",
        NOTHING_SHOWN: "no difference shown to",
        UNDECIDED: "not decided against",
    }
    told = [
        f"{words[in_a_word(row)]} {row.compared_with}, {number(row.value, signed=True)} "
        f"{interval(row.low, row.high, signed=True)}"
        for row in sorted(rows, key=lambda row: list(words).index(in_a_word(row)))
    ]
    return f"On the same patients, {rows[0].backbone} beside the others: {'; '.join(told)}."


def in_a_word(row: EvidenceRow) -> str:
    """Better, worse, or no difference shown: on which side of zero the whole interval lies."""
    if row.low is None or row.high is None or math.isnan(row.low) or math.isnan(row.high):
        return UNDECIDED
    if row.low <= 0 <= row.high:
        return NOTHING_SHOWN
    return BETTER if (row.low > 0) != (row.metric in LOWER_IS_BETTER) else WORSE


def _worse_first(row: EvidenceRow) -> tuple[float | None, float | None]:
    """The ends of the interval, the worse one first."""
    return (row.high, row.low) if row.metric in LOWER_IS_BETTER else (row.low, row.high)


def _over_all_comparisons(row: EvidenceRow, shown: str) -> str:
    """What is left of a finding once all comparisons count; nothing where it was the only one.

    Of R resamples no p is below 2 / (R + 1) (Phipson and Smyth 2010), and by Holm over m comparisons the least one not
    below m times that: where this is no finding, the resamples are too few, and chance is not to blame.
    """
    if shown not in (BETTER, WORSE) or row.p_holm is None or (row.comparisons or 1) < 2:
        return ""
    of = "metric and class" if row.task == "segmentation" else "metric"
    counted = f"{row.comparisons} comparisons with {row.compared_with} in this {of}"
    told = f" Over the {counted} (Holm) p is {number(row.p_holm)}"
    if row.p_holm < LEVEL:
        return f"{told}."
    drawn = row.p_resamples or row.replicates
    least = 0.0 if drawn is None else min(1.0, 2 * (row.comparisons or 1) / (drawn + 1))
    if least >= LEVEL:
        return (
            f"{told}, but from {drawn} resamples it can't fall below {number(least)}: too few for so many comparisons."
        )
    return f"{told}: among so many, chance alone may have found it."


def cautions(row: EvidenceRow) -> list[str]:
    """What has to be said beside a number: who stands for the patient, who was seen before, how few there are."""
    said = []
    if row.patient_unit != "patient":
        said.append(
            f"Nobody knows the patient of every image here: what counts as one patient is {_unit_in_words(row)}. "
            "Images of one person may lie on both sides of a split, and the intervals may be too narrow."
        )
    if row.patients_seen is None:
        said.append(
            "Nobody can tell whether test patients were seen, without labels, while the backbone was adapted: its "
            "patients were hashed with another key. Scan both sets with one key to find out."
        )
    elif row.patients_seen:
        said.append(
            f"{row.patients_seen} of {row.patients} test patients were seen, without labels, while the backbone was "
            "adapted. On new patients the gain may be smaller."
        )
    if row.patients is not None and row.patients < FEW_PATIENTS:
        said.append(f"With {row.patients} test patients the intervals themselves are unsure.")
    return said


def seen_or_unknown(row: EvidenceRow) -> float:
    """Orders rows by what has to be said of them: unknown above any number of test patients seen.

    A count of undefined cases does not say how many were seen, and comes last.
    """
    if (row.metric or "").endswith(UNDEFINED):
        return -1
    return math.inf if row.patients_seen is None else row.patients_seen


def _unit_in_words(row: EvidenceRow) -> str:
    names = {"patient": "the patient", "study": "the study", "file": "the file"}
    return " or ".join(names.get(unit, unit) for unit in row.patient_unit.split("+"))
