"""Predicted against true numbers, side by side for the backbones that are compared."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.tracking.figures.style import RULES, SOFT, footnote, look
from medino.tracking.names import patients_named
from medino.tracking.outcomes import Values


def draw_values(found: Sequence[tuple[str, Values]]) -> Figure:
    """One panel a backbone: a point a unit; on the line the prediction is right.

    Args:
        found: name and predictions of each backbone.
    """
    first = found[0][1]
    every = np.concatenate([part for _, one in found for part in (one.true, one.predicted)])
    margin = 0.04 * (np.ptp(every) or 1.0)
    ends = every.min() - margin, every.max() + margin
    with rc_context(RULES):
        figure = Figure(figsize=(0.9 + 3.4 * len(found), 4.7), layout="constrained")
        grid = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
        for index, (axes, (name, one)) in enumerate(zip(grid, found, strict=True)):
            style = look(index)
            axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
            axes.plot(
                one.true, one.predicted, style.marker, color=style.color, alpha=0.6, markeredgecolor="white", zorder=2
            )
            axes.set_xlim(*ends)
            axes.set_ylim(*ends)
            axes.set_box_aspect(1)
            axes.set_title(name)
            axes.set_xlabel("true value")
        grid[0].set_ylabel("predicted value, mean over draws")
        patients = patients_named(len(np.unique(first.patients)), first.patient_unit)
        footnote(figure, f"n = {len(first.units)} units of {patients}; dotted: predicted as it is")
    return figure
