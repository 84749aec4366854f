"""On whom: the images, their patients, labels and splits, and what could not be read."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from medino.data import Manifest
from medino.tracking import html
from medino.tracking.report import Section

UNITS_IN_WORDS = {
    "patient": "the patient (PatientID or what was given for it)",
    "study": "the study: PatientID is blank or the same everywhere",
    "file": "the file: nobody knows the patient, images of one person may be on both sides of a split",
}


def manifest_facts(manifest: Manifest) -> dict[str, Any]:
    """What a manifest holds, in numbers that may be kept and shown: JSON-plain, no path and no identity.

    `record_data` keeps it in a run's provenance, from where the report takes it.
    """
    rows = manifest.table.select(["patient", "split", "label", "modality", "manufacturer", "mask_path"]).to_pylist()
    splits: dict[str, dict[str, int]] = {}
    for split in dict.fromkeys(row["split"] or "no split" for row in rows):
        own = [row for row in rows if (row["split"] or "no split") == split]
        splits[split] = {
            "images": len(own),
            "patients": len({row["patient"] for row in own}),
            "labelled": sum(row["label"] is not None for row in own),
            "with mask": sum(row["mask_path"] is not None for row in own),
        }
    return {
        "images": len(rows),
        "patients": len({row["patient"] for row in rows}),
        "patient_unit": manifest.patient_unit,
        "rejects": len(manifest.rejects),
        "splits": splits,
        "labels": _counted(row["label"] for row in rows),
        "modalities": _counted(row["modality"] for row in rows),
        "manufacturers": _counted(row["manufacturer"] for row in rows),
    }


def data_section(provenance: Mapping[str, Any], title: str = "On whom") -> Section | None:
    """The data of a run, from its provenance; None where that says nothing of it."""
    data = provenance.get("data") or {}
    seen = provenance.get("pretraining_patients") or []
    if not data and not seen:
        return None
    unit = str(data.get("patient_unit") or provenance.get("patient_unit") or "patient")
    pairs: list[tuple[str, object]] = []
    if data:
        pairs.append(("images", f"{data['images']} of {data['patients']} patients"))
    pairs.append(("what counts as a patient", " or ".join(UNITS_IN_WORDS.get(part, part) for part in unit.split("+"))))
    if seen:
        pairs.append(("patients seen in pretraining", f"{len(seen)}, without their labels"))
    if data:
        pairs.append(("files or frames left out", f"{data['rejects']} (reasons are kept beside the manifest)"))
    for name in ("labels", "modalities", "manufacturers"):
        if data.get(name):
            pairs.append((name, ", ".join(f"{value}: {count}" for value, count in data[name].items())))
    parts: list[str] = [html.facts(pairs)]
    if data.get("splits"):
        lines = [(split, *counts.values()) for split, counts in data["splits"].items()]
        header = ("split", *next(iter(data["splits"].values())))
        parts.append(html.table(header, lines, "A patient is in one split only."))
    return Section(title, html.join(*parts))


def _counted(values: Any) -> dict[str, int]:
    counts = Counter(value if value is not None else "not given" for value in values)
    return {} if set(counts) <= {"not given"} else dict(sorted(counts.items()))
