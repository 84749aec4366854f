"""What the numbers came from: versions, fingerprints, seed and settings."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from medino.tracking import html
from medino.tracking.report import Section

SHOWN_ELSEWHERE = {"schema_version", "pretraining_patients", "data", "versions", "fingerprints"}


def provenance_section(provenance: Mapping[str, Any], config: str = "", title: str = "Provenance") -> Section | None:
    """Versions, fingerprints and settings; None where there are none.

    Args:
        provenance: what `read_provenance` gives; may be empty.
        config: the text of the run's `config.yaml`, which holds no private path.
        title: the section's heading.
    """
    if not provenance and not config:
        return None
    plain = [(name, value) for name, value in provenance.items() if name not in SHOWN_ELSEWHERE]
    parts: list[str] = []
    if plain:
        parts.append(html.facts((name.replace("_", " "), value) for name, value in plain))
    for name in ("fingerprints", "versions"):
        if provenance.get(name):
            parts += [html.heading(name.capitalize()), html.facts(provenance[name].items())]
    if config:
        parts += [html.heading("Settings"), Markup("<pre>{}</pre>").format(config.strip())]
    return Section(title, html.join(*parts))
