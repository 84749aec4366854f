"""A pack on the workers of a Dask scheduler writes the same bytes, also where a worker is killed on the way."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from PIL import Image

from medino.data import scan
from medino.data.pack import packing, plan
from medino.data.pack.packing import pack_manifest
from medino.data.pack.plan import PackPlan
from medino.data.workers import Workers

pytestmark = pytest.mark.slow


def test_a_worker_killed_on_the_way_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 200_000)
    (tmp_path / "images").mkdir()
    generator = np.random.default_rng(0)
    for number in range(150):
        values = generator.integers(0, 2**16, (200, 150), dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "images" / f"{number:03d}.png")
    broken = tmp_path / "images" / "077.png"
    broken.write_bytes(broken.read_bytes()[:999])
    manifest = scan([tmp_path / "images"], key=tmp_path / "key")
    here = pack_manifest(PackPlan(manifest, 140), str(tmp_path / "here"))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as cluster,
        Client(cluster) as client,
    ):
        written, killed = packing.write_bytes, []

        def kills_first(*given: object) -> None:
            if not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)
            written(*given)

        monkeypatch.setattr(packing, "write_bytes", kills_first)
        over_there = Workers(1, scheduler=cluster.scheduler_address)
        there = pack_manifest(PackPlan(manifest, 140), str(tmp_path / "there"), over_there)
    assert killed
    assert there.rejects == here.rejects
    assert there.manifest.table.equals(here.manifest.table)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert len(names) > 10
    assert names == sorted(path.name for path in (tmp_path / "there").iterdir())
    assert all((tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes() for name in names)
