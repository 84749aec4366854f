"""What a file is is told by its bytes; whatever else a folder holds has a reason of its own."""

import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medino.core import UnreadableImageError
from medino.data.readers import describe, sniff
from medino.data.readers.sniffing import NOT_AN_IMAGE
from medino.data.source import Source


def image_bytes(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(buffer, format=format)
    return buffer.getvalue()


def nifti_bytes() -> bytes:
    return nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)).to_bytes()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
def test_raster_files_are_known_without_their_names(tmp_path: Path, format: str) -> None:
    (tmp_path / "file").write_bytes(image_bytes(format))
    assert sniff(tmp_path / "file") == "raster"


def test_nifti_is_known_without_its_name_packed_or_not(tmp_path: Path) -> None:
    two = nibabel.Nifti2Image(np.zeros((2, 2, 2), np.float32), np.eye(4)).to_bytes()
    big = nibabel.Nifti1Header(endianness=">").binaryblock + bytes(4)
    for data in (nifti_bytes(), two, big, gzip.compress(nifti_bytes()), gzip.compress(two)):
        (tmp_path / "file").write_bytes(data)
        assert sniff(tmp_path / "file") == "nifti"
    nibabel.save(nibabel.Nifti1Pair(np.zeros((2, 2, 2), np.float32), np.eye(4)), tmp_path / "pair.hdr")
    shutil.move(tmp_path / "pair.hdr", tmp_path / "header")
    assert sniff(tmp_path / "header") == "nifti"


def test_the_dicom_zoo_is_known_without_its_names(tmp_path: Path, shared_data: Path) -> None:
    for number, path in enumerate(sorted((shared_data / "dicom_zoo").iterdir())):
        (tmp_path / str(number)).symlink_to(path)
        assert sniff(tmp_path / str(number)) == "dicom"


def document(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "text")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("report.pdf", b"%PDF-1.7\n", "a PDF document"),
        ("scan", b"%PDF-1.7\n", "a PDF document"),
        ("viewer.exe", b"MZ\x90\0" + bytes(300), "a program"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(900), "Thumbs.db"),
        ("scan.json", json.dumps({"EchoTime": 1, "PatientName": "Secret"}).encode(), "a JSON text"),
        ("readme.txt", b"some words", NOT_AN_IMAGE),
        ("readme.docx", document("word/document.xml"), "an archive or a document"),
        ("noise", np.random.default_rng(0).bytes(2000), NOT_AN_IMAGE),
        ("zeros", bytes(2000), NOT_AN_IMAGE),
        ("pair.img", bytes(2000), "read through its .hdr"),
        ("page.html", b"\n <!DOCTYPE html>", "XML or HTML"),
        ("film.mp4", b"\0\0\0\x18ftypisom", "a film"),
        ("old.hdr", b"\x5c\1\0\0" + bytes(344), "Analyze 7.5"),
        ("x.dcm.gz", gzip.compress(b"nothing known"), NOT_AN_IMAGE),
        ("array.npy", b"\x93NUMPY\1\0", "put it into an NPZ file"),
        ("volume.nrrd", b"NRRD0004\n", "NRRD"),
    ],
)
def test_what_else_a_folder_holds_is_rejected_in_words(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadableImageError, match=words) as caught:
        describe(tmp_path / name)
    assert "Secret" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(f"folder/{name}", data)
    if name != "array.npy":
        with pytest.raises(UnreadableImageError, match=words):
            describe(Source(tmp_path / "all.zip", f"folder/{name}"))


def test_a_dicomdir_is_said_to_be_an_index() -> None:
    path = get_testdata_file("DICOMDIR")
    with pytest.raises(UnreadableImageError, match="index"):
        describe(Path(str(path)))
