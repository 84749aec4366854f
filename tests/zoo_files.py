"""The DICOM zoo and what is written about its files, where it is there."""

import csv
import os
from pathlib import Path

ZOO = Path(os.environ.get("MEDINO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def zoo() -> list[dict[str, str]]:
    """A row for each file of `ZOO / "dicom_zoo"`; none where the zoo is not here."""
    table = ZOO / "dicom_zoo.csv"
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))
