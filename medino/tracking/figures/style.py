"""How figures look: colours that the colour-blind tell apart, markers and dashes that survive grey print, plain SVG."""

import io
import re
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medino.core import OKABE_ITO

INK, SOFT = "#1b1f24", "#57606a"
"""Of text: what is read, and what stands beside it."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 1)), "-")

RULES: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    # Text stays text: it can be searched, read aloud and is small.
    "svg.fonttype": "none",
}
"""matplotlib settings of every figure; used in a context, so that a notebook's own stay as they are."""


@dataclass(frozen=True)
class Look:
    """How one backbone, head or loss term is drawn, in every figure alike."""

    color: str
    marker: str
    dashes: Any


def look(index: int) -> Look:
    """The look of the `index`-th thing that is told apart."""
    return Look(*(options[index % len(options)] for options in (OKABE_ITO, MARKERS, DASHES)))


def to_svg(figure: Figure, name: str) -> str:
    """A figure as an SVG element to stand inside HTML.

    The same figure gives the same text: no date, no program's name, ids derived from `name` and content.

    Args:
        figure: what was drawn.
        name: says what is seen to those who can't, and keeps ids of several figures in one page apart.
    """
    sink = io.StringIO()
    silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({**RULES, "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(sink, metadata=silent)
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    # Namespaces are the parser's own business inside HTML; ids that nothing refers to would only clash.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", text)
    label = name.replace("&", "and").replace('"', "'").replace("<", "").replace(">", "")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def footnote(figure: Figure, text: str) -> None:
    """What a figure's file must say by itself, where no caption goes with it: on how many patients."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=SOFT)
