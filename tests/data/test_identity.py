"""Identifiers become keyed hashes, and the key is its owner's alone."""

import hashlib
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from medino.core import InputError
from medino.data.identity import IdentityKey, is_placeholder
from medino.data.patients import Codes, Owners, settle_patients, without_constant_patient


def test_the_hash_is_keyed_blake2b_of_kind_and_identifier() -> None:
    secret = bytes(range(32))
    expected = hashlib.blake2b(b"patient:4711", key=secret, digest_size=16).hexdigest()
    assert IdentityKey(secret).hash("patient", "4711") == expected


def test_kinds_and_keys_have_hashes_of_their_own() -> None:
    first, second = IdentityKey(b"a" * 32), IdentityKey(b"b" * 32)
    hashes = {key.hash(kind, "1") for key in (first, second) for kind in ("patient", "study", "series", "image")}
    assert len(hashes) == 8
    assert first.key_id != second.key_id


def test_the_key_is_kept_for_its_owner_alone_and_read_back(tmp_path: Path) -> None:
    key, path = IdentityKey.draw(), tmp_path / "new" / "medino.key"
    key.keep(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert IdentityKey.read(path).key_id == key.key_id
    with pytest.raises(InputError, match="File exists"):
        IdentityKey.draw().keep(path)
    assert IdentityKey.read(path).key_id == key.key_id


@pytest.mark.parametrize("content", [b"", b"secret", b"zz" * 32, b"\xff" * 64, b"ab" * 31])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "medino.key"
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no key"):
        IdentityKey.read(path)


@pytest.mark.parametrize(
    "patient_id",
    ["", "  ", "0", "000", "NA", "n/a", "None", "ANONYMOUS", "anonymized", "Anonymised^Patient", "XXX", "No ID", "\0"],
)
def test_an_identifier_that_says_nothing_is_known(patient_id: str) -> None:
    assert is_placeholder(patient_id)


@pytest.mark.parametrize("patient_id", ["1", "0001", "ANON001", "Patient_0", "Nora", "x1", "TCGA-05-4244", "A"])
def test_a_pseudonym_is_an_identifier(patient_id: str) -> None:
    assert not is_placeholder(patient_id)


class File(NamedTuple):
    """What one file tells of whose it is."""

    patient: str | None
    study: str | None
    pattern: str | None = None
    dicom: bool = True


def owners(files: list[File]) -> Owners:
    columns = {name: Codes.of([getattr(file, name) for file in files]) for name in ("patient", "pattern", "study")}
    return Owners(dicom=np.array([file.dicom for file in files]), **columns)


def settled(files: list[File], given: list[str | None], notes: list[str]) -> list[tuple[str, str]]:
    def hash_of_files(numbers: np.ndarray) -> list[str]:
        return [f"f{number}" for number in numbers]

    patients, units = settle_patients(owners(files), Codes.of(given), hash_of_files, notes)
    return list(zip(patients.array().to_pylist(), units.array().to_pylist(), strict=True))


def test_the_patient_is_the_tag_then_the_labels_then_the_pattern_then_the_study_then_the_file() -> None:
    notes: list[str] = []
    files = [
        File("tag", "s1", "pattern"),
        File(None, "s2", "pattern"),
        File(None, "s2", "pattern"),
        File(None, "s3"),
        File(None, None),
        File(None, None, dicom=False),
    ]
    found = settled(files, ["csv", "csv", None, None, None, None], notes)
    assert [unit for _, unit in found] == ["patient", "patient", "patient", "study", "file", "file"]
    assert [patient for patient, _ in found] == ["tag", "csv", "pattern", "s3", "f4", "f5"]
    assert len(notes) == 2
    assert "1 of 6 image files hold no PatientID to trust" in notes[0]
    assert "2 of 6 image files hold nothing on the patient" in notes[1]


def test_the_images_of_one_study_have_one_patient_where_only_some_name_it() -> None:
    files = [File("tag", "s1"), File(None, "s1"), File("a", "s2"), File("b", "s2"), File(None, "s2")]
    found = settled(files, [None] * 5, [])
    assert found[:2] == [("tag", "patient")] * 2
    # Where a study's files name two patients, nobody knows whose the third is.
    assert found[4] == ("s2", "study")


def test_a_patient_id_that_all_studies_share_is_not_trusted() -> None:
    notes: list[str] = []
    files = without_constant_patient(owners([File("same", "s1"), File("same", "s2"), File(None, "s3")]), notes)
    assert files.patient.array().to_pylist() == [None, None, None]
    assert len(notes) == 1


@pytest.mark.parametrize("files", [[File("one", "s1"), File("one", "s1")], [File("a", "s1"), File("b", "s2")]])
def test_one_study_or_several_patients_are_trusted(files: list[File]) -> None:
    notes: list[str] = []
    assert without_constant_patient(owners(files), notes).patient.array().to_pylist() == [f.patient for f in files]
    assert notes == []
