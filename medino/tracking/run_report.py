"""The report of one or more runs, from whatever of evidence, metrics, provenance and settings each of them has."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medino.core import InputError, RunFolder, existing_folder, read_provenance, write_json
from medino.data import Manifest
from medino.probes import read_evidence
from medino.tracking.figures.drawn import Drawn, write_figures
from medino.tracking.metrics_csv import read_metrics
from medino.tracking.report import Section, write_report
from medino.tracking.sections import (
    data_section,
    failures_section,
    fewshot_section,
    images_section,
    manifest_facts,
    pretraining_section,
    provenance_section,
    segmentation_section,
    summary_section,
)


def record_data(run: RunFolder, manifest: Manifest) -> None:
    """Keep in a run's provenance what its manifest holds, in numbers, so that the report can say on whom.

    Raises:
        InputError: the run has no provenance yet.
    """
    write_json(run.provenance, {**read_provenance(run), "data": manifest_facts(manifest)})


def run_sections(run: RunFolder) -> list[Section]:
    """The sections of one run in reading order: what was compared, on whom, how sure, where it fails, how it went.

    Raises:
        InputError: the folder is missing, holds nothing to show, or holds a file that can't be read.
    """
    existing_folder(run.path, "run folder")
    evidence = read_evidence(run.evidence) if run.evidence.is_file() else None
    metrics = read_metrics(run.metrics) if run.metrics.is_file() else {}
    provenance = read_provenance(run) if run.provenance.is_file() else {}
    config = run.config.read_text(encoding="utf-8") if run.config.is_file() else ""
    found = [
        summary_section(evidence) if evidence is not None else None,
        data_section(provenance, evidence),
        fewshot_section(evidence) if evidence is not None else None,
        segmentation_section(evidence) if evidence is not None else None,
        failures_section(evidence) if evidence is not None else None,
        images_section(run),
        pretraining_section(metrics, provenance),
        provenance_section(provenance, config),
    ]
    sections = [section for section in found if section is not None]
    if not sections:
        raise InputError(
            f"{run.path} holds nothing to report (no evidence.parquet, metrics.csv, provenance.json or config.yaml); "
            "give the folder of a medino run"
        )
    return sections


def report_runs(runs: Sequence[RunFolder], output: str | Path | None = None, figures: str | Path | None = None) -> Path:
    """Write one report of one or more runs.

    The folders' names stay out of it: they can name people. Several runs are called run 1, run 2, in the order given.

    Args:
        runs: the runs.
        output: where to write; the first run's `report.html` if None.
        figures: a folder for the report's figures as SVG and PNG files; None writes none.

    Returns:
        The file that was written.

    Raises:
        InputError: there is no run, or one of them holds nothing to report.
    """
    if not runs:
        raise InputError("no run is given; give the folder of a medino run")
    sections: list[Section] = []
    drawn: list[Drawn] = []
    for place, run in enumerate(runs, start=1):
        before = f"Run {place}: " if len(runs) > 1 else ""
        of_run = run_sections(run)
        sections += [Section(before + section.title, section.html) for section in of_run]
        drawn += [replace(one, name=before + one.name) for section in of_run for one in section.figures]
    path = runs[0].report if output is None else Path(output)
    write_report(path, "Adaptation of a DINOv2 backbone", sections)
    if figures is not None:
        write_figures(figures, drawn)
    return path
