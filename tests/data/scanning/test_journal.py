"""A second scan reads only what is new or changed, a killed one goes on, and the table is that of a first scan."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from archive_files import write_csv, write_dicom, write_nifti, write_png

from medino.core import InputError
from medino.data.identity import IdentityKey
from medino.data.manifest import Manifest
from medino.data.scanning.journal import Journal
from medino.data.scanning.scan import scan

KEY = IdentityKey(b"k" * 32)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    for number in range(6):
        write_dicom(data / f"{number}.dcm", PatientID=f"PATIENT{number}", StudyInstanceUID=f"1.{number}")
    write_nifti(data / "v.nii.gz")
    write_csv(data / "notes.txt", "no image")
    return data


@pytest.fixture
def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose headers are read, as the scan hands them out."""
    found: list[str] = []
    known = Journal.add

    def add(self: Journal, number: int, root: str, path: str, member: str | None, kept: list) -> None:
        found.append(path)
        known(self, number, root, path, member, kept)

    monkeypatch.setattr(Journal, "add", add)
    return found


def same(first: Manifest, second: Manifest) -> bool:
    return first.table.equals(second.table) and first.rejects == second.rejects


def test_a_second_scan_reads_only_what_is_new_or_changed(archive: Path, tmp_path: Path, read_paths: list[str]) -> None:
    journal = tmp_path / "cohort.scan"
    first = scan([archive], key=KEY, journal=journal)
    assert len(read_paths) == 8
    read_paths.clear()
    assert same(scan([archive], key=KEY, journal=journal), first)
    assert read_paths == []
    write_dicom(archive / "1.dcm", PatientID="CHANGED", size=(9, 9))
    write_dicom(archive / "7.dcm", PatientID="NEW")
    (archive / "2.dcm").unlink()
    os.utime(archive / "3.dcm", ns=(1, 1))
    again = scan([archive], key=KEY, journal=journal)
    assert sorted(read_paths) == ["1.dcm", "3.dcm", "7.dcm"]
    assert same(again, scan([archive], key=KEY))
    assert "2.dcm" not in set(again.column("path"))


def test_files_that_vanish_leave_the_journal(archive: Path, tmp_path: Path) -> None:
    journal = tmp_path / "cohort.scan"
    scan([archive], key=KEY, journal=journal)
    (archive / "2.dcm").unlink()
    scan([archive], key=KEY, journal=journal)
    assert sorted(set(table_of(journal)["path"].to_pylist())) == sorted(path.name for path in archive.iterdir())


def table_of(journal: Path) -> pa.Table:
    return pa.concat_tables([pa.ipc.open_file(part).read_all() for part in journal.glob("*.arrow")])


@pytest.mark.parametrize("change", [{"key": IdentityKey(b"o" * 32)}, {"plane": "sagittal"}])
def test_what_was_read_in_another_way_is_read_anew(
    archive: Path, tmp_path: Path, read_paths: list[str], change: dict
) -> None:
    journal = tmp_path / "cohort.scan"
    scan([archive], key=KEY, journal=journal)
    read_paths.clear()
    again = scan([archive], journal=journal, **({"key": KEY} | change))
    assert len(read_paths) == 8
    assert same(again, scan([archive], **({"key": KEY} | change)))


def test_a_damaged_part_of_the_journal_is_read_anew(archive: Path, tmp_path: Path) -> None:
    journal = tmp_path / "cohort.scan"
    first = scan([archive], key=KEY, journal=journal)
    (part,) = journal.glob("*.arrow")
    part.write_bytes(part.read_bytes()[:200])
    assert same(scan([archive], key=KEY, journal=journal), first)


def test_the_journal_holds_no_identifier(archive: Path, tmp_path: Path) -> None:
    scan([archive], key=KEY, journal=tmp_path / "cohort.scan")
    text = str(table_of(tmp_path / "cohort.scan").to_pylist())
    assert KEY.hash("patient", "PATIENT3") in text
    assert "PATIENT3" not in text
    assert "1.2.3.4" not in text


def test_two_scans_at_once_do_not_share_a_journal(archive: Path, tmp_path: Path) -> None:
    scan([archive], key=KEY, journal=tmp_path / "cohort.scan")
    other = Journal(tmp_path / "cohort.scan", {})
    with pytest.raises(InputError, match="another scan is writing"):
        scan([archive], key=KEY, journal=tmp_path / "cohort.scan")
    other.close()
    scan([archive], key=KEY, journal=tmp_path / "cohort.scan")


KILLED = """
import os, signal, sys
from pathlib import Path
from medino.data.scanning import journal
from medino.cli.main import main

journal.SEGMENT_ROWS = 7
written = journal.Journal.write
def write(self):
    written(self)
    if len(self.segments) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
journal.Journal.write = write
main(["scan", sys.argv[2], "-o", sys.argv[3], "--workers", "2"])
"""


def test_a_scan_that_is_killed_goes_on_where_it_was(tmp_path: Path, read_paths: list[str]) -> None:
    data, output = tmp_path / "data", tmp_path / "out" / "cohort.parquet"
    for number in range(40):
        write_png(data / f"{number:02d}.png", size=(6 + number % 3, 8))
    for parts in (1, 2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(parts), str(data), str(output)], capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert not output.exists()
    key = output.parent / "medino.key"
    manifest = scan([data], key=key, journal=output.with_suffix(".scan"))
    assert len(read_paths) == 40 - 7 - 7
    assert same(manifest, scan([data], key=key))


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_damages_nothing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    journal = tmp_path / "cohort.scan"
    first = scan([archive], key=KEY, journal=journal)
    before = {path.name: path.read_bytes() for path in journal.iterdir()}
    write_dicom(archive / "new.dcm", PatientID="NEW")
    with monkeypatch.context() as patched:

        def no_room(descriptor: int) -> None:
            raise OSError(full, os.strerror(full))

        patched.setattr(os, "fsync", no_room)
        with pytest.raises(InputError, match=os.strerror(full)):
            scan([archive], key=KEY, journal=journal)
    assert {path.name: path.read_bytes() for path in journal.iterdir()} == before
    assert len(scan([archive], key=KEY, journal=journal)) == len(first) + 1


LIMITED = """
import resource, sys
from medino.cli.main import main
from medino.data.workers.nursery import nursery

nursery(decodes=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(["scan", sys.argv[2], "-o", sys.argv[3], "--workers", "1"]))
"""


@pytest.mark.parametrize("room", [1000, 12_000])
def test_a_disk_that_fills_up_is_one_sentence_and_the_manifest_stays(archive: Path, tmp_path: Path, room: int) -> None:
    output = tmp_path / "out" / "cohort.parquet"

    def run(room: int) -> subprocess.CompletedProcess:
        arguments = [sys.executable, "-c", LIMITED, str(room), str(archive), str(output)]
        return subprocess.run(arguments, capture_output=True, text=True)

    assert run(10**9).returncode == 0
    before = output.read_bytes(), len(Manifest.read(output).rejects)
    for number in range(100):
        write_dicom(archive / f"more{number}.dcm", PatientID=f"{number}")
    done = run(room)
    assert done.returncode == 2
    line, *more = [line for line in done.stderr.splitlines() if "warning" not in line]
    assert not more, done.stderr
    assert "can't be written (File too large)" in line
    assert (output.read_bytes(), len(Manifest.read(output).rejects)) == before
    assert run(10**9).returncode == 0
    assert len(Manifest.read(output)) == 6 + 6 + 100
