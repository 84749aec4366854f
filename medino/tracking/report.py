"""The report: sections in one HTML file that needs nothing beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medino.core import InputError, whole_file


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        title: its heading.
        html: its content, made of the pieces in `medino.tracking.html`. A plain string is escaped.
    """

    title: str
    html: Markup | str


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
