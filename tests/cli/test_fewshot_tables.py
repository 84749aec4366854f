"""The tables of a study in a terminal: nothing is cut off in a narrow one."""

import io

from rich.console import Console

from medino.cli.fewshot_tables import SCORES, scores_table
from medino.probes import EvidenceRow


def row(backbone: str, compared_with: str | None = None) -> EvidenceRow:
    return EvidenceRow(
        kind="summary",
        task="classification",
        dataset="phantom",
        backbone=backbone,
        features="class",
        probe="nearest_mean",
        unit="image",
        patient_unit="patient",
        shots=12,
        metric="balanced_accuracy",
        value=0.617,
        low=0.443,
        high=0.789,
        spread=0.101,
        p_holm=0.168,
        patients=18,
        patients_seen=3,
        compared_with=compared_with,
    )


def printed(rows: list[EvidenceRow], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(scores_table(rows, SCORES, ("balanced_accuracy",), signed=True))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_in_eighty_columns_every_name_and_number_is_whole() -> None:
    text = printed([row("adapted", "start"), row("thumbnail", "start")], 80)
    for word in ("12", "nearest_mean", "thumbnail - start", "+0.617 [+0.443, +0.789]", "0.101", "0.168", "18 (3)"):
        assert word in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_in_a_wide_terminal_a_comparison_is_one_line() -> None:
    (line,) = [line for line in printed([row("adapted", "start")], 150).splitlines() if "adapted" in line]
    words = ["12", "nearest_mean", "adapted - start", "+0.617 [+0.443, +0.789] ± 0.101, p 0.168", "18 (3)"]
    assert line.split() == " ".join(words).split()
