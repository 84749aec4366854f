"""The summary of a scan counts images, files and patients of every kind."""

import io

from rich.console import Console
from sample_rows import sample_of

from medino.cli.scan_summary import SHOWN, summary_table
from medino.data import Manifest


def lines(manifest: Manifest) -> list[str]:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(summary_table(manifest))
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_images_files_and_patients_of_every_kind_are_counted() -> None:
    rows = [
        {"path": "a", "frame": 0, "patient": "1", "body_part": "CHEST", "burned_in": "annotation"},
        {"path": "a", "frame": 1, "patient": "1", "body_part": "CHEST", "spacing_row_mm": 0.7},
        {"path": "b", "frame": 0, "patient": "2", "body_part": "CHEST", "spacing_row_mm": 0.75},
        {"path": "c", "frame": 0, "patient": "2", "body_part": None, "spacing_row_mm": 9.0, "sex": "F"},
    ]
    told = lines(Manifest.from_samples(sample_of({"format": "dicom", "manufacturer": "GE"} | row) for row in rows))
    for line in (
        "cohort images files patients",
        "format dicom 4 3 2",
        "body part CHEST 3 2 2",
        "not said 1 1 1",
        "manufacturer GE 4 3 2",
        "mm between rows 0.5 to 0.75 2 2 2",
        "over 5 1 1 1",
        "may show a name not said 3 3 2",
        "annotation 1 1 1",
        "all 4 3 2",
    ):
        assert line in told
    assert not any(line.startswith(("label", "split", "mask", "modality")) for line in told)


def test_rare_values_share_a_line() -> None:
    rows = [{"format": "dicom", "path": f"{n}", "body_part": f"PART{max(n - 20, 0)}"} for n in range(40)]
    told = lines(Manifest.from_samples(map(sample_of, rows)))
    assert "body part PART0 21 21 1" in told
    assert f"{20 - SHOWN} others {20 - SHOWN} {20 - SHOWN} 1" in told
