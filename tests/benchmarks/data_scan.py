"""How fast a scan reads headers beside a loop of pydicom, and how much memory a million rows take.

The files are variants of real ones: 10 000 with UIDs of their own, in series, as long as they were but without their
pixels, which neither side reads. The yardstick is what anyone would write: `pydicom.dcmread` before the pixels and the
tags that a manifest keeps. Both are timed without the start of Python and the import of their library; the scan with
the start of its workers, its journal and the writing of the manifest. The whole command is timed besides.

For the memory a million empty files are walked through, and only the reading of the header is replaced by a made-up
one: pool, journal, table and both Parquet files are those of any scan.
"""

import hashlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pydicom

from medino.data import scan
from medino.data.readers.kept import HASHED_TAGS, KEPT_TAGS
from medino.data.workers.nursery import close_nurseries

FILES = 10_000
ROWS = 1_000_000
PROCESSES = 2
TURNS = 3
SHARED = Path(os.environ.get("MEDINO_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

TAGS = sorted({*HASHED_TAGS.values(), *(name for names in KEPT_TAGS.values() for name in names)})
"""What the manifest's columns are made of."""


def measure() -> dict[str, float]:
    """Files per second of both sides and their ratio; the memory of a million rows, MB."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        count = write_archive(archive, FILES)
        loops, scans = [], []
        for turn in range(TURNS):
            loops.append(_seconds(lambda: pydicom_loop(archive)))
            scans.append(_seconds(partial(medino_scan, archive, Path(folder) / f"out{turn}")))
        of_loop, of_scan = count / statistics.median(loops), count / statistics.median(scans)
        ratio = statistics.median(one / other for one, other in zip(loops, scans, strict=True))
        command = count / _seconds(lambda: scan_command(archive))
        again = count / _seconds(lambda: scan_command(archive))
        million = measure_memory(Path(folder))
    return {
        "files": count,
        "processes": PROCESSES,
        "pydicom, files per second": of_loop,
        "medino scan, files per second": of_scan,
        "ratio (median of the turns)": ratio,
        "the whole command, files per second": command,
        "the same command again, files per second": again,
        **million,
    }


def write_archive(folder: Path, count: int) -> int:
    """Variants of the real series and of the zoo: seven in ten are slices of series, as in a hospital.

    Each copy of a series has a study, series and SOP instances of its own.
    """
    series = [sorted((SHARED / name).iterdir()) for name in ("series_ct_head_ge", "series_mr_brain")]
    zoo = [[path] * 4 for path in sorted((SHARED / "dicom_zoo").iterdir()) if _is_plain(path)]
    written = copies = 0
    for number in range(count):
        for group in (*series * 8, *zoo[number % 4 :: 4]):
            below = folder / f"{number:03d}" / f"{written:06d}"
            below.mkdir(parents=True)
            copies += 1
            for path in group:
                _write_variant(path, below / f"{written:06d}.dcm", written, copies)
                written += 1
                if written == count:
                    return written
    return written


def _is_plain(path: Path) -> bool:
    """Whether a file of the zoo is an image of one frame."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        return "Rows" in header and int(header.get("NumberOfFrames") or 1) == 1
    except Exception:
        return False


_STARTS: dict[Path, tuple[bytes, int, list[bytes]]] = {}

_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


def _write_variant(source: Path, path: Path, number: int, copy: int) -> None:
    """A copy with other UIDs of instance, series and study and no pixels: a hole of their length stands for them."""
    if source not in _STARTS:
        with source.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            end = file.tell() + 64
        data = source.read_bytes()
        _STARTS[source] = data[:end], len(data), [str(header.get(name, "")).encode() for name in _UIDS]
    start, length, uids = _STARTS[source]
    for uid, value in zip(uids, (number, copy, copy), strict=True):
        if len(uid) > 12:
            start = start.replace(uid, uid[:-7] + f"{value + 1_000_000:07d}".encode())
    with path.open("wb") as file:
        file.write(start)
        file.truncate(length)


def pydicom_loop(archive: Path) -> None:
    """The yardstick."""
    for path in sorted(path for path in archive.rglob("*.dcm")):
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        for name in TAGS:
            dataset.get(name)


def medino_scan(archive: Path, out: Path) -> None:
    """A scan with fresh workers, journal and manifest included."""
    close_nurseries()
    scan([archive], key=out / "key", workers=PROCESSES, journal=out / "cohort.scan").write(out / "cohort.parquet")


def scan_command(archive: Path) -> None:
    """The whole of `medino scan`."""
    arguments = [
        "scan",
        str(archive),
        "-o",
        str(archive.parent / "out" / "cohort.parquet"),
        "--workers",
        str(PROCESSES),
    ]
    subprocess.run([sys.executable, "-m", "medino.cli.main", *arguments], check=True, capture_output=True)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_memory(folder: Path, rows: int = ROWS) -> dict[str, float]:
    """A scan of so many generated rows in a process of its own, by the peak of its memory."""
    # By its module's name, by which the workers find the made-up reading too.
    code = "import sys; from tests.benchmarks.data_scan import *; scan_generated(Path(sys.argv[1]), int(sys.argv[2]))"
    command = [sys.executable, "-c", code, str(folder / "million"), str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    return json.loads(done.stdout.splitlines()[-1])


def scan_generated(folder: Path, rows: int) -> None:
    """Walk `rows` empty files in series of 200, make up their headers, and print time and memory as JSON."""
    from medino.cli.main import main as command

    for number in range(rows):
        below = folder / "archive" / f"patient-{number // 1000:06d}" / f"series-{number // 200:06d}"
        if number % 200 == 0:
            below.mkdir(parents=True)
        os.close(os.open(below / f"image-{number:08d}.dcm", os.O_CREAT))
    import_module("medino.data.scanning.scan").kept_of_file = made_up  # type: ignore[attr-defined]
    started = time.perf_counter()
    arguments = [str(folder / "archive"), "-o", str(folder / "c.parquet"), "--workers", str(PROCESSES)]
    if command(["scan", *arguments]) != 0:
        raise SystemExit(1)
    found = {
        "generated rows": rows,
        "their seconds": time.perf_counter() - started,
        "their peak memory, MB": peak_memory(),
    }
    print(json.dumps(found))


def peak_memory() -> float:
    """The most memory that this process has held, MB; `ru_maxrss` begins with what its parent held."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def made_up(key: Any, settings: Any, task: tuple[str, str | None]) -> list[tuple]:
    """Stands for `medino.data.scanning.headers.kept_of_file`: a slice of a CT."""
    from medino.data.readers.description import FACTS

    number = int(Path(task[0]).stem.rpartition("-")[2])
    facts = dict.fromkeys(FACTS) | {
        "format": "dicom",
        "frame": 0,
        "modality": "CT",
        "sop_class": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax": "1.2.840.10008.1.2.4.70",
        "photometric": "MONOCHROME2",
        "rows": 512,
        "columns": 512,
        "samples_per_pixel": 1,
        "bits_stored": 12,
        "spacing_row_mm": 0.7,
        "spacing_column_mm": 0.7,
        "slice_position_mm": float(number % 200),
        "slice_thickness_mm": 1.25,
        "position_mm": [-180.0, -180.0, float(number % 200)],
        "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "age": "65",
        "sex": "F",
        "manufacturer": "Acme",
        "manufacturer_model": f"model {number // 200 % 7}",
        "body_part": "CHEST",
        "stack": "type ORIGINAL PRIMARY AXIAL",
    }
    hashed = partial(_digest, number)
    identifiers = (hashed(1000), hashed(400), hashed(200), hashed(1), hashed(401))
    return [(524_288, number, None, *identifiers, *(facts[name] for name in FACTS))]


def _digest(number: int, per: int) -> str:
    return hashlib.blake2b(f"{per}/{number // per}".encode(), digest_size=16).hexdigest()


def tables(found: dict[str, float]) -> str:
    """What was measured, as a table of the page."""
    values = {name: f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" for name, value in found.items()}
    rows = [f"| {name} | {value} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---:|", *rows])


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    logging.disable()
    print(tables(measure()))


if __name__ == "__main__":
    main()
