"""Of a person a manifest keeps age, sex and a warning; of free text it keeps words of a list."""

from pathlib import Path

import pytest
from archive_files import write_dicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

from medino.data import scan
from medino.data.readers import describe
from medino.data.readers.vocabulary import body_part, manufacturer, modality, scanner_model


def facts(folder: Path, **tags: object) -> dict[str, object]:
    return describe(write_dicom(folder / "image.dcm", **tags))[0]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("045Y", "45"),
        ("089Y", "89"),
        ("090Y", "89+"),
        ("104Y", "89+"),
        ("018M", "1"),
        ("011M", "0"),
        ("006W", "0"),
        ("003D", "0"),
        ("45", None),
        ("Doe", None),
        ("", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_an_age_is_kept_in_years_and_above_89_as_one_group(written: str, kept: str | None, tmp_path: Path) -> None:
    assert facts(tmp_path, PatientAge=written)["age"] == kept


def test_no_age_is_worked_out_from_a_date_of_birth(tmp_path: Path) -> None:
    assert facts(tmp_path, PatientBirthDate="19500101", StudyDate="20200101")["age"] is None


@pytest.mark.parametrize(("written", "kept"), [("F", "F"), ("M", "M"), ("O", "O"), ("JANE", None), ("", None)])
def test_sex_is_kept_as_one_of_three_codes(written: str, kept: str | None, tmp_path: Path) -> None:
    assert facts(tmp_path, PatientSex=written)["sex"] == kept


def region(left: int, top: int, right: int, bottom: int, spatial: int = 1, data: int = 1) -> Dataset:
    """A region of an ultrasound image, its corners included (PS3.3 C.8.5.5)."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = spatial, data
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    return item


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"SOPClassUID": CTImageStorage}, None),
        ({"SOPClassUID": CTImageStorage, "BurnedInAnnotation": "NO"}, None),
        ({"SOPClassUID": CTImageStorage, "BurnedInAnnotation": "YES"}, "annotation"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
        ({"SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage}, "secondary capture"),
        (
            {"SOPClassUID": SecondaryCaptureImageStorage, "BurnedInAnnotation": "YES"},
            "annotation, secondary capture",
        ),
    ],
)
def test_images_that_may_show_text_are_flagged(tags: dict[str, object], why: str | None, tmp_path: Path) -> None:
    assert facts(tmp_path, **tags)["burned_in"] == why


@pytest.mark.parametrize(
    ("regions", "why"),
    [
        ([region(0, 0, 7, 5)], None),
        ([region(0, 0, 3, 5), region(4, 0, 7, 5)], None),
        ([region(0, 1, 7, 5)], "ultrasound"),
        ([region(0, 0, 3, 5), region(5, 0, 7, 5)], "ultrasound"),
        ([region(0, 0, 7, 5), region(0, 0, 2, 2, spatial=5)], "ultrasound"),
        ([region(0, 0, 7, 5), region(0, 0, 1, 5, data=0x0E)], "ultrasound"),
        ([Dataset()], "ultrasound"),
        ([], "ultrasound"),
    ],
)
def test_ultrasound_is_flagged_unless_its_regions_leave_no_room_for_text(
    regions: list[Dataset], why: str | None, tmp_path: Path
) -> None:
    tags = {"SOPClassUID": UltrasoundImageStorage, "Modality": "US", "SequenceOfUltrasoundRegions": regions}
    assert facts(tmp_path, size=(6, 8), **tags)["burned_in"] == why


def test_a_scan_says_how_many_images_may_show_a_name(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", SOPClassUID=CTImageStorage)
    write_dicom(tmp_path / "b.dcm", SOPClassUID=CTImageStorage, BurnedInAnnotation="YES")
    notes = scan([tmp_path]).settings["notes"]
    assert any("1 of 2 images may show" in note for note in notes)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("GE MEDICAL SYSTEMS", "GE"),
        ("G.E. Medical Systems", "GE"),
        ("SIEMENS", "Siemens"),
        ("Philips Medical Systems", "Philips"),
        ("TOSHIBA_MEC", "Toshiba"),
        ("FUJI PHOTO FILM CO. LTD.", "Fujifilm"),
        ("Gerda Doe", "unlisted"),
        ("Doe^Jane", "unlisted"),
        (None, None),
    ],
)
def test_a_manufacturer_is_a_name_of_the_list(written: str | None, kept: str | None) -> None:
    assert manufacturer(written) == kept


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("SOMATOM Definition AS+", "SOMATOM DEFINITION AS+"),
        ("HiSpeed Dual", "HISPEED DUAL"),
        ("Sensation 16", "SENSATION 16"),
        ("GENESIS_SIGNA", "GENESIS SIGNA"),
        ("EPIQ 7C", "EPIQ 7C"),
        ("LOGIQ 700 Doe^Jane", "LOGIQ 700"),
        ("Doe^Jane 1950", None),
        (None, None),
    ],
)
def test_a_model_is_its_known_families_and_their_codes(written: str | None, kept: str | None) -> None:
    assert scanner_model(written) == kept


def test_body_part_and_modality_are_terms_of_the_standard() -> None:
    assert body_part("CHEST") == "CHEST"
    assert body_part("WHOLE BODY") == "WHOLEBODY"
    assert body_part("Head^1_Routine Doe") == "HEAD"
    assert body_part("DOE JANE") is None
    assert modality("CT") == "CT"
    assert modality("DOE JANE") is None
