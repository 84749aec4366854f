"""docs/benchmarks/evidence.md: parts that are measured by commands of their own, each of which keeps the others."""

import re
from pathlib import Path

from medino.core import InputError, whole_file

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "evidence.md"

PARTS = ("few-shot", "masks")
"""In their order."""

HEAD = """# Evidence on real images

What ten minutes of pretraining from scratch on two CPU cores are worth, measured on public images by patients (or what
stands for them) that the pretraining never saw. Each part is written by a command, which also makes whatever it needs.
"""


def write_part(name: str, text: str, page: Path = PAGE) -> None:
    """Put a part on the page in place of what was there.

    Args:
        name: one of `PARTS`.
        text: Markdown; its headings begin at the second level.
        page: the file, which is made if it is not there.

    Raises:
        InputError: the page has lost the marks between its parts.
    """
    parts = read_parts(page) if page.is_file() else {}
    parts[name] = text.strip()
    written = [HEAD]
    for each in PARTS:
        written.append(f"<!-- {each} -->\n\n{parts.get(each, '')}\n\n<!-- end of {each} -->\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(page) as temporary:
        temporary.write_text("\n".join(written), encoding="utf-8")


def read_parts(page: Path) -> dict[str, str]:
    """The parts of a page by name.

    Raises:
        InputError: one is missing.
    """
    text = page.read_text(encoding="utf-8")
    found = {}
    for name in PARTS:
        match = re.search(f"<!-- {name} -->\n(.*)<!-- end of {name} -->", text, re.DOTALL)
        if match is None:
            raise InputError(f"{page} has lost the marks of its part {name!r}; delete it and measure again")
        found[name] = match.group(1).strip()
    return found
