"""What `data_manifest` has a process of its own do with a manifest; imports are late, for they count in its memory."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOOKUPS = 2_000
"""Rows that are asked for at random."""


def report(step: Callable[[str], dict[str, float]], path: str) -> None:
    """Print what a step measures as JSON."""
    print(json.dumps(step(path)))


def pyarrow(path: str) -> dict[str, float]:
    """The yardstick: the columns of the file, as pyarrow reads them by itself."""
    import pyarrow.parquet as pq

    _, seconds = _timed(lambda: pq.read_table(path))
    return {"seconds": seconds, "megabytes": _peak()}


def read(path: str) -> dict[str, float]:
    """`Manifest.read`, and then what is asked of a manifest."""
    import numpy as np

    from medino.core import numpy_generator
    from medino.data.manifest import Manifest

    manifest, seconds = _timed(lambda: Manifest.read(path))
    found = {"seconds": seconds, "megabytes": _peak()}
    rows = numpy_generator(0, "lookups").integers(0, len(manifest), LOOKUPS).tolist()
    _, looked_up = _timed(lambda: [manifest.sample(row) for row in rows])
    _, select = _timed(lambda: manifest.select(np.arange(len(manifest)) % 5 > 0))
    _, fingerprint = _timed(lambda: manifest.fingerprint)
    return found | {
        "sample_microseconds": looked_up / LOOKUPS * 1e6,
        "select": select,
        "fingerprint": fingerprint,
    }


def start(path: str) -> dict[str, float]:
    """All that training does with a manifest before it reads the first image."""
    from medino.data import PixelDataset, StepBatchSampler
    from medino.ssl.datamodule import PretrainingData

    before = _peak()

    def until_first_addresses() -> PretrainingData:
        data = PretrainingData(path)
        PixelDataset(data.manifest)
        table = data.manifest.table
        sampler = StepBatchSampler(table["patient"], 64, 10_000, 0, "patients", series=table["series"])
        next(iter(sampler))
        return data

    data, seconds = _timed(until_first_addresses)
    found = {"seconds": seconds, "megabytes": _peak(), "megabytes_before": before}
    _, neighbours = _timed(lambda: PixelDataset(data.manifest, neighbours=True))
    _, recorded = _timed(lambda: data.record_rejects({data.sample_id(0): "cut short"}))
    return found | {"neighbours": neighbours, "record_rejects": recorded}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def _peak() -> float:
    """Most memory that this process has had, MB. `getrusage` would count what its parent had when it started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
