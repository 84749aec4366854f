"""The pieces a section is made of: headings, tables, figures, numbers with intervals. All text is escaped here."""

import math
import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

MISSING = "–"
"""What stands where nothing was measured."""


def join(*parts: str) -> Markup:
    """Put finished pieces after each other; plain strings among them are escaped."""
    return Markup("\n").join(part for part in parts if part)


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return Markup("<h3>{}</h3>").format(text)


def paragraph(text: str, kind: str = "") -> Markup:
    """A paragraph; `kind` is a class of the stylesheet ("verdict", "caution", "note")."""
    return Markup('<p class="{}">{}</p>').format(kind, text) if kind else Markup("<p>{}</p>").format(text)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Markup:
    """A table; cells that read as numbers keep their digits below each other and are not broken."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = Markup("\n").join(Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, row))) for row in rows)
    title = Markup("<caption>{}</caption>").format(caption) if caption else ""
    return Markup('<div class="scroll"><table>{}<thead><tr>{}</tr></thead><tbody>\n{}\n</tbody></table></div>').format(
        title, head, body
    )


def fold(title: str, content: str) -> Markup:
    """Content that is shown when its title is clicked, and in print."""
    return Markup("<details><summary>{}</summary>{}</details>").format(title, content)


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names and values, one below the other."""
    lines = Markup("\n").join(Markup("<dt>{}</dt><dd>{}</dd>").format(name, value) for name, value in pairs)
    return Markup("<dl>{}</dl>").format(lines)


def figure(svg: str, caption: str) -> Markup:
    """A figure drawn by `medino.tracking.figures`, with what is seen and on how many patients."""
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(Markup(svg), caption)


def picture(png: str, caption: str) -> Markup:
    """A PNG, given in base64, with what is seen."""
    image = Markup('<img alt="{}" src="data:image/png;base64,{}">').format(caption, png)
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(image, caption)


def card(label: str, value: str, note: str) -> Markup:
    """One of the numbers at the top of the report."""
    return Markup('<div class="card"><span>{}</span><strong>{}</strong><small>{}</small></div>').format(
        label, value, note
    )


def cards(items: Iterable[str]) -> Markup:
    """The numbers at the top, side by side."""
    return Markup('<div class="cards">{}</div>').format(Markup("\n").join(items))


def number(value: float | None, signed: bool = False) -> str:
    """Three digits after the point, with a true minus sign; `MISSING` for None and NaN."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    return text.replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """An interval in brackets, or nothing where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "no interval"
    return f"[{number(low, signed)}, {number(high, signed)}]"


def _cell(value: object) -> Markup:
    text = MISSING if value is None else value
    plain = str(text).replace("\N{MINUS SIGN}", "-").strip("%+[]")
    numeric = plain[:1].isdigit() or plain[:1] in ("-", ".") or text == MISSING
    if not numeric:
        return Markup("<td>{}</td>").format(text)
    return Markup('<td class="number">{}</td>').format(_unbroken(str(text)))


def _unbroken(text: str) -> Markup:
    """The text, in which no line breaks inside an interval."""
    pieces = re.split(r"(\[[^\]]*\])", text)
    whole = (Markup('<span class="whole">{}</span>').format(one) if one[:1] == "[" else escape(one) for one in pieces)
    return Markup("").join(whole)
