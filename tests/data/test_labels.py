"""Labels join by what their columns say, and what does not fit is said with its line."""

from pathlib import Path

import pytest
from archive_files import write_csv

from medino.core import InputError
from medino.data.identity import IdentityKey
from medino.data.labels import JoinKeys, LabelRow, read_labels

KEY = IdentityKey(b"k" * 32)


def image(number: int) -> JoinKeys:
    """The keys of `a/<number>.dcm`, with UIDs made of its number."""
    return JoinKeys(
        paths=(f"a/{number}.dcm", f"root/a/{number}.dcm", f"/data/root/a/{number}.dcm"),
        instance=KEY.hash("image", f"1.{number}"),
        names=(KEY.hash("image", f"{number}.dcm"), KEY.hash("image", str(number))),
        series=KEY.hash("series", f"2.{number}"),
        studies=(KEY.hash("study", f"3.{number}"), KEY.hash("study", f"ACC{number}")),
        patient=KEY.hash("patient", f"P{number}"),
    )


def joined(path: Path, images: int = 2, **options: str) -> list[str | None]:
    rows, _ = read_labels(path, KEY, **options).join([image(number) for number in range(images)])
    return [row.label if row else None for row in rows]


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("path,label", ("a/0.dcm", "./a/1.dcm")),
        ("path,label", ("root/a/0.dcm", "root\\a\\1.dcm")),
        ("File Path,Label", ("/data/root/a/0.dcm", "/data/root/b/../a/1.dcm")),
        ("image,label", ("1.0", "1.1")),
        ("SOPInstanceUID,label", ("1.0 ", " 1.1")),
        ("file_name,label", ("0.dcm", "1.dcm")),
        ("image_id,label", ("0", "1")),
        ("SeriesInstanceUID,label", ("2.0", "2.1")),
        ("study,label", ("3.0", "3.1")),
        ("accession_number,label", ("ACC0", "ACC1")),
        ("PatientID,label", ("P0", "P1")),
        ("subject;label", ("P0", "P1")),
        ("patient\tlabel", ("P0", "P1")),
    ],
)
def test_rows_join_by_the_column_that_the_header_names(tmp_path: Path, header: str, cells: tuple[str, str]) -> None:
    delimiter = next(mark for mark in ",;\t" if mark in header)
    lines = [delimiter.join((cell, label)) for cell, label in zip(cells, ("ill", "well"), strict=True)]
    assert joined(write_csv(tmp_path / "labels.csv", header, *lines)) == ["ill", "well"]


def test_a_path_may_start_from_the_folder_of_the_csv(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels.csv", "path,label", "scans/x.png,ill")
    rows, _ = read_labels(path, KEY).join([JoinKeys(paths=("x.png", str(tmp_path.resolve() / "scans" / "x.png")))])
    assert [row.label for row in rows if row] == ["ill"]


def test_the_finest_column_joins_and_a_patient_beside_it_says_whose_the_image_is(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels.csv", "group,label,path,split", "P9,ill,a/0.dcm,val", ",,a/1.dcm,")
    table = read_labels(path, KEY)
    assert table.kind == "path"
    rows, _ = table.join([image(0), image(1)])
    assert rows[0] is not None
    assert rows[1] is not None
    assert (rows[0].patient, rows[0].split) == (KEY.hash("patient", "P9"), "validation")
    assert (rows[1].label, rows[1].patient, rows[1].split) == (None, None, None)


def test_no_identifier_is_kept_as_it_was(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels.csv", "study,patient,label", "ACC0,DOE^JANE,ill")
    text = str(read_labels(path, KEY))
    assert "ACC0" not in text
    assert "DOE" not in text


def test_rows_without_an_image_are_counted(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels.csv", "patient,label", "P0,ill", "P7,ill", ",well")
    rows, unmatched = read_labels(path, KEY).join([image(0), image(1)])
    assert unmatched == 2
    assert rows[1] is None


def test_quoted_text_may_run_over_lines_and_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b'\xef\xbb\xbfpatient,report,label\r\nP0,"two\r\nlines, one comma",ill\r\nP1,,well\r\n')
    assert joined(path) == ["ill", "well"]


def test_another_column_can_be_named_for_the_labels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels.csv", "patient,label,diagnosis", "P0,1,ill", "P1,2,well")
    assert joined(path, label_column="diagnosis") == ["ill", "well"]


def test_copies_of_one_instance_share_its_label(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels.csv", "image,label", "1.0,ill")
    rows, _ = read_labels(path, KEY).join([image(0), image(0)])
    assert [isinstance(row, LabelRow) for row in rows] == [True, True]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("patient,diagnosis", "P0,ill"), "no column `label`; found: patient, diagnosis"),
        (("label,Label,patient", "a,b,P0"), "2 columns that mean label"),
        (("name,label", "x,ill"), "no column path, image, series, study or patient to join by; found: name, label"),
        (("patient,label",), "has a header and no rows"),
        (("",), "no column `label`; found: nothing"),
        (("patient,label", "P0,ill,more"), "line 2 of labels.csv has more fields"),
        (("patient,label,split", "P0,ill,holdout"), "line 2 of labels.csv has a split that is none of"),
        (("patient,label", "P0,ill", "P1,well", "P0,well"), "lines 2 and 4 of labels.csv say different things"),
        (("patient,label", "P7,ill"), "none of the 1 rows of labels.csv means a scanned image by its column patient"),
        (("image,label", "0.dcm,ill"), "line 2 of labels.csv fits several of the files"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    path = write_csv(tmp_path / "labels.csv", *lines)
    namesakes = [image(0), JoinKeys(paths=("b/0.dcm",), names=(KEY.hash("image", "0.dcm"),))]
    with pytest.raises(InputError, match=words):
        read_labels(path, KEY).join(namesakes)


def test_a_column_for_the_labels_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "labels.csv", "patient,label", "P0,ill")
    with pytest.raises(InputError, match="no column 'diagnosis' for the labels; found: patient, label"):
        read_labels(path, KEY, "diagnosis")


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"patient,label\nP0,Pneumonie \xfc\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_labels(tmp_path / "labels.csv", KEY)
