"""How the adaptation went, step by step."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medino.tracking import html
from medino.tracking.figures import draw_pretraining
from medino.tracking.figures.drawn import Drawn
from medino.tracking.figures.pretraining import PANELS, panel_columns
from medino.tracking.metrics_csv import STEP
from medino.tracking.report import Section, section_of

COLLAPSED = (
    "At the end the teacher's targets were nearly the same for all images: the DINO loss had nothing left to teach. "
    "Try another learning rate, teacher momentum or centering."
)

LEAST_INFORMATION = 0.05
"""Nats that the teacher's targets have to say about an image; below, they are the same for all images."""

CHOSEN_BY = {"probe_balanced_accuracy": "the probe's balanced accuracy", "rankme": "RankMe"}
"""What a run's best backbone was chosen by, in words."""


def pretraining_section(
    metrics: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any] | None = None,
    title: str = "Adaptation, step by step",
) -> Section | None:
    """Curves of losses, effective rank, prototype use, gradients and schedules; None where no curve was logged.

    Args:
        metrics: what `read_metrics` gives.
        provenance: what `read_provenance` gives: which state was best, and whether the run was stopped.
        title: the section's heading.
    """
    curves = [name for panel in PANELS for name in panel_columns(metrics, panel.words)]
    if not curves:
        return None
    steps = metrics[STEP][np.any([np.isfinite(metrics[name]) for name in curves], axis=0)]
    caption = (
        f"Logged at {len(steps)} steps from {steps[0]:.0f} to {steps[-1]:.0f}. A falling loss with a falling effective "
        "rank, or with ever fewer prototypes in use, is collapse, not learning. The losses of DINO follow a moving "
        "teacher: they compare within a run, not between runs, and say nothing of use for a task."
    )
    bad = [name for name in curves if np.isinf(metrics[name]).any()]
    return section_of(
        title,
        [
            Drawn("adaptation", draw_pretraining(metrics), "Curves of the adaptation", caption),
            *watched(provenance or {}),
            html.paragraph(COLLAPSED, "caution") if is_collapsed(metrics) else "",
            html.paragraph(f"Not finite at some step: {', '.join(bad)}.", "caution") if bad else "",
        ],
    )


def watched(provenance: Mapping[str, Any]) -> list[str]:
    """What the run's watch has to say: whether it stopped the run, and which state was best."""
    said: list[str] = []
    if stopped := provenance.get("stopped"):
        said.append(html.paragraph(f"The run was ended early: {stopped}.", "caution"))
    if best := provenance.get("best_backbone"):
        start = best.get("at_start")
        before = "" if start is None else f"; {start:.3g} at the start"
        name = CHOSEN_BY.get(best["criterion"], best["criterion"])
        text = f"Best of the states that were checked: step {best['step']} by {name} ({best['value']:.3g}{before}). "
        if best["criterion"] == "rankme":
            text += "RankMe says how many directions the features use, not whether these are of use for a task."
        elif start is not None and best["value"] <= start:
            text += "By the probe none was better than the backbone that the run started from."
        else:
            text += "States were chosen by the probe's patients: report nothing that was measured on them."
        said.append(html.paragraph(text))
    return said


def is_collapsed(metrics: Mapping[str, np.ndarray]) -> bool:
    """Whether the last targets logged say nothing about their image, all prototypes being alike, or one taking all.

    What they say is the entropy of their mean less their mean entropy: the mutual information of image and prototype.
    """
    of_mean, mean = metrics.get("teacher/prototype_entropy"), metrics.get("teacher/target_entropy")
    if of_mean is None or mean is None:
        return False
    information = of_mean - mean
    logged = information[np.isfinite(information)]
    return len(logged) > 0 and bool(logged[-1] < LEAST_INFORMATION)
