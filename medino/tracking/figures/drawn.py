"""A figure with its words: an SVG element in the report, and SVG and PNG files for papers and slides."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medino.core import whole_file
from medino.tracking.figures.style import RULES

DPI = 200
"""Of PNG files: 18 cm across are then some 1 400 dots."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure and what is said of it.

    Attributes:
        name: what it shows, in words that make a file's name.
        figure: what was drawn.
        title: says what is seen to those who can't.
        caption: what is seen, and on how many patients.
    """

    name: str
    figure: Figure
    title: str
    caption: str


def write_figures(folder: str | Path, drawn: Sequence[Drawn]) -> list[Path]:
    """Write each figure as `NAME.svg` and `NAME.png`, the caption among each file's own facts and in `captions.txt`.

    Args:
        folder: where to write; made if it is not there.
        drawn: the figures; where two have one name, the later ones get a number.

    Returns:
        The files of the figures.
    """
    written, captions, taken = [], [], set[str]()
    for one in drawn:
        stem = re.sub(r"[^a-z0-9]+", "_", one.name.lower()).strip("_")
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        facts = {"Title": one.title, "Description": one.caption}
        for suffix, content in ((".svg", _svg(one, facts)), (".png", _png(one, facts))):
            path = Path(folder) / f"{name}{suffix}"
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
            written.append(path)
        captions.append(f"{name}\n{one.caption}\n")
    with whole_file(Path(folder) / "captions.txt") as temporary:
        temporary.write_text("\n".join(captions), encoding="utf-8")
    return written


def _svg(one: Drawn, facts: dict[str, str]) -> bytes:
    sink = io.StringIO()
    with rc_context({**RULES, "svg.hashsalt": one.name}):
        FigureCanvasSVG(one.figure).print_svg(sink, metadata={**facts, "Date": None, "Creator": None})
    return sink.getvalue().encode()


def _png(one: Drawn, facts: dict[str, str]) -> bytes:
    sink = io.BytesIO()
    FigureCanvasAgg(one.figure)
    one.figure.savefig(sink, format="png", dpi=DPI, metadata={**facts, "Software": None})
    return sink.getvalue()
