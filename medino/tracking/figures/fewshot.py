"""Few-shot scores over shots with their intervals, and the paired differences below them."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.core import InputError
from medino.probes import EvidenceRow
from medino.tracking.figures.style import RULES, look
from medino.tracking.names import backbone_order, metric_name, probe_name

SPREAD = 0.09
"""Distance between two backbones' points at one number of shots, in steps of the axis, so that their bars don't hide
each other."""


def draw_fewshot(rows: Sequence[EvidenceRow], compared: Sequence[EvidenceRow], metric: str) -> Figure:
    """One column for each probe: scores above, paired differences below, all with 95 % intervals over patients.

    Args:
        rows: summary rows of one dataset, unit and kind of features.
        compared: the paired differences that belong to them; the lower row is left out where there are none.
        metric: the metric to draw.

    Raises:
        InputError: no row has that metric.
    """
    rows = [row for row in rows if row.metric == metric]
    compared = [row for row in compared if row.metric == metric]
    if not rows:
        raise InputError(f"the evidence holds no {metric}; run the few-shot study")
    backbones = backbone_order(rows, compared)
    probes = list(dict.fromkeys(row.probe for row in rows))
    shots = sorted({row.shots or 0 for row in rows})
    heights = [2.0, 1.3] if compared else [1.0]
    with rc_context(RULES):
        figure = Figure(figsize=(1.4 + 2.6 * len(probes), 5.6 if compared else 3.6), layout="constrained")
        axes = figure.subplots(
            len(heights), len(probes), sharex=True, sharey="row", squeeze=False, height_ratios=heights
        )
        for place, probe in enumerate(probes):
            of_probe = [row for row in rows if row.probe == probe]
            axes[0, place].set_title(probe_name(probe))
            _draw_lines(axes[0, place], of_probe, backbones, shots, signed=False)
            if compared:
                axes[1, place].axhline(0, color="#57606a", linewidth=1)
                of_probe = [row for row in compared if row.probe == probe]
                _draw_lines(axes[1, place], of_probe, backbones, shots, signed=True)
            axes[-1, place].set_xlabel("labelled units a class")
            axes[-1, place].set_xticks(range(len(shots)), [str(number) for number in shots])
            axes[-1, place].set_xlim(-0.5, len(shots) - 0.5)
        axes[0, 0].set_ylabel(metric_name(metric))
        if compared:
            others = sorted({row.compared_with or "" for row in compared})
            axes[1, 0].set_ylabel("difference to\n" + "\n".join(others))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(3, len(backbones)))
    return figure


def _draw_lines(
    axes: Any, rows: Sequence[EvidenceRow], backbones: Sequence[str], shots: Sequence[int], signed: bool
) -> None:
    for index, backbone in enumerate(backbones):
        found = sorted((row for row in rows if row.backbone == backbone), key=lambda row: row.shots or 0)
        found = [row for row in found if row.value is not None]
        if not found:
            continue
        style = look(index)
        shift = SPREAD * (index - (len(backbones) - 1) / 2)
        at = [shots.index(row.shots or 0) + shift for row in found]
        values = [row.value for row in found]
        axes.plot(
            at,
            values,
            color=style.color,
            marker=style.marker,
            linestyle="none" if signed else style.dashes,
            label=backbone,
        )
        bounded = [(x, row.low, row.high) for x, row in zip(at, found, strict=True) if row.low is not None]
        if bounded:
            x, low, high = zip(*bounded, strict=True)
            axes.vlines(x, low, high, color=style.color, linewidth=1.6)
            if not signed:
                axes.fill_between(x, low, high, color=style.color, alpha=0.13, linewidth=0)
