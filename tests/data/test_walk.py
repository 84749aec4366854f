"""What lies in a folder is listed in one order, whatever the folder is like."""

import os
import subprocess
from pathlib import Path

import pytest
from archive_files import write_png

from medino.data.identity import IdentityKey
from medino.data.readers import ReadSettings
from medino.data.scanning.headers import KEPT_SCHEMA, kept_of_file
from medino.data.walk import walk


def paths(folder: Path) -> list[str]:
    return [file.path for file in walk([folder]).files]


def test_files_come_in_the_order_of_their_whole_paths(tmp_path: Path) -> None:
    for name in ("a/x", "a.b", "a", "b/c/d", "b-", "b/c.e", "ä"):
        path = tmp_path / name if name != "a" else tmp_path / "a0"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert paths(tmp_path) == sorted(paths(tmp_path))
    assert len(paths(tmp_path)) == 7


def test_a_large_folder_is_listed_as_a_small_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"{number * 7919 % 1000}").touch()
    (tmp_path / "5" / "below").mkdir(parents=True)
    (tmp_path / "twin").symlink_to(tmp_path / "0")
    small = paths(tmp_path)
    monkeypatch.setattr("medino.data.walk._AT_ONCE", 8)
    assert paths(tmp_path) == small


def test_a_tree_deeper_than_pythons_stack_is_walked(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert paths(tmp_path) == ["d/" * 1500 + "x"]
    finally:
        # pytest removes folders by recursion, and would end in an error.
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = walk([tmp_path])
    assert [(reject.path, reject.reason) for reject in found.rejects] == [("loop", "a link to nothing")]


def test_a_file_that_disappears_after_the_listing_is_a_reject(tmp_path: Path) -> None:
    (row,) = kept_of_file(IdentityKey(b"k" * 32), ReadSettings(), (str(tmp_path / "gone.dcm"), None))
    named = dict(zip(KEPT_SCHEMA.names, row, strict=True))
    assert (named["reason"], named["file_bytes"]) == ("the file is not there", None)


def test_files_of_one_folder_given_twice_are_listed_once(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write_png(tmp_path / name)
    found = walk([tmp_path / "b.png", tmp_path])
    assert [file.path for file in found.files] == ["a.png", "b.png"]
    assert found.repeated == 1
