"""What a manifest of a million rows costs where it is used: the time until training can start, memory, single rows.

Two manifests, filled as a scan fills them: slices of CTs in series of 250, and radiographs, each a series of its own,
so that hashes hardly repeat. Each is read in processes of their own, once by pyarrow alone (the yardstick: the file's
columns and no more), once by `Manifest.read`, and once by all that training does before its first batch.

Run alone: `python -m tests.benchmarks.data_manifest`.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medino.core import numpy_generator
from medino.data.manifest import SAMPLE_SCHEMA, Manifest

ROWS = 1_000_000

KINDS = {"slices of CTs": 250, "radiographs": 1}
"""Images of a series."""


def measure(rows: int = ROWS) -> dict[str, Any]:
    """Write both manifests and use them; for each the size of its file, and seconds, MB and microseconds by step."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, images in KINDS.items():
            path = Path(folder) / f"{images}.parquet"
            manifest = generated(rows, images, Path(folder))
            written = _seconds(lambda manifest=manifest, path=path: manifest.write(path))
            steps = {name: _in_a_process(name, path) for name in ("pyarrow", "read", "start")}
            found[kind] = {"file_megabytes": path.stat().st_size / 1e6, "write": written, **steps}
    return {"rows": rows, "kinds": found}


def generated(rows: int, images: int, root: Path) -> Manifest:
    """A manifest with the columns of a scan of DICOM, `images` rows a series, three series a patient."""
    number = np.arange(rows)
    series, place = number // images, number % images
    generator = numpy_generator(0, "million rows", images)

    def hashes(count: int) -> pa.Array:
        return pa.array([generator.bytes(16).hex() for _ in range(count)])

    def repeated(codes: np.ndarray, values: Any) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), values)

    def lists(values: np.ndarray) -> pa.Array:
        ends = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
        return pa.ListArray.from_arrays(ends, pa.array(values.astype(np.float32).ravel()))

    position = -300 + 1.25 * place + series % 31 / 10
    columns: dict[str, Any] = {
        "sample_id": hashes(rows),
        "path": pa.array(
            [
                f"{one // 3:06d}/{one:07d}/IM{at:05d}.dcm"
                for one, at in zip(series.tolist(), place.tolist(), strict=True)
            ]
        ),
        "file_bytes": pa.array(generator.integers(300_000, 600_000, rows)),
        "patient": repeated(series // 3, hashes(int(series[-1]) // 3 + 1)),
        "study": repeated(series, hashes(int(series[-1]) + 1)),
        "series": repeated(series, hashes(int(series[-1]) + 1)),
        "instance": hashes(rows),
        "age": repeated(series // 3 % 90, [str(age) for age in range(90)]),
        "slice_position_mm": pa.array(position),
        "position_mm": lists(np.stack([series % 97 - 200.0, series % 89 - 200.0, position], axis=1)),
        "orientation": lists(np.tile([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (rows, 1))),
        "manufacturer_model": repeated(series % 7, [f"model {model}" for model in range(7)]),
        "split": repeated(series // 3 % 10 // 8, ["train", "validation"]),
    }
    same: dict[str, Any] = {"root": 0, "frame": 0, "rows": 512, "columns": 512, "samples_per_pixel": 1}
    same |= {"bits_stored": 12, "spacing_row_mm": 0.7, "spacing_column_mm": 0.7, "slice_thickness_mm": 1.25}
    same |= {"format": "dicom", "patient_unit": "patient", "modality": "CT", "sop_class": "1.2.840.10008.5.1.4.1.1.2"}
    same |= {"transfer_syntax": "1.2.840.10008.1.2.4.70", "photometric": "MONOCHROME2", "sex": "F"}
    columns |= {name: pa.repeat(value, rows) for name, value in same.items()}
    arrays = [columns.get(field.name, pa.nulls(rows)).cast(field.type) for field in SAMPLE_SCHEMA]
    return Manifest(pa.Table.from_arrays(arrays, schema=SAMPLE_SCHEMA), roots=(root,))


def _in_a_process(name: str, path: Path) -> dict[str, float]:
    """What a step of `data_manifest_steps` takes in a process that does nothing else."""
    code = f"from tests.benchmarks import data_manifest_steps as steps; steps.report(steps.{name}, sys.argv[1])"
    command = [sys.executable, "-c", f"import sys; {code}", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def tables(found: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    kinds = found["kinds"]
    lines = [f"| {found['rows']:,} rows | {' | '.join(kinds)} |", f"|---|{'--:|' * len(kinds)}"]
    texts: dict[str, Callable[[dict[str, Any]], str]] = {
        "the file, MB": lambda kind: f"{kind['file_megabytes']:.0f}",
        "`Manifest.write`, s": lambda kind: f"{kind['write']:.1f}",
        "pyarrow alone reads it: s, MB of the process": lambda kind: _cost(kind["pyarrow"]),
        "`Manifest.read`: s, MB of the process": lambda kind: _cost(kind["read"]),
        "`Manifest.sample` at random, microseconds": lambda kind: f"{kind['read']['sample_microseconds']:.0f}",
        "`Manifest.select` of four rows in five, s": lambda kind: f"{kind['read']['select']:.2f}",
        "`Manifest.fingerprint`, s": lambda kind: f"{kind['read']['fingerprint']:.2f}",
        "`PretrainingData` until its first addresses: s, MB with torch": lambda kind: _cost(kind["start"]),
        "of these MB, torch and medino before the manifest": lambda kind: f"{kind['start']['megabytes_before']:.0f}",
        "`PixelDataset` with neighbouring slices, s": lambda kind: f"{kind['start']['neighbours']:.1f}",
        "`PretrainingData.record_rejects` of one image, s": lambda kind: f"{kind['start']['record_rejects']:.1f}",
    }
    lines += [f"| {name} | {' | '.join(text(kind) for kind in kinds.values())} |" for name, text in texts.items()]
    return "\n".join(lines)


def _cost(step: dict[str, float]) -> str:
    return f"{step['seconds']:.2f}, {step['megabytes']:.0f}"


if __name__ == "__main__":
    print(tables(measure()))
