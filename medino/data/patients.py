"""Whose each file is: the patient where one is named, else the study, else the file itself, and it says which.

All files of a scan are settled together, as columns of numbers: a million objects would not fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from medino.data.identity import IdentityKey, clean, is_placeholder


@dataclass(frozen=True)
class Codes:
    """A column of repeated text: for each file a number into `values`, -1 for none."""

    numbers: np.ndarray
    values: pa.Array

    @classmethod
    def none(cls, count: int) -> "Codes":
        """A column of nothing."""
        return cls(np.full(count, -1, dtype=np.int32), pa.array([], type=pa.string()))

    @classmethod
    def of(cls, column: "pa.Array | Sequence[str | None]") -> "Codes":
        """The codes of a column of text, which may be one of Arrow's dictionaries."""
        array = column if isinstance(column, pa.Array) else pa.array(column, type=pa.string())
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        return cls(encoded.indices.fill_null(-1).to_numpy().astype(np.int32), encoded.dictionary)

    def filled(self, others: "Codes") -> "Codes":
        """These, with the others' value where there is none; equal texts have equal numbers."""
        values = pa.concat_arrays([self.values, others.values]).dictionary_encode()
        number_of = np.append(values.indices.to_numpy(), np.int32(-1)).astype(np.int32)
        shifted = np.where(others.numbers >= 0, others.numbers + len(self.values), -1)
        return Codes(number_of[np.where(self.numbers >= 0, self.numbers, shifted)], values.dictionary)

    def array(self) -> pa.Array:
        """The column as one of Arrow's dictionaries."""
        missing = self.numbers < 0
        return pa.DictionaryArray.from_arrays(pa.array(self.numbers, mask=missing), self.values)


@dataclass(frozen=True)
class Owners:
    """What files tell of whose they are, as keyed hashes, one entry a file.

    Attributes:
        dicom: whether a PatientID was to be expected.
        patient: of the PatientID; none where that says nothing.
        pattern: of what the user's pattern finds in the path.
        study: of the study's UID.
    """

    dicom: np.ndarray
    patient: Codes
    pattern: Codes
    study: Codes

    @property
    def told(self) -> Codes:
        """The patient as file or path tell it."""
        return self.patient.filled(self.pattern)


def hashed_patient(patient_id: object, key: IdentityKey) -> str | None:
    """The hash of a PatientID, None for one that says nothing (blank, zeros, ANONYMOUS)."""
    text = clean(patient_id)
    return None if is_placeholder(text) else key.hash("patient", text)


def without_constant_patient(files: Owners, notes: list[str]) -> Owners:
    """Distrust a PatientID that all of several studies share: whoever removed the names wrote one value everywhere.

    Args:
        files: what the files tell.
        notes: gets a sentence where this was so.
    """
    patients = np.unique(files.patient.numbers[files.dicom])
    studies = np.unique(files.study.numbers[files.patient.numbers >= 0])
    if (patients >= 0).sum() != 1 or len(studies) < 2:
        return files
    notes.append(
        f"one PatientID stands in all {len(studies)} studies and is not trusted; if they are of one patient, "
        "say so by a column patient in the labels or by --patient-pattern"
    )
    return replace(files, patient=replace(files.patient, numbers=np.full_like(files.patient.numbers, -1)))


def settle_patients(
    files: Owners, given: Codes, hash_of_files: Callable[[np.ndarray], Sequence[str]], notes: list[str]
) -> tuple[Codes, Codes]:
    """The patient of each file and its unit ("patient", "study" or "file").

    In this order: the PatientID, the labels' column, the pattern, what these say of other files of the study if they
    agree (a study is of one patient: its images must not part), the study (DICOM), the file.

    Args:
        files: what the files tell.
        given: the patient in the labels' row of each file, where there is one.
        hash_of_files: hashes of the files with these numbers, for those of which nothing is known.
        notes: gets a sentence where a study or a file stands for the patient.
    """
    named = files.patient.filled(given).filled(files.pattern)
    named = replace(named, numbers=np.where(named.numbers >= 0, named.numbers, _agreed(named, files.study)))
    by_study = (named.numbers < 0) & files.dicom & (files.study.numbers >= 0)
    study = replace(files.study, numbers=np.where(by_study, files.study.numbers, -1))
    alone = np.flatnonzero((named.numbers < 0) & ~by_study)
    itself = np.full(len(by_study), -1, dtype=np.int32)
    itself[alone] = np.arange(len(alone))
    hashes = Codes(itself, pa.array(hash_of_files(alone), type=pa.string()))
    units = np.where(named.numbers >= 0, 0, np.where(by_study, 1, 2)).astype(np.int32)
    stand_ins = ((1, "studies", "no PatientID to trust"), (2, "files", "nothing on the patient"))
    for unit, plural, reason in stand_ins:
        count = int((units == unit).sum())
        if count:
            notes.append(
                f"{count} of {len(units)} image files hold {reason}: {plural} count as patients, and one patient can "
                "sit on both sides of a split; name them by a column patient in the labels or by --patient-pattern"
            )
    return named.filled(study).filled(hashes), Codes(units, pa.array(["patient", "study", "file"]))


def _agreed(named: Codes, study: Codes) -> np.ndarray:
    """For each file the one patient that the files of its study name; -1 where they name none or several."""
    known = np.flatnonzero((named.numbers >= 0) & (study.numbers >= 0))
    lowest = np.full(len(study.values) + 1, np.iinfo(np.int32).max, dtype=np.int32)
    highest = np.full(len(study.values) + 1, -1, dtype=np.int32)
    np.minimum.at(lowest, study.numbers[known], named.numbers[known])
    np.maximum.at(highest, study.numbers[known], named.numbers[known])
    one = np.where(lowest == highest, highest, -1)
    # A file without study has the number -1: the last place, in which nobody is named.
    return one[study.numbers]
