"""What the documentation says of the schemas is what the code says."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from medino.data import MANIFEST_VERSION, Reject, Sample
from medino.probes import EVIDENCE_VERSION, EvidenceRow

DATA = Path(__file__).parents[1] / "docs" / "data.md"
FEWSHOT = DATA.with_name("fewshot.md")


@pytest.mark.parametrize("kind", [Sample, Reject])
def test_every_column_of_the_manifest_is_documented_as_it_is(kind: type) -> None:
    hints = typing.get_type_hints(kind)
    rows = []
    for field in dataclasses.fields(kind):
        options = typing.get_args(hints[field.name])
        null = type(None) in options
        typed = options[0] if null else hints[field.name]
        name = typed.__name__ if isinstance(typed, type) and not typing.get_args(typed) else str(typed)
        rows.append(f"| `{field.name}` | {name} | {'yes' if null else ''} | {field.metadata['description']} |")
    assert "\n".join(rows) in DATA.read_text(encoding="utf-8")


def test_the_documented_schema_version_is_the_manifests() -> None:
    found = re.search(r"Schema version (\d+)\.", DATA.read_text(encoding="utf-8"))
    assert found
    assert int(found[1]) == MANIFEST_VERSION


def test_every_column_of_the_evidence_is_documented_as_it_is() -> None:
    text = FEWSHOT.read_text(encoding="utf-8")
    rows = [f"| `{field.name}` | {field.metadata['description']} |" for field in dataclasses.fields(EvidenceRow)]
    assert "\n".join(rows) in text
    assert f"(schema version {EVIDENCE_VERSION})" in text


def test_links_between_documents_lead_somewhere() -> None:
    root = DATA.parents[1]
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted(root.glob("experiments/**/*.md"))]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
