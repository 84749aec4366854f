"""Reading over a Dask scheduler gives what reading here gives, also where a worker is killed on the way."""

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from worker_tasks import half, half_or_end

from medino.cli.main import main
from medino.core import InputError
from medino.data import Manifest, write_phantom
from medino.data.workers import Limits, Workers, read_all

pytestmark = pytest.mark.slow

LIMITS = Limits(seconds=5.0, megabytes=256)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="CRITICAL"
    ) as started:
        yield started


def test_a_worker_killed_on_the_way_changes_no_answer(cluster: LocalCluster) -> None:
    tasks: list[int | str] = list(range(3000))
    tasks[100] = tasks[1700] = "abort"
    alone = list(read_all(half_or_end, tasks, Workers(1, LIMITS), "reading"))
    answers = read_all(half_or_end, tasks, Workers(1, LIMITS, cluster.scheduler_address), "reading")
    told = list(itertools.islice(answers, 20))
    with Client(cluster) as client:
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    assert told + list(answers) == alone
    assert "crashed on this file (abort)" in str(alone[1700])


def test_an_error_that_is_no_files_comes_back_in_its_own_words(cluster: LocalCluster) -> None:
    with pytest.raises(InputError, match="the setting does not fit"):
        list(read_all(half_or_end, ["input error"], Workers(1, LIMITS, cluster.scheduler_address), "reading"))


def test_a_scan_on_a_cluster_writes_the_same_table(cluster: LocalCluster, tmp_path: Path) -> None:
    write_phantom(tmp_path / "archive", patients=4, seed=0)
    key = tmp_path / "key"
    command = ["scan", str(tmp_path / "archive"), "--key", str(key), "--verify"]
    assert main([*command, "-o", str(tmp_path / "here" / "c.parquet")]) == 0
    over_there = ["--scheduler", cluster.scheduler_address]
    assert main([*command, "-o", str(tmp_path / "there" / "c.parquet"), *over_there]) == 0
    here, there = (Manifest.read(tmp_path / name / "c.parquet") for name in ("here", "there"))
    assert len(here) > 0
    assert there.table.equals(here.table)
    assert there.rejects == here.rejects


def test_a_scheduler_that_does_not_answer_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medino.data.workers.scheduler.CONNECT_SECONDS", 1.0)
    (tmp_path / "image.png").write_bytes(b"")
    command = ["scan", str(tmp_path / "image.png"), "-o", str(tmp_path / "c.parquet")]
    for address in ("tcp://127.0.0.1:9", "nowhere at all"):
        assert main([*command, "--scheduler", address]) == 2
        told = capsys.readouterr().err.strip()
        assert "no Dask scheduler answers" in told
        assert told.count("\n") == 0


def test_dask_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'medino\[dask\]'"):
        list(read_all(half, [1], Workers(1, scheduler="tcp://127.0.0.1:9"), "reading"))
