"""Shards give any row as it was packed, and a reason where it was damaged, whatever was."""

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medino.core import UnreadableImageError
from medino.data import Pixels, Source, Window
from medino.data.pack.rows import image_of, image_row, mask_of, mask_row
from medino.data.pack.shards import read_row, shard_bytes, shard_facts


def pixels(number: int) -> Pixels:
    """An image with something in each field."""
    generator = torch.Generator().manual_seed(number)
    valid = torch.rand(20, 30, generator=generator) > 0.3
    return Pixels(
        values=torch.randint(-1000, 1000, (1, 20, 30), generator=generator).float(),
        full_range=(-1024.0, 3071.0),
        spacing=(0.7, 1.0 / 3.0),
        box=(0, 1, 20, 30),
        windows=(Window(40, 400), Window(1.5, 0.1, "sigmoid"), Window(0, 8, "table", (0.0, 0.25, 1.0))),
        inverted=True,
        modality="CT",
        valid=valid,
        body_part="HEAD",
    )


def same(one: Pixels, other: Pixels) -> bool:
    """Whether two images are equal in all fields."""
    pairs = ((getattr(one, each.name), getattr(other, each.name)) for each in dataclasses.fields(Pixels))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    rows = [image_row(f"sample{number}", pixels(number), None) for number in range(5)]
    path = tmp_path / "images-00000.arrow"
    path.write_bytes(shard_bytes(rows, {"fingerprint": "f", "rejects": {"3": "broken"}}))
    return path


def read(path: Path, row: int) -> Pixels:
    found = read_row(Source(path, str(row)))
    return image_of(found.facts, found.pixels, found.valid)


def test_every_field_of_every_row_comes_back(shard: Path) -> None:
    for number in (4, 0, 2, 1, 3):
        assert same(read(shard, number), pixels(number))


def test_what_is_not_known_stays_unknown(tmp_path: Path) -> None:
    plain = Pixels(torch.zeros(3, 4, 5), (0.0, 255.0))
    path = tmp_path / "shard.arrow"
    path.write_bytes(shard_bytes([image_row("s", plain, None)], {}))
    assert same(read(path, 0), plain)


def test_a_shard_is_an_arrow_file_that_other_programs_read(shard: Path) -> None:
    table = pa.ipc.open_file(pa.memory_map(str(shard))).read_all()
    assert table["sample_id"].to_pylist() == [f"sample{number}" for number in range(5)]
    row = table.to_pylist()[2]
    parts = (row["sample_id"].encode(), row["facts"].encode(), row["pixels"], row["valid"])
    assert row["checksum"] == zlib.crc32(b"".join(parts))


def test_a_shard_says_what_it_was_told_to_say(shard: Path) -> None:
    assert shard_facts(Source(shard))["rejects"] == {"3": "broken"}


def test_masks_keep_every_number(tmp_path: Path) -> None:
    masks = [torch.tensor([[0, 1], [2, 255]]), torch.tensor([[-(2**40), 3]]), torch.tensor([[70000]])]
    path = tmp_path / "masks-00000.arrow"
    path.write_bytes(shard_bytes([mask_row("s", mask, None) for mask in masks], {}))
    for number, mask in enumerate(masks):
        found = read_row(Source(path, str(number)))
        assert torch.equal(mask_of(found.facts, found.pixels), mask)


def test_any_flipped_byte_is_a_reason_or_leaves_the_row_as_it_was(shard: Path) -> None:
    whole = shard.read_bytes()
    generator = np.random.default_rng(0)
    damaged = 0
    for place in generator.choice(len(whole), 600, replace=False):
        broken = bytearray(whole)
        broken[place] ^= int(generator.integers(1, 256))
        shard.write_bytes(broken)
        for row in range(5):
            try:
                found = read(shard, row)
            except UnreadableImageError:
                damaged += 1
                continue
            assert same(found, pixels(row))
    assert damaged > 300


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.999])
def test_a_truncated_shard_is_a_reason_even_while_it_is_open(shard: Path, share: float) -> None:
    read(shard, 0)
    whole = shard.read_bytes()
    with shard.open("r+b") as file:
        file.truncate(int(len(whole) * share))
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        read(shard, 0)


def test_a_missing_shard_and_a_row_beyond_its_end_are_reasons(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="the file is not there"):
        read(tmp_path / "none.arrow", 0)
    with pytest.raises(UnreadableImageError, match="row 5 is asked for, and the shard has 5"):
        read(shard, 5)


def test_another_arrow_file_and_another_version_are_reasons(tmp_path: Path) -> None:
    other = tmp_path / "other.arrow"
    with pa.ipc.new_file(str(other), pa.schema([("a", pa.int8())])):
        pass
    with pytest.raises(UnreadableImageError, match="no shard"):
        read(other, 0)
    future = tmp_path / "future.arrow"
    table = pa.ipc.open_file(pa.py_buffer(shard_bytes([], {}))).read_all()
    with pa.ipc.new_file(str(future), table.schema.with_metadata({"medino_shard": "99"})):
        pass
    with pytest.raises(UnreadableImageError, match="another version"):
        read(future, 0)


class _Rows(Dataset[torch.Tensor]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 5

    def __getitem__(self, row: int) -> torch.Tensor:
        return read(self.path, row).values


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_read_what_their_parent_has_open(shard: Path, start: str) -> None:
    read(shard, 0)
    loader = DataLoader(_Rows(shard), batch_size=None, num_workers=2, multiprocessing_context=start)
    for _ in range(2):
        assert all(torch.equal(values, pixels(row).values) for row, values in enumerate(loader))
