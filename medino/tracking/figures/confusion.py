"""Confusion matrices: shares of each true class, side by side for the backbones that are compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.tracking.figures.style import INK, RULES, footnote
from medino.tracking.names import patients_named
from medino.tracking.outcomes import Outcomes

COLOURS = "Blues"
"""From white to dark blue: falls in brightness all the way, so that grey print keeps the order."""

MOST_CLASSES = 20
"""With more classes the numbers in the cells can't be read."""

UPRIGHT = 90
"""How far the names of many classes are turned, degrees."""

DARK = 0.55
"""Above this share the numbers are white."""


def draw_confusion(found: Sequence[tuple[str, Outcomes]]) -> Figure:
    """One matrix a backbone: a row a true class, summing to 100 %; columns are what it is taken for.

    Args:
        found: name and outcomes of each backbone.
    """
    classes = list(dict.fromkeys(label for _, one in found for label in one.classes))
    first = found[0][1]
    side = 0.9 + max(0.42 * len(classes), 1.8)
    inside, turned = (9, 40) if len(classes) <= 6 else (6.5, UPRIGHT)
    with rc_context({**RULES, "axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(1.2 + (side + 0.2) * len(found), side + 1.1), layout="constrained")
        grid = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        present = [label for label in classes if (first.targets == label).any()]
        for axes, (name, one) in zip(grid, found, strict=True):
            shares = shares_of_classes(one, present, classes)
            # Squares, not an image: these stay sharp and are told apart by whoever reads the SVG.
            places = np.arange(len(classes)), np.arange(len(present))
            axes.pcolormesh(*places, shares, cmap=COLOURS, vmin=0, vmax=1, edgecolors="white", linewidth=0.8)
            _write_shares(axes, shares, inside)
            axes.set_title(name)
            across = "center" if turned == UPRIGHT else "top"
            axes.set_xticks(
                range(len(classes)), classes, rotation=turned, ha="right", va=across, rotation_mode="anchor"
            )
            axes.tick_params(length=0)
            axes.set_xlabel("taken for")
        counts = [len(np.unique(first.patients[first.targets == label])) for label in present]
        grid[0].set_yticks(
            range(len(present)), [f"{label} (n = {count})" for label, count in zip(present, counts, strict=True)]
        )
        grid[0].set_ylabel("true class")
        grid[0].invert_yaxis()
        patients = patients_named(len(np.unique(first.patients)), first.patient_unit)
        footnote(figure, f"per cent of each true class; n = its patients, {patients} in all")
    return figure


def shares_of_classes(found: Outcomes, present: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(len(present), len(classes)) shares of each true class by what it is taken for, the mean over episodes."""
    column = {label: place for place, label in enumerate(found.classes)}
    whole = np.zeros((len(present), len(classes)))
    for row, label in enumerate(present):
        of_class = found.shares[found.targets == label].mean(axis=0)
        whole[row] = [of_class[column[name]] if name in column else 0.0 for name in classes]
    return whole


def _write_shares(axes: Any, shares: np.ndarray, size: float) -> None:
    """Per cent in each cell, dark on light and light on dark."""
    for row, column in np.ndindex(*shares.shape):
        share = shares[row, column]
        colour = "white" if share > DARK else INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=size, color=colour)
