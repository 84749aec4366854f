"""What an archive's file system does to a scan: named, counted, survived."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from medino.data import scan
from medino.data.walk import walk


def put_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path, format="PNG")
    return path


def test_a_file_that_disappears_before_it_is_read_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_image(tmp_path / "stays.png")
    gone = put_image(tmp_path / "goes.png")

    def walk_and_lose(*args: object) -> object:
        found = walk(*args)  # type: ignore[arg-type]
        gone.unlink()
        return found

    monkeypatch.setattr(sys.modules["medino.data.scanning.scan"], "walk", walk_and_lose)
    manifest = scan([tmp_path])
    assert manifest.column("path") == ["stays.png"]
    assert [(reject.path, "not there" in reject.reason) for reject in manifest.rejects] == [("goes.png", True)]


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    put_image(tmp_path / "a" / "image.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    manifest = scan([tmp_path])
    assert manifest.column("path") == ["a/image.png"]
    assert [reject.path for reject in manifest.rejects] == ["itself"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes no such names")
def test_a_name_that_is_no_utf8_is_a_reject_that_can_be_written(tmp_path: Path) -> None:
    put_image(tmp_path / "good.png")
    put_image(Path(os.fsdecode(os.fsencode(tmp_path) + b"/J\xfcrgen.png")))
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr"))
    put_image(folder / "image.png")
    manifest = scan([tmp_path])
    assert manifest.column("path") == ["good.png"]
    assert sorted(reject.path[-8:] for reject in manifest.rejects) == ["mage.png", "rgen.png"]
    assert all("UTF-8" in reject.reason for reject in manifest.rejects)
    manifest.write(tmp_path / "out" / "c.parquet")


# Root reads what it likes. PR_CAPBSET_DROP (24) of CAP_DAC_OVERRIDE (1) and CAP_DAC_READ_SEARCH (2), which holds from
# the next program on, makes it ask for permission like everybody else.
ASKS = """
import ctypes, os, sys
if os.getuid() == 0 and any(ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) for capability in (1, 2)):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""

SCAN = """
import sys
from medino.data import scan
manifest = scan([sys.argv[1]])
print(manifest.column("path"))
for reject in manifest.rejects:
    print(reject.path, reject.reason)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="lays down root's privileges as Linux knows them")
def test_folders_and_files_without_permission_are_rejects(tmp_path: Path) -> None:
    put_image(tmp_path / "good.png")
    put_image(tmp_path / "closed" / "image.png")
    put_image(tmp_path / "secret.png").chmod(0o000)
    (tmp_path / "closed").chmod(0o000)
    command = [sys.executable, "-c", ASKS, SCAN, str(tmp_path)]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        (tmp_path / "closed").chmod(0o755)
    if child.returncode == 77:
        pytest.skip("root can't lay its privileges down here")
    assert child.stdout.splitlines() == [
        "['good.png']",
        "closed the folder can't be opened",
        "secret.png there is no permission to read the file",
    ]
