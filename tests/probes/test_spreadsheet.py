"""The CSV of summaries: a spreadsheet opens it as it is, and a person reads its columns."""

import csv
import dataclasses
from pathlib import Path

import pytest

from medino.probes import EvidenceRow, evidence_table, export_csv
from medino.probes.spreadsheet import HEADINGS

SUMMARY = EvidenceRow(
    kind="summary",
    task="classification",
    dataset='lungs, "second" reading\nof 2024, Zürich',
    backbone="adapted",
    features="class",
    probe="knn",
    unit="image",
    patient_unit="patient",
    shots=5,
    metric="auroc",
    value=0.1 + 0.2,
    low=-1e-7,
    high=1.0,
    patients=60,
)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_every_number_comes_back_to_the_last_digit_under_a_heading_in_words(tmp_path: Path) -> None:
    difference = dataclasses.replace(SUMMARY, compared_with="start", value=-0.125, p_holm=0.04)
    outcome = dataclasses.replace(SUMMARY, kind="outcome", unit_id="0123", patient="4567")
    export_csv(tmp_path / "study.csv", evidence_table([SUMMARY, difference, outcome]))
    first, second = lines(tmp_path / "study.csv")
    assert float(first["value or paired difference"]) == SUMMARY.value
    assert float(first["95 % interval from"]) == SUMMARY.low
    assert first["labelled set"] == SUMMARY.dataset
    assert (first["shots"], first["test patients"], first["minus backbone"]) == ("5", "60", "")
    assert (second["minus backbone"], second["p by Holm"]) == ("start", "0.04")
    assert not any("_" in heading or heading.endswith(" ") for heading in first)


def test_the_bytes_are_what_a_spreadsheet_expects(tmp_path: Path) -> None:
    """RFC 4180: one header, CRLF, quotes doubled, the same number of fields in each line; the mark says UTF-8."""
    export_csv(tmp_path / "study.csv", evidence_table([SUMMARY]))
    content = (tmp_path / "study.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbflabelled set,task,")
    assert content.endswith(b"\r\n")
    assert b'"lungs, ""second"" reading\nof 2024, Z\xc3\xbcrich"' in content
    with (tmp_path / "study.csv").open(encoding="utf-8-sig", newline="") as file:
        assert {len(line) for line in csv.reader(file, strict=True)} == {len(HEADINGS)}


@pytest.mark.parametrize("name", ["=1+1", "@SUM(A1)", "+4", "-cmd|' /C calc'!A0"])
def test_no_name_becomes_a_formula(name: str, tmp_path: Path) -> None:
    export_csv(tmp_path / "study.csv", evidence_table([dataclasses.replace(SUMMARY, backbone=name)]))
    (line,) = lines(tmp_path / "study.csv")
    assert line["backbone"] == f"'{name}"
    assert float(line["95 % interval from"]) < 0


def test_several_runs_stand_below_each_other_by_name(tmp_path: Path) -> None:
    table = evidence_table([SUMMARY])
    export_csv(tmp_path / "both.csv", {"run 1": table, "run 2": table})
    assert [line["run"] for line in lines(tmp_path / "both.csv")] == ["run 1", "run 2"]


def test_every_column_that_a_summary_fills_has_a_heading() -> None:
    of_others = {"kind", "episode", "unit_id", "patient", "predicted", "scores", "target_value", "predicted_value"}
    columns = {field.name for field in dataclasses.fields(EvidenceRow)}
    assert set(HEADINGS) == columns - of_others - {"classes"}
    assert len(set(HEADINGS.values())) == len(HEADINGS)
