"""An identity in every text element of a DICOM file, private and nested ones too, is in nothing that a scan leaves."""

from pathlib import Path

import pytest
from archive_files import write_dicom
from planted_identity import plant, traces

from medino.cli.main import main
from medino.data import Manifest

MARK = "QUILLFEATHER57"

ALONE = {
    "everything": {},
    "modality": {"Modality": MARK},
    "body part": {"BodyPartExamined": f"CHEST {MARK}"},
    "manufacturer": {"Manufacturer": f"SIEMENS {MARK}"},
    "model": {"ManufacturerModelName": f"SOMATOM 16 {MARK}"},
    "photometric": {"PhotometricInterpretation": MARK},
    "SOP class": {"SOPClassUID": "1.2.195719571957"},
    "burned in": {"BurnedInAnnotation": MARK},
    "window": {"WindowCenter": 40, "WindowWidth": 400, "WindowCenterWidthExplanation": MARK, "VOILUTFunction": MARK},
    "unit": {"RescaleType": MARK, "RescaleSlope": 1, "RescaleIntercept": 0},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each element that the readers look at, with the mark in all others too."""
    folder = tmp_path_factory.mktemp("archive")
    for number, tags in enumerate(ALONE.values()):
        plant(write_dicom(folder / f"{number}.dcm", size=(32, 32), PatientID=str(number)), MARK, **tags)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("more", [[], pytest.param(["--verify", "--workers", "2"], marks=pytest.mark.slow)])
def test_a_planted_identity_is_in_nothing_that_a_scan_leaves(
    more: list[str], archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out" / "cohort.parquet"
    assert main(["scan", str(archive), "-o", str(output), *more]) == 0
    told = capfd.readouterr()
    assert MARK.lower() not in (told.out + told.err + caplog.text).lower()
    manifest = Manifest.read(output)
    assert len(manifest) == len(ALONE) - 1
    assert len(manifest.rejects) == 1
    assert len(set(manifest.column("patient"))) == len(manifest)
    assert traces(output.parent, MARK) == []


@pytest.mark.filterwarnings("ignore")
def test_the_search_finds_what_was_planted(archive: Path) -> None:
    assert len(traces(archive, MARK)) == len(ALONE)
