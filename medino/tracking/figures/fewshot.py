"""Few-shot scores over the number of shots: means with their interval bands, each episode faint behind."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.core import InputError
from medino.probes import EvidenceRow
from medino.tracking.figures.style import RULES, footnote, look
from medino.tracking.names import metric_name, panel_name, patients_tested, shots_name

DODGE = 0.13
"""Distance between two backbones' points at one number of shots, in steps of the axis, so that their bars don't hide
each other."""

WIDEST = 0.7
"""Most of a step that the points at one number of shots take together."""

ACROSS = 3
"""Panels in a row."""

MOST_EPISODES = 100
"""Drawn of each point's episodes, the first ones; more make the file large and the picture no clearer."""


def draw_fewshot(
    rows: Sequence[EvidenceRow], episodes: pa.Table | None, metric: str, order: Sequence[str] = ()
) -> Figure:
    """One panel for each probe, or for each head and class: scores with 95 % intervals over patients.

    What is trained in a way of its own (a network from end to end) stands in every panel, beside the others.

    Args:
        rows: summary rows of one study, without comparisons; of classification or of segmentation.
        episodes: its rows of kind `episode`, or evidence that holds them; None draws none.
        metric: the metric to draw.
        order: the backbones in the order of their looks; as in `rows` if empty.

    Raises:
        InputError: no row has that metric.
    """
    rows = [row for row in rows if row.metric == metric and row.value is not None]
    if not rows:
        raise InputError(f"the evidence holds no {metric}; run the few-shot study")
    order = list(order) or list(dict.fromkeys(row.backbone for row in rows))
    alone = trained_alone(rows)
    panels = list(dict.fromkeys((row.probe, row.target) for row in rows if row.probe not in alone))
    shots = sorted({row.shots or 0 for row in rows})
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    with rc_context(RULES):
        figure = Figure(figsize=(max(1.0 + 2.85 * across, 4.6), 1.1 + 2.7 * down), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, (probe, target) in zip(grid.flat, panels, strict=False):
            shown = [row for row in rows if row.probe in (probe, *alone) and row.target == target]
            axes.set_title(panel_name(rows[0].task, probe, target))
            _draw_panel(axes, shown, episodes, order, shots)
            axes.set_xticks(range(len(shots)), [str(number) for number in shots])
            axes.set_xlim(-0.5, len(shots) - 0.5)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for place, axes in enumerate(grid.flat[: len(panels)]):
            axes.tick_params(labelbottom=place + across >= len(panels))
            if place + across >= len(panels):
                axes.set_xlabel(shots_name(rows[0]))
        for axes in grid[:, 0]:
            axes.set_ylabel(metric_name(metric))
        drawn = [backbone for backbone in order if any(row.backbone == backbone for row in rows)]
        handles = [axes.get_legend_handles_labels() for axes in grid.flat]
        entries = {label: one for lines, labels in handles for one, label in zip(lines, labels, strict=True)}
        figure.legend(
            [entries[name] for name in drawn], drawn, loc="outside upper left", ncols=min(across + 1, len(drawn))
        )
        footnote(figure, f"n = {patients_tested(rows)}; bars and bands: 95 % intervals over them")
    return figure


def trained_alone(rows: Sequence[EvidenceRow]) -> list[str]:
    """Probes that one backbone alone has, which has no other: none where that would leave nothing to stand beside."""
    pairs = {(row.probe, row.backbone) for row in rows}
    probes = list(dict.fromkeys(row.probe for row in rows))
    backbones_of = {probe: [name for one, name in pairs if one == probe] for probe in probes}
    probes_of = {name: [one for one, other in pairs if other == name] for _, name in pairs}
    alone = [one for one in probes if len(backbones_of[one]) == 1 and len(probes_of[backbones_of[one][0]]) == 1]
    return alone if len(alone) < len(probes) else []


def _draw_panel(
    axes: Any,
    rows: Sequence[EvidenceRow],
    episodes: pa.Table | None,
    order: Sequence[str],
    shots: Sequence[int],
) -> None:
    present = [backbone for backbone in order if any(row.backbone == backbone for row in rows)]
    step = min(DODGE, WIDEST / max(len(present) - 1, 1))
    for index, backbone in enumerate(present):
        found = sorted((row for row in rows if row.backbone == backbone), key=lambda row: row.shots or 0)
        style = look(order.index(backbone))
        shift = step * (index - (len(present) - 1) / 2)
        at = [shots.index(row.shots or 0) + shift for row in found]
        for x, row in zip(at, found, strict=True):
            values = episode_values(episodes, row)[:MOST_EPISODES]
            axes.plot(
                [x] * len(values),
                values,
                "_",
                color=style.color,
                alpha=0.3,
                markersize=7,
                markeredgewidth=0.9,
                zorder=1,
            )
        bounded = [(x, row.low, row.high) for x, row in zip(at, found, strict=True) if row.low is not None]
        if bounded:
            x_at, low, high = zip(*bounded, strict=True)
            axes.fill_between(x_at, low, high, color=style.color, alpha=0.13, linewidth=0, zorder=0.5)
            axes.vlines(x_at, low, high, color=style.color, linewidth=1.8, zorder=2)
        axes.plot(
            at,
            [row.value for row in found],
            color=style.color,
            marker=style.marker,
            linestyle=style.dashes,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=backbone,
            zorder=3,
        )


def episode_values(episodes: pa.Table | None, of: EvidenceRow) -> np.ndarray:
    """(E,) the metric of each episode behind a summary row; none where they were not kept."""
    if episodes is None or not episodes.num_rows:
        return np.empty(0)
    chosen = pc.equal(episodes["kind"], "episode")
    for name in ("task", "dataset", "backbone", "features", "probe", "unit", "shots", "draw", "metric", "target"):
        value = getattr(of, name)
        same = pc.is_null(episodes[name]) if value is None else pc.equal(episodes[name], value)
        chosen = pc.and_(chosen, pc.fill_null(same, False))
    values = episodes["value"].filter(chosen).to_numpy().astype(float)
    return values[~np.isnan(values)]
