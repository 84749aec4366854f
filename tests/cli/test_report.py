"""`medino report` from the command line."""

import csv
import json
from pathlib import Path

import pytest

from medino.cli.main import main
from medino.probes import EvidenceRow, write_evidence


def run_with_evidence(folder: Path) -> Path:
    row = EvidenceRow(
        kind="summary",
        task="classification",
        dataset="phantom",
        backbone="start",
        features="class",
        probe="knn",
        unit="image",
        patient_unit="patient",
        shots=5,
        metric="balanced_accuracy",
        value=0.5,
        low=0.4,
        high=0.6,
        patients=50,
    )
    write_evidence(folder / "evidence.parquet", [row])
    return folder


def test_the_report_lies_in_the_run_and_its_place_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = run_with_evidence(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert str(run / "report.html") in capsys.readouterr().out
    assert "phantom" in (run / "report.html").read_text(encoding="utf-8")


def test_several_runs_make_one_report_where_asked(tmp_path: Path) -> None:
    runs = [str(run_with_evidence(tmp_path / name)) for name in ("a", "b")]
    assert main(["report", *runs, "-o", str(tmp_path / "both.html")]) == 0
    assert "Run 2: " in (tmp_path / "both.html").read_text(encoding="utf-8")
    assert not (tmp_path / "a" / "report.html").exists()


@pytest.mark.parametrize("words", [["nowhere"], ["."], ["file"]])
def test_what_is_no_run_is_one_line_and_exit_status_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("medino report: error: ")
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_figures_and_numbers_come_as_files_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [str(run_with_evidence(tmp_path / name)) for name in ("a", "b")]
    table, figures = tmp_path / "numbers.csv", tmp_path / "figures"
    assert main(["report", *runs, "--figures", str(figures), "--csv", str(table)]) == 0
    printed = capsys.readouterr().out
    assert f"figures: {figures}" in printed
    assert f"table: {table}" in printed
    with table.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["run"], line["value or paired difference"]) for line in lines] == [("run 1", "0.5"), ("run 2", "0.5")]
    stems = {path.stem for path in figures.glob("*.svg")}
    assert {path.stem for path in figures.glob("*.png")} == stems
    assert {stem[:5] for stem in stems} == {"run_1", "run_2"}
    captions = (figures / "captions.txt").read_text(encoding="utf-8")
    assert all(stem in captions for stem in stems)
    assert "over 50 test patients" in captions


@pytest.mark.parametrize(
    ("words", "message"), [(["--figures", "run/evidence.parquet"], "is a file"), (["--csv", "numbers.xlsx"], ".csv")]
)
def test_what_can_not_be_written_is_said_before_the_report_is(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    run_with_evidence(tmp_path / "run")
    assert main(["report", "run", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_run_without_evidence_has_no_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert main(["report", str(tmp_path), "--csv", str(tmp_path / "numbers.csv")]) == 2
    assert "holds evidence" in capsys.readouterr().err


def test_the_numbers_go_into_a_wandb_table_in_the_run_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    home = tmp_path / "home"
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    run = run_with_evidence(tmp_path / "run")
    assert main(["report", str(run), "--wandb"]) == 0
    assert f"W&B: {run / 'wandb'}" in capsys.readouterr().out
    (table,) = (run / "wandb").rglob("*.table.json")
    content = json.loads(table.read_text(encoding="utf-8"))
    (line,) = content["data"]
    found = dict(zip(content["columns"], line, strict=True))
    assert (found["value or paired difference"], found["test patients"]) == (0.5, 50)
    (log,) = (run / "wandb").rglob("run-*.wandb")
    assert table.name.encode() in log.read_bytes()
    assert not [path for path in home.rglob("*") if path.is_file() and b"phantom" in path.read_bytes()]
