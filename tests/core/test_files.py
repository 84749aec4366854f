"""JSON is written whole and strict; what is missing or no JSON is said in words."""

import os
import stat
from pathlib import Path

import pytest

from medino.core import (
    InputError,
    existing_file,
    existing_folder,
    file_fingerprint,
    file_sha256,
    read_json,
    whole_file,
    whole_folder,
    write_json,
)


def test_json_comes_back_as_written_and_makes_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "facts.json"
    write_json(path, {"a": [1, 2.5, None], "b": "µ"})
    assert read_json(path) == {"a": [1, 2.5, None], "b": "µ"}
    assert [file.name for file in path.parent.iterdir()] == ["facts.json"]


def test_json_without_a_number_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize("content", [b"{ not json", b"\xff\xfe\x00"])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"facts\.json is not valid JSON"):
        read_json(path)


def test_a_missing_file_or_folder_and_one_for_the_other_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert existing_file(file, "weights file") == file
    assert existing_folder(str(tmp_path), "data folder") == tmp_path
    for call, path, problem in (
        (existing_file, tmp_path / "none", "none does not exist"),
        (existing_file, tmp_path, "is a folder, not a file"),
        (existing_folder, tmp_path / "none", "none does not exist"),
        (existing_folder, file, "is a file, not a folder"),
    ):
        with pytest.raises(InputError, match=f"^the thing .*{problem}"):
            call(path, "the thing")


def test_a_written_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with whole_file(tmp_path / "file") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_files_fingerprint_depends_on_its_bytes_alone(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    first, second, third = (file_fingerprint(tmp_path / name) for name in "abc")
    assert first == second != third
    assert len(first) == 32


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def stop_half_way() -> None:
        with whole_folder(tmp_path / "out" / "folder") as folder:
            (folder / "a").touch()
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        stop_half_way()
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "folder").mkdir()
    with whole_folder(tmp_path / "out" / "folder") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "out" / "folder" / "a").exists()
    assert [path.name for path in (tmp_path / "out" / "folder").iterdir()] == ["a"]
    (tmp_path / "made").mkdir()
    expected = stat.S_IMODE((tmp_path / "made").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "out" / "folder").stat().st_mode) == expected


def test_a_files_sha256_is_the_standards_and_its_progress_is_told(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1 and B.3.
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "million").write_bytes(b"a" * 1_000_000)
    told: list[int] = []
    found = file_sha256(tmp_path / "million", told.append)
    assert found == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert told[-1] == 1_000_000
