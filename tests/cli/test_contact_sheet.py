"""A contact sheet shows an image of each kind, the same for its seed, and none that may show a name."""

from pathlib import Path

import numpy as np
import pytest
from archive_files import write_dicom
from PIL import Image
from planted_identity import plant, traces
from pydicom.uid import CTImageStorage

from medino.cli import contact_sheet
from medino.cli.contact_sheet import write_contact_sheet
from medino.cli.main import main
from medino.data import Manifest
from medino.data.workers import Workers
from medino.tracking.figures.contact_sheet import Print

MARK = "QUILLFEATHER57"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    common = {"SOPClassUID": CTImageStorage, "Modality": "CT", "size": (32, 24)}
    for number in range(3):
        write_dicom(folder / f"head{number}.dcm", **common, BodyPartExamined="HEAD", PatientID=str(number))
    write_dicom(folder / "chest.dcm", **common, BodyPartExamined="CHEST", PatientID="1")
    write_dicom(folder / "named.dcm", **common, BodyPartExamined="KNEE", PatientID="2", BurnedInAnnotation="YES")
    return folder


def test_each_kind_has_a_picture_with_its_counts_and_no_flagged_image(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Print] = []
    draw = contact_sheet.draw_contact_sheet
    monkeypatch.setattr(
        contact_sheet, "draw_contact_sheet", lambda prints, title: (shown.extend(prints), draw(prints, title))[1]
    )
    assert main(["scan", str(archive), "-o", str(tmp_path / "c.parquet"), "--sheet", str(tmp_path / "s.png")]) == 0
    assert [(each.title, list(each.lines)) for each in shown] == [
        ("CT head", ["Siemens", "3 images, 3 patients"]),
        ("CT chest", ["Siemens", "1 image, 1 patient"]),
        ("CT knee", ["Siemens", "1 image, 1 patient"]),
    ]
    assert [each.image is None for each in shown] == [False, False, True]
    assert shown[0].image is not None
    assert shown[0].image.shape == (32, 24, 3)
    assert "may show a name" in shown[2].why_not
    with Image.open(tmp_path / "s.png") as image:
        assert image.width > 300
        assert image.info.keys() <= {"dpi"}


def test_the_same_seed_gives_the_same_sheet(archive: Path, tmp_path: Path) -> None:
    assert main(["scan", str(archive), "-o", str(tmp_path / "c.parquet")]) == 0
    manifest = Manifest.read(tmp_path / "c.parquet")
    for name, workers in (("one", 1), ("two", 2)):
        write_contact_sheet(manifest, tmp_path / f"{name}.png", Workers(workers), seed=5)
    one, two = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("one", "two"))
    assert np.array_equal(one, two)


@pytest.mark.filterwarnings("ignore")
def test_no_planted_identity_is_in_the_sheets_file(archive: Path, tmp_path: Path) -> None:
    plant(archive / "chest.dcm", MARK)
    out = tmp_path / "out"
    assert main(["scan", str(archive), "-o", str(out / "c.parquet"), "--sheet", str(out / "sheet.png")]) == 0
    assert (out / "sheet.png").is_file()
    assert traces(out, MARK) == []


def test_a_sheet_that_is_no_png_is_refused(archive: Path, tmp_path: Path) -> None:
    assert main(["scan", str(archive), "-o", str(tmp_path / "c.parquet"), "--sheet", str(tmp_path / "s.jpg")]) == 2
