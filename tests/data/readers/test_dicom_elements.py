"""Headers that begin as most do are read the short way, and all else as pydicom does: the two never say different
things."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import Mutation, mutated
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from medino.data.readers import ReadSettings, dicom_elements, dicom_header, dicom_values
from medino.data.readers.dicom_values import numbers, text_of
from medino.data.reading import frames_or_reason
from medino.data.source import Source

FOLDERS = ("dicom_zoo", "series_ct_head_ge", "series_mr_brain")


def _said(path: Path) -> Any:
    """What a scan keeps of a file, without what is remembered of others."""
    dicom_header._read_header.cache_clear()
    dicom_header._ALIKE.clear()
    return frames_or_reason((Source(path), ReadSettings()))


def _said_by_pydicom(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same by pydicom's own reading and its own conversion of each element."""
    with monkeypatch.context() as patched:
        patched.setattr(dicom_elements, "_usual", lambda start: None)
        patched.setattr(dicom_values, "_plain", lambda dataset, name: None)
        return _said(path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_headers_are_read_the_short_way_and_say_what_pydicom_says(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    paths = [path for path in sorted((shared_data / folder).iterdir()) if path.stat().st_size < 2**22]
    short = 0
    for path in paths:
        assert _said(path) == _said_by_pydicom(path, monkeypatch), path.name
        try:
            short += dicom_elements._usual(Source(path).start()) is not None
        except Exception:  # then it is read by pydicom
            continue
    assert short > len(paths) // 2


def test_broken_headers_say_what_pydicom_says(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    originals = [path for path in sorted((shared_data / "dicom_zoo").iterdir()) if path.stat().st_size < 2**17]
    read = 0
    for seed in range(250):
        original, donor = originals[seed % len(originals)], originals[(7 * seed + 3) % len(originals)]
        path = tmp_path / f"{seed}.dcm"
        path.write_bytes(mutated(Mutation(seed, original, donor)))
        said = _said(path)
        assert said == _said_by_pydicom(path, monkeypatch), f"seed {seed} of {original.name}"
        read += isinstance(said, list)
    assert 50 < read < 250


def _values(raw: RawDataElement, name: str) -> Any:
    """The numbers and the text of an element; what is raised where it can't have any."""
    try:
        return numbers(Dataset({raw.tag: raw}), name), text_of(Dataset({raw.tag: raw}), name)
    except Exception as error:
        return type(error)


LETTERS = [letters.encode("latin-1") for letters in ("0", "1", "7", "23", ".", "-", "+", "e", "E2", "\\", " ", "\0")]
LETTERS += [b"_", b"nan", b"x", b"\t", b"\xa0"]


@pytest.mark.parametrize(
    ("name", "vr"),
    [
        ("ImagePositionPatient", "DS"),
        ("AcquisitionNumber", "IS"),
        ("Rows", "US"),
        ("DiffusionBValue", "FD"),
        ("NominalPercentageOfCardiacPhase", "FL"),
        ("SOPInstanceUID", "UI"),
        ("Modality", "CS"),
        ("PatientID", "LO"),
        ("AccessionNumber", "SH"),
        ("PatientAge", "AS"),
    ],
)
def test_values_are_those_of_pydicom_whatever_stands_in_an_element(
    monkeypatch: pytest.MonkeyPatch, name: str, vr: str
) -> None:
    random = np.random.default_rng(0)
    tag = BaseTag(dicom_values._known(name)[0])
    plain = 0
    for _ in range(1000):
        if vr in ("US", "FD", "FL"):
            value = random.bytes(int(random.choice([2, 4, 8, 3])))
        else:
            value = b"".join(LETTERS[index] for index in random.integers(len(LETTERS), size=random.integers(8)))
        little = bool(random.integers(2))
        raw = RawDataElement(tag, vr, len(value), value, 0, False, little)
        plain += dicom_values._plain_numbers(Dataset({tag: raw}), name) is not None or vr in dicom_values._TEXT
        short = _values(raw, name)
        with monkeypatch.context() as patched, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patched.setattr(dicom_values, "_plain", lambda dataset, name: None)
            assert short == _values(raw, name), value
    assert plain > 50
