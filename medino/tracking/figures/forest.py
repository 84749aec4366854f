"""Paired differences as a forest plot: one line a comparison, zero marked, the numbers beside it."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.core import InputError
from medino.probes import LOWER_IS_BETTER, EvidenceRow
from medino.tracking.figures.style import INK, RULES, SOFT, footnote, look
from medino.tracking.html import interval, number
from medino.tracking.names import metric_name, panel_name, patients_tested, shots_name

MOST_LINES = 48
"""A plot with more of them fits on no page: draw one for each probe."""

LINE = 0.24
"""Inches between two lines."""


def draw_forest(compared: Sequence[EvidenceRow], metric: str, order: Sequence[str] = ()) -> Figure:
    """The lines of each probe below its name, backbone after backbone. A hollow marker: the interval holds zero.

    Args:
        compared: paired differences of one study.
        metric: the metric to draw.
        order: the backbones in the order of their looks; as in `compared` if empty.

    Raises:
        InputError: no row has that metric.
    """
    compared = [row for row in compared if row.metric == metric and row.value is not None]
    if not compared:
        raise InputError(f"the evidence holds no paired difference of {metric}; compare at least two backbones")
    order = list(order) or list(dict.fromkeys(row.backbone for row in compared))
    groups = list(dict.fromkeys((row.probe, row.target) for row in compared))
    height = LINE * (len(compared) + 1.6 * len(groups)) + 1.3
    with rc_context({**RULES, "axes.spines.left": False}):
        figure = Figure(figsize=(9.2, height), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=SOFT, linewidth=1.2, zorder=1)
        below = 0.0
        ticks: list[tuple[float, str]] = []
        headings: list[int] = []
        for probe, target in groups:
            below += 1.0
            headings.append(len(ticks))
            ticks.append((below, panel_name(compared[0].task, probe, target)))
            of_group = [row for row in compared if (row.probe, row.target) == (probe, target)]
            for row in sorted(of_group, key=lambda row: (order.index(row.backbone), row.shots or 0)):
                below += 1.0
                _draw_line(axes, row, below, order)
                shots = "" if row.shots is None else f", {row.shots}"
                ticks.append((below, f"{row.backbone} against {row.compared_with}{shots}"))
            below += 0.6
        axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
        for place in headings:
            axes.get_yticklabels()[place].set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_ylim(below + 0.2, 0.3)
        better = "left" if metric in LOWER_IS_BETTER else "right"
        axes.set_xlabel(f"difference in {metric_name(metric)}: {better} of zero is better")
        axes.text(1.02, 1.0, _header(compared), transform=axes.transAxes, va="top", fontweight="bold", fontsize=8.5)
        counted = shots_name(compared[0])
        after = f"the number after a name: {counted}; " if compared[0].shots is not None else ""
        footnote(
            figure,
            f"n = {patients_tested(compared)}; {after}hollow: the 95 % interval holds zero",
        )
    return figure


def _header(compared: Sequence[EvidenceRow]) -> str:
    corrected = any(row.p_holm is not None for row in compared)
    return "difference [95 % interval]" + (", p (Holm)" if corrected else "")


def _draw_line(axes: Any, row: EvidenceRow, at: float, order: Sequence[str]) -> None:
    style = look(order.index(row.backbone))
    bounded = row.low is not None and row.high is not None
    if bounded:
        axes.hlines(at, row.low, row.high, color=style.color, linewidth=2, zorder=2)
    apart = bounded and not row.low <= 0 <= row.high  # type: ignore[operator]
    axes.plot(
        row.value,
        at,
        style.marker,
        color=style.color if apart else "white",
        markeredgecolor=style.color,
        markeredgewidth=1.4,
        zorder=3,
    )
    p_value = "" if row.p_holm is None else f", {number(row.p_holm)}"
    text = f"{number(row.value, signed=True)} {interval(row.low, row.high, signed=True)}{p_value}"
    axes.text(1.02, at, text, transform=axes.get_yaxis_transform(), va="center", color=INK, fontsize=8.5, clip_on=False)
