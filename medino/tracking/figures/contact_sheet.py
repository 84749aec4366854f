"""A contact sheet: one image of each kind in a cohort, so that a person sees what is in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from medino.tracking.figures.style import RULES

COLUMNS = 6
SIDE, CAPTION, DPI = 2.0, 0.62, 110
"""Inches of a picture's side and of the lines above it, and dots for each."""

NOTHING = "#eceff1"
QUIET = "#5f6368"


@dataclass(frozen=True)
class Print:
    """One picture of the sheet.

    Attributes:
        title: what kind of image it is, in words of the standard.
        lines: what else is known of the kind.
        image: (H, W, 3) uint8; None where it can't or must not be shown.
        why_not: why there is no image, in a few words.
        aspect: height of a pixel by its width, mm by mm.
    """

    title: str
    lines: Sequence[str]
    image: np.ndarray | None
    why_not: str = ""
    aspect: float = 1.0


def draw_contact_sheet(prints: Sequence[Print], title: str) -> Figure:
    """Draw the sheet.

    Args:
        prints: the pictures in their order.
        title: stands above them; no name.
    """
    columns = min(COLUMNS, max(len(prints), 2))
    rows = max(-(-len(prints) // columns), 1)
    with rc_context({**RULES, "axes.grid": False}):
        layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.0, hspace=0.03)
        figure = Figure(figsize=(columns * SIDE, rows * (SIDE + CAPTION) + 0.5), dpi=DPI, layout=layout)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, shown in zip(grid.flat, prints, strict=False):
            _draw(axes, shown)
    return figure


def _draw(axes: Axes, shown: Print) -> None:
    """A picture in the middle of a square, so that those of all shapes stand in rows."""
    axes.set_title(shown.title, fontsize=8.5, fontweight="bold", loc="left", y=1.0, pad=22)
    caption = "\n".join(shown.lines)
    axes.text(0, 1.02, caption, transform=axes.transAxes, fontsize=7, color=QUIET, va="bottom", linespacing=1.25)
    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, color=NOTHING, linewidth=0, zorder=-1))
    axes.set_aspect("equal")
    if shown.image is None:
        axes.text(
            0.5, 0.5, shown.why_not, transform=axes.transAxes, fontsize=7.5, color=QUIET, ha="center", va="center"
        )
        return
    width, height = shown.image.shape[1], shown.image.shape[0] * shown.aspect
    axes.imshow(shown.image, extent=(0, width, height, 0), interpolation="antialiased")
    side = max(width, height)
    axes.set_xlim((width - side) / 2, (width + side) / 2)
    axes.set_ylim((height + side) / 2, (height - side) / 2)
