"""Few-shot studies of labels: how sure the numbers are, for each labelled set."""

import pyarrow as pa

from medino.probes import EvidenceRow, differences, summaries
from medino.tracking import html
from medino.tracking.headline import few_shot, main_metric
from medino.tracking.names import capital, features_name, task_name
from medino.tracking.report import Part, Section, section_of
from medino.tracking.sections.study import study_parts
from medino.tracking.verdict import cautions, seen_or_unknown


def fewshot_section(evidence: pa.Table, title: str = "How sure: few labels") -> Section | None:
    """Scores over shots, paired differences and the tables; None where there is no few-shot evidence."""
    rows, compared = few_shot(summaries(evidence)), few_shot(differences(evidence))
    if not rows:
        return None
    parts: list[Part] = []
    for study in dict.fromkeys(map(_study, rows)):
        of_study = [row for row in rows if _study(row) == study]
        paired = [row for row in compared if _study(row) == study]
        task, dataset, unit, features, draw = study
        # A shot is one patient unless told otherwise, and usually nothing else is there to be told apart.
        shots = ", shots: images of any patient" if draw == "images" and unit != "patient" else ""
        name = f"{dataset}, {features_name(features)}, unit: {unit}{shots}"
        parts.append(html.heading(f"{capital(task_name(task))}: {name}"))
        parts.extend(html.paragraph(text, "caution") for text in cautions(max(of_study, key=seen_or_unknown)))
        parts.extend(study_parts(name, of_study, paired, evidence, main_metric(of_study)))
    return section_of(title, parts)


def _study(row: EvidenceRow) -> tuple[str, str, str, str, str | None]:
    return row.task, row.dataset, row.unit, row.features, row.draw
