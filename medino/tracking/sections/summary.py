"""The top of the report: what was compared, the three numbers, and the sentence that they allow."""

import pyarrow as pa

from medino.probes import EvidenceRow
from medino.tracking import html
from medino.tracking.headline import ADAPTED, headline
from medino.tracking.names import capital, features_name, metric_name, probe_name
from medino.tracking.report import Section
from medino.tracking.verdict import cautions, verdict

RULE = (
    "Brackets hold the 95 % interval from resampling test patients. Which of all measured numbers stands here was "
    "fixed beforehand: the first dataset, balanced accuracy, logistic regression, the most labelled units."
)


def summary_section(evidence: pa.Table, title: str = "What was found") -> Section | None:
    """The headline numbers with their intervals; None where the evidence holds no summary."""
    found = headline(evidence)
    score = found.after or found.before
    measured = score or found.dice
    if measured is None:
        return None
    parts = []
    if score is not None:
        compared = f"{found.after.backbone} against {found.before.backbone}" if found.after and found.before else ""
        text = (
            f"Compared on {score.dataset}: {compared or score.backbone}. {capital(probe_name(score.probe))} on the "
            f"{features_name(score.features)} of the frozen backbone, {score.shots} labelled units ({score.unit}) a "
            f"class, tested on {score.patients} patients that no probe has learned from."
        )
        parts.append(html.paragraph(text))
    if found.difference is not None:
        parts.append(html.paragraph(verdict(found.difference), "verdict"))
    adapted = found.after is not None and found.after.backbone == ADAPTED
    before, after = (" before", " after") if adapted else ("", "")
    cards = [
        _card(f"Few-shot{before}", found.before),
        _card(f"Few-shot{after}", found.after),
        _card("Difference, paired", found.difference, signed=True),
        _card("Segmentation", found.dice),
    ]
    parts.append(html.cards(card for card in cards if card))
    parts.extend(html.paragraph(text, "caution") for text in cautions(measured))
    parts.append(html.paragraph(RULE, "note"))
    return Section(title, html.join(*parts))


def _card(label: str, row: EvidenceRow | None, signed: bool = False) -> str:
    if row is None:
        return ""
    what = f"{metric_name(row.metric)}, {row.patients} patients"
    return html.card(
        f"{label}: {row.backbone}" if not signed else label,
        html.number(row.value, signed),
        f"{html.interval(row.low, row.high, signed)} {what}",
    )
