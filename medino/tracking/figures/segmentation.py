"""Dice of each class: every case as a faint point, the mean with its interval above them."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.core import InputError
from medino.probes import EvidenceRow
from medino.tracking.figures.style import RULES, footnote, look
from medino.tracking.names import learner_name, patients_tested

ROW = 0.28
"""Height between two heads of one class, in units of the axis."""


def draw_segmentation(rows: Sequence[EvidenceRow], cases: Sequence[EvidenceRow], metric: str = "dice") -> Figure:
    """One line for each class, backbone and head.

    Args:
        rows: summary rows of one dataset; `target` is the class.
        cases: outcome rows of it: one case, class and metric each; may be empty.
        metric: the metric to draw.

    Raises:
        InputError: no row has that metric.
    """
    rows = [row for row in rows if row.metric == metric and row.value is not None]
    if not rows:
        raise InputError(f"the evidence holds no {metric} of a segmentation; train a segmentation head")
    classes = list(dict.fromkeys(row.target or "all classes" for row in rows))
    kinds = list(dict.fromkeys((row.backbone, row.probe) for row in rows))
    block = 0.5 + ROW * len(kinds)
    with rc_context(RULES):
        figure = Figure(figsize=(7.2, 1.5 + 0.75 * block * len(classes)), layout="constrained")
        axes = figure.subplots()
        for row in rows:
            kind = kinds.index((row.backbone, row.probe))
            style = look(kind)
            y = classes.index(row.target or "all classes") * block + ROW * (kind - (len(kinds) - 1) / 2)
            own = [
                case.value or 0.0
                for case in cases
                if (case.backbone, case.probe, case.metric, case.target)
                == (row.backbone, row.probe, metric, row.target)
            ]
            axes.plot(own, [y] * len(own), "|", color=style.color, alpha=0.35, markersize=8, zorder=1)
            if row.low is not None and row.high is not None:
                axes.hlines(y, row.low, row.high, color=style.color, linewidth=2.4)
            label = f"{row.backbone}, {learner_name(row)}"
            axes.plot(
                row.value or 0.0, y, style.marker, color=style.color, markeredgecolor="white", label=label, zorder=3
            )
        axes.set_yticks([place * block for place in range(len(classes))], classes)
        axes.set_ylim(block * (len(classes) - 0.5), -block / 2)
        axes.set_xlim(-0.02, 1.02)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("Dice")
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside upper left", ncols=2)
        ticks = "; each tick is one case" if cases else ""
        footnote(figure, f"n = {patients_tested(rows)}; bars: 95 % intervals over them{ticks}")
    return figure
