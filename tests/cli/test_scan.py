"""`medino scan` writes a manifest and its rejects, says what is in them, and names nobody."""

import stat
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from archive_files import write_csv, write_dicom, write_png

from medino.cli.main import main
from medino.data import Manifest, check_splits

NAME, NUMBER, ACCESSION = "Quillfeather", "PID88421", "ACC55137"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four DICOM files of two patients, and a text file."""
    for patient in ("7", "8"):
        for image in range(2):
            path = tmp_path / "data" / f"{patient}-{image}.dcm"
            write_dicom(path, PatientID=patient, StudyInstanceUID=f"1.{patient}", Modality="CT")
    write_csv(tmp_path / "data" / "notes.txt", "no image")
    return tmp_path / "data"


def words(*parts: object) -> list[str]:
    return ["scan", *map(str, parts)]


def test_a_scan_leaves_manifest_rejects_journal_and_key(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "lungs.parquet"
    assert main(words(archive, "-o", output)) == 0
    manifest = Manifest.read(output)
    # The file's name can name people, and reports show the manifest's: it is given apart.
    assert (len(manifest), len(manifest.rejects), manifest.name) == (4, 1, "cohort")
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "lungs.parquet",
        "lungs.rejects.parquet",
        "lungs.scan",
        "medino.key",
    ]
    assert stat.S_IMODE((output.parent / "medino.key").stat().st_mode) == 0o600


def test_the_summary_counts_images_patients_and_reasons(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_csv(tmp_path / "labels.csv", "patient,label", "7,ill", "8,well")
    assert main(words(archive, "-o", tmp_path / "c.parquet", "--name", "lungs", "--labels", labels)) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "lungs images files patients",
        "format dicom 4 4 2",
        "modality CT 4 4 2",
        "manufacturer Siemens 4 4 2",
        "rows x columns 6 x 8 4 4 2",
        "label ill 2 2 1",
        "a patient is the patient 4 4 2",
        "all 4 4 2",
        "1 no image of a kind that is read",
    ):
        assert line in lines


def test_scanning_again_into_the_scanned_folder_gives_the_same_manifest(archive: Path) -> None:
    output = archive / "cohort.parquet"
    assert main(words(archive, "-o", output)) == 0
    first = Manifest.read(output)
    assert main(words(archive, "-o", output)) == 0
    again = Manifest.read(output)
    assert (again.fingerprint, again.rejects) == (first.fingerprint, first.rejects)


def test_a_key_can_be_shared_between_manifests(archive: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main(words(archive, "-o", tmp_path / name / "c.parquet", "--key", tmp_path / "our.key")) == 0
    one, two = (Manifest.read(tmp_path / name / "c.parquet") for name in ("one", "two"))
    assert list(one.column("patient")) == list(two.column("patient"))
    assert not (tmp_path / "one" / "medino.key").exists()


def test_every_option_can_come_from_a_configuration(archive: Path, tmp_path: Path) -> None:
    labels = write_csv(tmp_path / "labels.csv", "patient,finding", "7,ill", "8,well")
    config = write_csv(tmp_path / "c.yaml", f"labels: {labels}", "label_column: finding", "verify: true", "plane: 0")
    assert main(words("--config", config, archive, "-o", tmp_path / "cohort.parquet")) == 0
    manifest = Manifest.read(tmp_path / "cohort.parquet")
    assert manifest.labels == ["ill", "well"]
    assert (manifest.settings["verified"], manifest.settings["plane"]) == (True, 0)


def test_patients_are_split_where_fractions_are_given(tmp_path: Path) -> None:
    for patient in range(20):
        for image in range(2):
            write_dicom(tmp_path / "data" / f"{patient}-{image}.dcm", PatientID=f"P{patient}")
    output = tmp_path / "cohort.parquet"
    assert main(words(tmp_path / "data", "-o", output, "--split-fractions", 0.5, 0.25, 0.25, "--seed", 3)) == 0
    manifest = Manifest.read(output)
    check_splits(manifest)
    assert Counter(manifest.column("split")) == {"train": 20, "validation": 10, "test": 10}


def test_nobody_is_named_outside_the_path_columns(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for study in ("1.1", "1.2"):
        write_dicom(
            data / NAME / f"{NAME}_{study}.dcm",
            PatientID=NUMBER,
            PatientName=f"{NAME}^Ada",
            AccessionNumber=ACCESSION,
            StudyInstanceUID=study,
            PatientComments=NAME,
            InstitutionName=f"{NAME} Hospital",
            StudyDescription=f"{NAME} follow-up",
            OperatorsName=f"{NAME}^Op",
        )
    write_dicom(data / "other.dcm", PatientID="other")
    (data / f"{NAME}.dcm").write_bytes((data / "other.dcm").read_bytes()[:300])
    write_csv(data / f"{NAME}.txt", NAME)
    labels = write_csv(tmp_path / "labels.csv", "accession,patient,label", f"{ACCESSION},{NUMBER},ill", f"{NAME},,well")
    output = tmp_path / "out" / "cohort.parquet"
    assert main(words(data, "-o", output, "--labels", labels, "--verify")) == 0
    printed = capfd.readouterr()
    table, rejects = pq.read_table(output), pq.read_table(output.with_suffix(".rejects.parquet"))
    assert table.num_rows == 3
    assert rejects.num_rows == 2
    kept = [str(frame.drop_columns(["path"]).to_pylist()) for frame in (table, rejects)]
    for secret in (NAME, NUMBER, ACCESSION):
        for text in (printed.out, printed.err, *kept):
            assert secret.lower() not in text.lower()


def test_an_export_is_the_same_manifest_without_places(tmp_path: Path) -> None:
    write_dicom(tmp_path / "data" / NAME / f"{NAME}.dcm", PatientID=NUMBER)
    write_csv(tmp_path / "data" / f"{NAME}.txt", NAME)
    output, exported = tmp_path / "out" / "cohort.parquet", tmp_path / "away" / "cohort.parquet"
    assert main(words(tmp_path / "data", "-o", output, "--export", exported)) == 0
    own, handed_on = Manifest.read(output), Manifest.read(exported)
    assert handed_on.fingerprint == own.fingerprint
    assert [reject.reason for reject in handed_on.rejects] == [reject.reason for reject in own.rejects]
    assert handed_on.roots == ()
    for path in exported.parent.iterdir():
        assert NAME not in str(pq.read_table(path).to_pylist())
        assert NAME not in str(pq.read_schema(path).metadata)
        assert str(tmp_path) not in str(pq.read_schema(path).metadata)
    assert main(words(tmp_path / "data", "-o", output, "--export", output)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing does not exist"),
        (["{data}", "--labels", "missing.csv"], "labels' file missing.csv does not exist"),
        (["{data}", "--plane", "oblique"], "'oblique' is none of"),
        (["{data}", "--masks", "{empty}"], "none of the 0 files"),
        (["{empty}"], "no image can be read (there are no files)"),
        (["{data}", "--labels", "{unlabelled}"], "no column `label`; found: patient, finding"),
        (["{data}", "--key", "{unlabelled}"], "holds no key"),
        (["{data}", "--split-fractions", "0.5", "0.3", "0.3"], "not parts of 1"),
        (["{data}", "--split-fractions", "0.6", "0.1", "0.3"], "2 patients (unit: patient) can't fill the splits"),
    ],
)
def test_bad_input_is_one_line_status_2_and_leaves_nothing(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    unlabelled = write_csv(tmp_path / "unlabelled.csv", "patient,finding", "7,ill")
    places = {"data": archive, "empty": tmp_path / "empty", "unlabelled": unlabelled}
    output = tmp_path / "out" / "cohort.parquet"
    assert main(words(*(argument.format(**places) for argument in arguments), "-o", output)) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("medino scan: error: ")
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not output.parent.exists()


def test_an_output_that_is_no_parquet_file_is_refused(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(archive, "-o", archive / "cohort.csv")) == 2
    assert "ends in .parquet" in capsys.readouterr().err


def test_an_unknown_key_in_the_configuration_is_refused_in_one_line(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_csv(tmp_path / "c.yaml", "lables: labels.csv")
    assert main(words("--config", config, archive, "-o", tmp_path / "cohort.parquet")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'lables'" in line


def test_a_png_archive_says_that_files_stand_for_patients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        write_png(tmp_path / "data" / f"{number}.png")
    assert main(words(tmp_path / "data", "-o", tmp_path / "cohort.parquet")) == 0
    assert "files as patients" in capsys.readouterr().out


def test_the_zoo_is_scanned(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(shared_data / "dicom_zoo", "-o", tmp_path / "zoo.parquet")) == 0
    assert "the file is truncated" in capsys.readouterr().out
