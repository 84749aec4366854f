"""A slide's thumbnail with the outline of its tissue and its tiles: kept, and dropped by reason."""

from collections import Counter

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from medino.core import OKABE_ITO
from medino.data.slides.survey import BACKGROUND, BLURRED, KEPT, PEN, UNREADABLE, VERDICTS, Survey
from medino.tracking.figures.style import RULES

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK = OKABE_ITO

LOOKS = {
    BACKGROUND: ("#9aa0a6", 0.0, 0.4),
    PEN: (ORANGE, 0.45, 0.8),
    BLURRED: (SKY, 0.55, 0.8),
    UNREADABLE: (BLACK, 0.55, 0.8),
    KEPT: (BLUE, 0.0, 0.9),
}
"""Colour, strength of the filling and width of the edge of each verdict, those to be drawn last at the end."""

LONGER_SIDE, DPI = 10.0, 140
"""Inches of the picture's longer side, and dots for each."""


def draw_slide_tiles(surveyed: Survey, verdicts: np.ndarray, title: str) -> Figure:
    """Draw one slide.

    Args:
        surveyed: its thumbnail, tissue and grid.
        verdicts: what became of each tile, (tiles,) places in `medino.data.slides.survey.VERDICTS`.
        title: stands above the picture; no name.
    """
    thumbnail, grid = surveyed.thumbnail, surveyed.grid
    height, width = thumbnail.values.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    with rc_context({**RULES, "axes.grid": False}):
        figure = Figure(figsize=(max(width * scale, 4.5), height * scale + 0.9), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        axes.imshow(thumbnail.values, interpolation="antialiased")
        for verdict, (color, filling, edge) in LOOKS.items():
            places = (grid.corner(int(index)) for index in np.flatnonzero(verdicts == verdict))
            # Pixels of an image are centred on whole numbers: its corner is at minus a half.
            squares = [
                Rectangle(
                    (left / thumbnail.across - 0.5, top / thumbnail.down - 0.5),
                    grid.side / thumbnail.across,
                    grid.side / thumbnail.down,
                )
                for left, top in places
            ]
            axes.add_collection(
                PatchCollection(squares, facecolor=(color, filling), edgecolor=color, linewidth=edge, zorder=2)
            )
        if surveyed.found.tissue.any() and not surveyed.found.tissue.all():
            axes.contour(surveyed.found.tissue, levels=[0.5], colors=[VERMILION], linewidths=0.8, zorder=1.5)
        axes.set_axis_off()
        axes.set_title(title)
        figure.legend(handles=_legend(verdicts), loc="outside lower center", ncols=3)
    return figure


def _legend(verdicts: np.ndarray) -> list[Patch | Line2D]:
    """An entry for each verdict that is there, with its count, and one for the outline."""
    counts = Counter(verdicts.tolist())
    boxes: list[Patch | Line2D] = [
        Patch(facecolor=(color, filling), edgecolor=color, label=f"{VERDICTS[verdict]}: {counts[verdict]}")
        for verdict, (color, filling, _) in reversed(LOOKS.items())
        if counts[verdict]
    ]
    return [*boxes, Line2D([], [], color=VERMILION, label="tissue")]
