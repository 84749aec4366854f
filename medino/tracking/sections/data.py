"""On whom: the images, their patients, labels and splits, and what could not be read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from medino.data import Manifest
from medino.probes import EvidenceRow, summaries
from medino.tracking import html
from medino.tracking.names import task_name
from medino.tracking.report import Section
from medino.tracking.verdict import seen_or_unknown

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


def data_section(
    provenance: Mapping[str, Any], evidence: pa.Table | None = None, title: str = "On whom"
) -> Section | None:
    """The data of a run and the patients that it was tested on; None where nothing says anything of them.

    Args:
        provenance: what `read_provenance` gives; may be empty.
        evidence: the run's evidence.
        title: the section's heading.
    """
    tested = [] if evidence is None else _tested(summaries(evidence))
    parts = [*tested, *_of_run(provenance)]
    return Section(title, html.join(*parts)) if parts else None


def _tested(rows: Sequence[EvidenceRow]) -> list[str]:
    """The test patients of each labelled set."""
    if not rows:
        return []
    lines = []
    for dataset, task, unit, patient_unit in dict.fromkeys(map(_tested_on, rows)):
        own = [row for row in rows if _tested_on(row) == (dataset, task, unit, patient_unit)]
        most = max(own, key=seen_or_unknown).patients_seen
        lines.append(
            (
                dataset,
                task_name(task) if task == "segmentation" else f"each {unit}: {task_name(task)}",
                max((row.patients for row in own if row.patients is not None), default=None),
                "not known" if most is None else most,
                patient_unit,
                own[0].classes_left_out or "none",
            )
        )
    header = ("labelled set", "tested", "test patients", "of them seen unlabelled before", "a patient is", "left out")
    caption = "Who was tested. Test patients are never among those that a probe or head learns from."
    return [html.table(header, lines, caption)]


def _tested_on(row: EvidenceRow) -> tuple[str, str, str, str]:
    return row.dataset, row.task, row.unit, row.patient_unit


def _of_run(provenance: Mapping[str, Any]) -> list[str]:
    """The images that the run had, from its provenance."""
    data = provenance.get("data") or {}
    seen = provenance.get("pretraining_patients") or []
    if not data and not seen:
        return []
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
    return parts


def _counted(values: Any) -> dict[str, int]:
    counts = Counter(value if value is not None else "not given" for value in values)
    return {} if set(counts) <= {"not given"} else dict(sorted(counts.items()))
