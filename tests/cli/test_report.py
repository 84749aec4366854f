"""`medino report` from the command line."""

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
