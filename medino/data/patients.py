"""Whose each file is: the patient where one is named, else the study, else the file itself, and it says which."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medino.data.identity import IdentityKey, clean, is_placeholder


@dataclass(frozen=True)
class Ownership:
    """What one file tells of whose it is, as keyed hashes.

    Attributes:
        file: of its place, which every file has.
        dicom: whether a PatientID was to be expected.
        patient: of its PatientID; None where that says nothing.
        pattern: of what the user's pattern finds in its path.
        study: of its study's UID.
    """

    file: str
    dicom: bool
    patient: str | None
    pattern: str | None
    study: str | None

    @property
    def told(self) -> str | None:
        """The patient as file or path tell it."""
        return self.patient or self.pattern


def hashed_patient(patient_id: object, key: IdentityKey) -> str | None:
    """The hash of a PatientID, None for one that says nothing (blank, zeros, ANONYMOUS)."""
    text = clean(patient_id)
    return None if is_placeholder(text) else key.hash("patient", text)


def without_constant_patient(files: Sequence[Ownership], notes: list[str]) -> list[Ownership]:
    """Distrust a PatientID that all of several studies share: whoever removed the names wrote one value everywhere.

    Args:
        files: what the files tell.
        notes: gets a sentence where this was so.
    """
    patients = {file.patient for file in files if file.dicom}
    studies = {file.study for file in files if file.patient}
    if len(patients - {None}) != 1 or len(studies) < 2:
        return list(files)
    notes.append(
        f"one PatientID stands in all {len(studies)} studies and is not trusted; if they are of one patient, "
        "say so by a column patient in the labels or by --patient-pattern"
    )
    return [replace(file, patient=None) for file in files]


def settle_patients(files: Sequence[Ownership], given: Sequence[str | None], notes: list[str]) -> list[tuple[str, str]]:
    """The patient of each file and its unit ("patient", "study" or "file").

    In this order: the PatientID, the labels' column, the pattern, what these say of other files of the study if they
    agree (a study is of one patient: its images must not part), the study (DICOM), the file.

    Args:
        files: what the files tell.
        given: the patient in the labels' row of each file, where there is one.
        notes: gets a sentence where a study or a file stands for the patient.
    """
    named = [file.patient or from_labels or file.pattern for file, from_labels in zip(files, given, strict=True)]
    of_study: dict[str | None, set[str]] = defaultdict(set)
    for file, patient in zip(files, named, strict=True):
        if file.study and patient:
            of_study[file.study].add(patient)
    settled = []
    for file, patient in zip(files, named, strict=True):
        beside = of_study.get(file.study, set())
        if patient or len(beside) == 1:
            settled.append((patient or next(iter(beside)), "patient"))
        elif file.dicom and file.study:
            settled.append((file.study, "study"))
        else:
            settled.append((file.file, "file"))
    stand_ins = (("study", "studies", "no PatientID to trust"), ("file", "files", "nothing on the patient"))
    for unit, plural, reason in stand_ins:
        count = sum(found == unit for _, found in settled)
        if count:
            notes.append(
                f"{count} of {len(files)} image files hold {reason}: {plural} count as patients, and one patient can "
                "sit on both sides of a split; name them by a column patient in the labels or by --patient-pattern"
            )
    return settled
