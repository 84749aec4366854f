"""The report: sections in one HTML file that needs nothing beside it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medino.core import InputError, whole_file
from medino.tracking.figures.drawn import Drawn
from medino.tracking.figures.style import to_svg
from medino.tracking.html import figure, fold, join


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        title: its heading.
        html: its content, made of the pieces in `medino.tracking.html`. A plain string is escaped.
        figures: what was drawn into it, for those who want the figures as files.
    """

    title: str
    html: Markup | str
    figures: tuple[Drawn, ...] = ()


@dataclass(frozen=True)
class Folded:
    """Parts of a section that are shown when their title is clicked, and in print."""

    title: str
    parts: Sequence["str | Drawn"]


Part = str | Drawn | Folded
"""What a section is made of: finished HTML, a figure, or several of these folded away."""


def section_of(title: str, parts: Iterable[Part]) -> Section:
    """Make a section of its parts, in their order."""
    parts = list(parts)
    return Section(title, join(*map(_html, parts)), tuple(one for part in parts for one in _figures(part)))


def _html(part: Part) -> str:
    if isinstance(part, Drawn):
        return figure(to_svg(part.figure, part.title), part.caption)
    if isinstance(part, Folded):
        return fold(part.title, join(*map(_html, part.parts)))
    return part


def _figures(part: Part) -> Iterator[Drawn]:
    if isinstance(part, Drawn):
        yield part
    elif isinstance(part, Folded):
        yield from (one for one in part.parts if isinstance(one, Drawn))


def write_report(path: str | Path, title: str, sections: Sequence[Section]) -> None:
    """Write one self-contained HTML file: no script, nothing loaded from elsewhere, fit for print.

    Args:
        path: where to write.
        title: the heading of the whole.
        sections: what it shows, in reading order: what was compared, on whom, how sure, where it fails.

    Raises:
        InputError: there is no section to show.
    """
    if not sections:
        raise InputError(f"there is nothing to report for {path}; give a run that holds evidence or metrics")
    environment = Environment(
        loader=PackageLoader("medino.tracking"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("report.html.j2").render(title=title, sections=sections)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
