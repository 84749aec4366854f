"""Shards elsewhere: written to any fsspec location, read row by row over the network or through a local cache."""

import http.server
import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from medino.core import InputError, MedinoError, UnreadableImageError
from medino.data import Manifest, PixelDataset, scan
from medino.data.location import CACHE_VARIABLE, as_root, is_remote
from medino.data.pack import shards
from medino.data.pack.packing import pack_manifest
from medino.data.pack.plan import PackPlan


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, parts of files too, and counts what it sends; fails as often as it is told to."""

    sent = 0
    to_fail = 0

    def do_GET(self) -> None:
        if type(self).to_fail > 0 and "arrow" in self.path:
            type(self).to_fail -= 1
            self.close_connection = True
            self.connection.close()
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
            data = data[start : end + 1]
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        type(self).sent += len(data)

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_response(200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            return None
        self.send_error(404)
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def cohort(tmp_path: Path) -> Manifest:
    """Twenty images of 300 x 300 noise, 180 KB each."""
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(20):
        values = generator.integers(0, 2**16, (300, 300), dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "images" / f"{number:02d}.png")
    return scan([tmp_path / "images"])


@pytest.fixture
def served(cohort: Manifest, tmp_path: Path) -> Iterator[Manifest]:
    """The packed cohort on a web server of this machine."""
    packed = pack_manifest(PackPlan(cohort), str(tmp_path / "web" / "packed")).manifest
    handler = type("Handler", (RangeHandler,), {"sent": 0, "to_fail": 0})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "web"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}/packed"
        manifest = Manifest(packed.table, roots=(root, *packed.roots[1:]), name="served", settings={"handler": handler})
        yield manifest
        server.shutdown()


@pytest.fixture
def memory(cohort: Manifest) -> Iterator[Manifest]:
    """The packed cohort in fsspec's memory."""
    yield pack_manifest(PackPlan(cohort), "memory://bucket/packed/").manifest
    fsspec.filesystem("memory").store.clear()


def check_same(cohort: Manifest, packed: Manifest) -> None:
    sources, images = PixelDataset(cohort), PixelDataset(packed)
    for row in np.random.default_rng(1).permutation(len(packed)):
        assert torch.equal(images[int(row)].values, sources[int(row)].values)


def test_what_a_location_is_can_be_told() -> None:
    assert is_remote("s3://bucket/folder")
    assert is_remote("memory://x")
    assert not is_remote("file:///data/shards")
    assert not is_remote("/data/shards")
    assert as_root("s3://bucket/folder/") == "s3://bucket/folder"
    assert as_root("file:///data/shards") == Path("/data/shards")


def test_a_pack_can_be_written_to_and_read_from_a_store(cohort: Manifest, memory: Manifest, tmp_path: Path) -> None:
    assert memory.roots[0] == "memory://bucket/packed"
    memory.write(tmp_path / "cohort.packed.parquet")
    check_same(cohort, Manifest.read(tmp_path / "cohort.packed.parquet"))


def test_a_pack_to_a_store_goes_on_where_it_was(
    cohort: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medino.data.pack.plan.SHARD_BYTES", 500_000)
    whole = pack_manifest(PackPlan(cohort), str(tmp_path / "out"))
    pack_manifest(PackPlan(cohort), "memory://again")
    store = fsspec.filesystem("memory")
    store.rm("/again/images-00002.arrow")
    store.pipe_file("/again/images-00005.arrow", store.cat_file("/again/images-00005.arrow")[:5000])
    assert pack_manifest(PackPlan(cohort), "memory://again").found == whole.shards - 2
    for path in (tmp_path / "out").iterdir():
        assert store.cat_file(f"/again/{path.name}") == path.read_bytes()
    store.store.clear()


def test_rows_come_over_the_network_one_by_one(cohort: Manifest, served: Manifest) -> None:
    handler = served.settings["handler"]
    values = PixelDataset(served)[17].values
    assert torch.equal(values, PixelDataset(cohort)[17].values)
    # Footer, read-ahead and the row itself; the shard has 3.6 MB.
    assert 180_000 < handler.sent < 1_500_000
    check_same(cohort, served)


def test_a_local_cache_fetches_each_shard_once(
    cohort: Manifest, served: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    check_same(cohort, served)
    (kept,) = (tmp_path / "cache").iterdir()
    size = kept.stat().st_size
    handler = served.settings["handler"]
    assert size <= handler.sent < size + 1000
    shards._open.cache_clear()
    check_same(cohort, served)
    assert handler.sent < size + 1000


def test_worker_processes_read_over_the_network_after_their_parent_did(cohort: Manifest, served: Manifest) -> None:
    images, sources = PixelDataset(served), PixelDataset(cohort)
    assert torch.equal(images[0].values, sources[0].values)
    loader = DataLoader(images, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for row, pixels in enumerate(loader):
        assert torch.equal(pixels.values, sources[row].values)


def test_a_connection_that_is_lost_is_made_again(cohort: Manifest, served: Manifest) -> None:
    images = PixelDataset(served)
    expected = PixelDataset(cohort)[3].values
    served.settings["handler"].to_fail = 2
    assert torch.equal(images[3].values, expected)


def test_a_server_that_stays_away_is_a_reason(served: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.time, "sleep", lambda seconds: None)
    images = PixelDataset(served)
    served.settings["handler"].to_fail = 10**6
    with pytest.raises(UnreadableImageError, match="can't be reached"):
        images[3]


def test_a_location_that_is_gone_is_told_before_anything_is_read(cohort: Manifest, memory: Manifest) -> None:
    images = PixelDataset(memory)
    fsspec.filesystem("memory").rm("/bucket/packed/images-00000.arrow")
    with pytest.raises(UnreadableImageError, match="not there"):
        images[2]
    with pytest.raises(InputError, match="has no images-00000"):
        PixelDataset(memory)


def test_a_protocol_that_nobody_knows_is_refused(cohort: Manifest) -> None:
    with pytest.raises(InputError, match="can't be used"):
        pack_manifest(PackPlan(cohort), "nosuch://bucket/x")


def test_a_location_that_cannot_be_written_is_refused(cohort: Manifest, served: Manifest) -> None:
    with pytest.raises(MedinoError, match=r"can't be written .* what is finished there is kept"):
        pack_manifest(PackPlan(cohort, 77), str(served.roots[0]).replace("/packed", "/elsewhere"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(cohort: Manifest, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(MedinoError, match="can't be written"):
        pack_manifest(PackPlan(cohort), str(tmp_path / "closed" / "out"))
