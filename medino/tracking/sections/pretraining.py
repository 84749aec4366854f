"""How the adaptation went, step by step."""

from collections.abc import Mapping

import numpy as np

from medino.tracking import html
from medino.tracking.figures import draw_pretraining, to_svg
from medino.tracking.figures.pretraining import PANELS, panel_columns
from medino.tracking.metrics_csv import STEP
from medino.tracking.report import Section


def pretraining_section(metrics: Mapping[str, np.ndarray], title: str = "Adaptation, step by step") -> Section | None:
    """Curves of losses, effective rank, prototype use, gradients and schedules; None where no curve was logged.

    Args:
        metrics: what `read_metrics` gives.
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
    return Section(
        title,
        html.join(
            html.figure(to_svg(draw_pretraining(metrics), "Curves of the adaptation"), caption),
            html.paragraph(f"Not finite at some step: {', '.join(bad)}.", "caution") if bad else "",
        ),
    )
