"""An archive is a folder whose members are read without being unpacked to disk, and nothing in it can do harm."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from medino.core import UnreadableImageError
from medino.data import archives
from medino.data.archives import list_archive
from medino.data.source import Source


def make_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def patched(path: Path, name: str, place: int, value: bytes) -> Path:
    """Overwrite bytes of the directory entry of a member (APPNOTE 4.3.12)."""
    data = bytearray(path.read_bytes())
    start = data.rfind(b"PK\1\2", 0, data.rfind(name.encode()))
    data[start + place : start + place + len(value)] = value
    path.write_bytes(bytes(data))
    return path


def test_members_are_listed_like_the_files_of_a_folder(tmp_path: Path) -> None:
    names = {"b/2.dcm": b"two", "a.dcm": b"one", "c/": b"", "__MACOSX/._a.dcm": b"x", ".DS_Store": b"x", "b/.z": b"x"}
    path = make_zip(tmp_path / "study.zip", names)
    assert list_archive(path) == archives.Archive(("a.dcm", "b/2.dcm"))
    source = Source(path, "b/2.dcm")
    assert (source.name, source.size(), source.read_bytes(), source.open().read()) == ("2.dcm", 3, b"two", b"two")
    assert source.beside("1.dcm") == Source(path, "b/1.dcm")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_the_bytes_that_were_packed(tmp_path: Path, method: int) -> None:
    data = np.random.default_rng(0).bytes(100_000)
    path = make_zip(tmp_path / "x.zip", {"first": b"1", "data": data}, method)
    source = Source(path, "data")
    assert source.read_bytes() == data
    with source.open() as opened:
        assert opened.read() == data
        assert (opened.seek(-10, io.SEEK_END), opened.read(), opened.read()) == (99_990, data[-10:], b"")
        assert (opened.seek(7), opened.read(5), opened.seek(8, io.SEEK_CUR), opened.tell()) == (7, data[7:12], 20, 20)


def test_a_rewritten_archive_is_read_again(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": b"old"})
    assert Source(path, "a").read_bytes() == b"old"
    make_zip(path, {"a": b"newer"})
    assert Source(path, "a").read_bytes() == b"newer"
    make_zip(path, {"b": b"other"})
    with pytest.raises(UnreadableImageError, match="no such member any more"):
        Source(path, "a").read_bytes()


def test_old_names_without_an_encoding_are_read(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"thoraX.dcm": b"data"})
    path.write_bytes(path.read_bytes().replace(b"thoraX", b"thor\x84X"))
    (member,) = list_archive(path).members
    assert member == "thor\u00e4X.dcm"
    assert Source(path, member).read_bytes() == b"data"


def test_what_can_not_be_read_is_a_reject_with_its_reason(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"good": b"1", "locked": b"2", "inner.zip": b"3", "odd": b"4"})
    patched(patched(path, "locked", 8, struct.pack("<H", 1)), "odd", 10, struct.pack("<H", 97))
    listed = list_archive(path)
    assert listed.members == ("good",)
    reasons = dict(listed.rejects)
    assert sorted(reasons) == ["inner.zip", "locked", "odd"]  # type: ignore[type-var]
    assert "encrypted" in reasons["locked"]
    assert reasons["inner.zip"] == archives.NESTED
    assert "a method" in reasons["odd"]
    with pytest.raises(UnreadableImageError, match="encrypted"):
        Source(path, "locked").read_bytes()


def test_two_members_of_one_name_are_rejected(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": b"1", "c": b"2", "b": b"3"})
    path.write_bytes(path.read_bytes().replace(b"c", b"a"))
    listed = list_archive(path)
    assert listed.members == ("b",)
    assert [name for name, _ in listed.rejects] == ["a"]


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    zeros = make_zip(tmp_path / "zeros.zip", {"bomb": bytes(2**25), "small": bytes(2**20)})
    assert list_archive(zeros).members == ("small",)
    assert "fill the memory" in list_archive(zeros).rejects[0][1]
    large = patched(make_zip(tmp_path / "large.zip", {"x": b"1"}), "x", 24, struct.pack("<I", 2**31 + 1))
    assert "larger than" in list_archive(large).rejects[0][1]
    many = make_zip(tmp_path / "many.zip", {"a": np.random.default_rng(0).bytes(1000), "b": b"2"})
    patched(many, "b", 20, struct.pack("<I", 900))
    assert "overlap" in list_archive(many).rejects[0][1]


def test_what_is_not_compressed_may_be_larger_and_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 50_000)
    data = np.random.default_rng(0).bytes(60_000)
    stored = make_zip(tmp_path / "stored.zip", {"a": data}, zipfile.ZIP_STORED)
    assert list_archive(stored).members == ("a",)
    with Source(stored, "a").open() as opened:
        opened.seek(50_500)
        assert opened.read(100) == data[50_500:50_600]
    with pytest.raises(UnreadableImageError, match="larger than"):
        Source(stored, "a").read_bytes()
    assert list_archive(make_zip(tmp_path / "packed.zip", {"a": data})).rejects == (("a", archives.TOO_LARGE),)


@pytest.mark.parametrize("claimed", [10, 4000])
def test_a_member_of_another_length_than_it_claims_is_damaged(tmp_path: Path, claimed: int) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": b"123" * 1000})
    patched(path, "a", 24, struct.pack("<I", claimed))
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        Source(path, "a").read_bytes()


def test_damaged_archives_are_said_to_be(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": np.random.default_rng(0).bytes(5000), "b": b"2"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert list_archive(path).rejects == ((None, "the archive is truncated or damaged"),)
    path.write_bytes(whole[:200] + bytes(50) + whole[250:])
    assert list_archive(path).members == ("a", "b")
    with pytest.raises(UnreadableImageError, match="damaged"):
        Source(path, "a").read_bytes()
    assert Source(path, "b").read_bytes() == b"2"
    path.write_bytes(b"no archive")
    assert "damaged" in list_archive(path).rejects[0][1]
    make_zip(path, {})
    assert list_archive(path).rejects == ((None, "the archive is empty"),)
    path.unlink()
    assert list_archive(path).rejects == ((None, "the file is not there"),)


def test_the_arrays_of_an_npz_file_are_listed_by_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros(3), train_labels=np.zeros(1), other_labels=np.zeros(1))
    assert list_archive(tmp_path / "x.npz").members == ("other_labels", "train_images")
    assert Source(tmp_path / "x.npz", "train_labels").read_bytes().startswith(b"\x93NUMPY")


def test_an_archive_is_read_after_a_fork(tmp_path: Path) -> None:
    """A child must not move its parent's place in the file."""
    names = {str(number): bytes([number]) * 50_000 for number in range(20)}
    path = make_zip(tmp_path / "x.zip", names)
    assert Source(path, "0").read_bytes() == names["0"]
    child = os.fork()
    numbers = range(1, 20) if child else range(19, 0, -1)
    try:
        right = all(Source(path, str(number)).read_bytes() == names[str(number)] for number in numbers)
    except BaseException:
        right = False
    if child == 0:
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert right
