"""`medino pack`: shards and a manifest that every other verb takes; survives kills, full disks and damage."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from medino.cli.main import main
from medino.core import RunFolder, read_provenance
from medino.data import Manifest, rejects_path, scan
from medino.features import FeatureTable

SMALL_SHARDS = "import medino.data.pack.plan as plan; plan.SHARD_BYTES = 5000"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A manifest of sixteen images of 48 x 40 pixels."""
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(16):
        values = generator.integers(0, 2**16, (48, 40), dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / "images" / f"{number:02d}.png")
    manifest = scan([tmp_path / "images"], key=tmp_path / "key")
    manifest.with_column("split", ["train"] * 16).write(tmp_path / "cohort.parquet")
    return tmp_path / "cohort.parquet"


def pack(cohort: Path, *more: object) -> Path:
    """Pack into `out` beside the cohort; the packed manifest."""
    assert main(["pack", str(cohort), "-o", str(cohort.parent / "out"), *map(str, more)]) == 0
    return cohort.parent / "out" / "cohort.parquet"


def damage(shard: Path, row: int) -> None:
    """Turn one byte of a row's pixels over."""
    data = bytearray(shard.read_bytes())
    pixels = pa.ipc.open_file(pa.py_buffer(bytes(data))).get_batch(row).column(2)[0].as_buffer().to_pybytes()
    place = bytes(data).index(pixels) + len(pixels) // 2
    data[place] ^= 0xFF
    shard.write_bytes(data)


def features(manifest: Path, *more: str) -> FeatureTable:
    output = manifest.with_name("features.parquet")
    words = ["--backbone", "mini", "--size", "32", *more]
    assert main(["embed", "--manifest", str(manifest), "-o", str(output), *words]) == 0
    return FeatureTable.read(output)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("medino pack: error: ")
    return line


def test_the_command_says_what_it_needs_and_what_came_of_it(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = cohort.parent / "images" / "07.png"
    broken.write_bytes(broken.read_bytes()[:200])
    packed = Manifest.read(pack(cohort, "--short_side", 20))
    said = " ".join(capsys.readouterr().out.split())
    # 24 x 20 pixels of two bytes.
    assert "packing 16 images into 1 shards: at most 15.4 KB, usually about half;" in said
    assert "packed 15 images in 1 shards" in said
    assert "in 16 files before" in said
    assert "15 images resized, then rounded to the steps of their own stored numbers" in said
    assert "rejected 1 x " in said
    assert str(cohort.parent / "out" / "cohort.parquet") in said
    assert (len(packed), len(packed.rejects)) == (15, 1)
    assert {(row.rows, row.columns) for row in packed.samples()} == {(24, 20)}


def test_features_of_packed_images_are_those_of_their_files(cohort: Path) -> None:
    plain, packed = features(cohort), features(pack(cohort))
    assert packed.sample_ids.tolist() == plain.sample_ids.tolist()
    for block, vectors in plain.blocks.items():
        assert np.array_equal(packed.blocks[block], vectors)
    # So that nobody mixes the two unawares.
    assert packed.manifest != plain.manifest


def test_neighbouring_slices_of_packed_volumes_give_the_same_features(shared_data: Path, tmp_path: Path) -> None:
    scan([shared_data / "series_ct_head_ge"]).write(tmp_path / "cohort.parquet")
    words = ("--intensity.channels", "neighbours")
    plain = features(tmp_path / "cohort.parquet", *words)
    packed = features(pack(tmp_path / "cohort.parquet"), *words)
    for block, vectors in plain.blocks.items():
        assert np.array_equal(packed.blocks[block], vectors)


def test_a_damaged_row_is_named_and_embedding_goes_on(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pack(cohort)
    damage(path.parent / "images-00000.arrow", 5)
    lost = Manifest.read(path).sample(5)
    table = features(path)
    assert lost.sample_id not in table.sample_ids
    assert len(table) == 15
    (reject,) = Manifest.read(path).rejects
    assert (reject.path, reject.member) == ("images-00000.arrow", "5")
    assert "checksum" in reject.reason
    assert "1 images could not be decoded" in capsys.readouterr().out
    assert len(features(path)) == 15


def test_a_damaged_row_is_counted_and_training_goes_on(cohort: Path) -> None:
    path = pack(cohort)
    damage(path.parent / "images-00000.arrow", 2)
    lost = Manifest.read(path).sample(2)
    settings = {
        "trainer": {"max_steps": 6, "accelerator": "cpu", "log_every_n_steps": 1},
        "model": {
            "class_path": "medino.ssl.DINOv2",
            "init_args": {
                "backbone_settings": {"embed_dim": 24, "depth": 2, "num_heads": 2, "image_size": 32},
                "prototypes": 32,
                "head_hidden_dim": 32,
                "head_bottleneck_dim": 16,
            },
        },
        "data": {
            "class_path": "medino.ssl.PretrainingData",
            "init_args": {
                "manifest": str(path),
                "batch_size": 4,
                "global_size": 32,
                "local_size": 16,
                "num_local_crops": 2,
            },
        },
    }
    config = cohort.parent / "fit.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    run = RunFolder(cohort.parent / "run")
    assert main(["fit", "--config", str(config), "-o", str(run.path)]) == 0
    with run.rejects.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["sample_id"] for row in rows} == {lost.sample_id}
    assert "checksum" in rows[0]["reason"]
    assert [reject.member for reject in Manifest.read(path).rejects] == ["2"]
    assert read_provenance(run)["fingerprints"]["manifest"] != Manifest.read(cohort).fingerprint


def test_a_pack_that_was_killed_goes_on_to_the_same_bytes(cohort: Path) -> None:
    until_the_third = (
        f"{SMALL_SHARDS}; import signal, medino.data.pack.packing as packing; write = packing.write_bytes; "
        "packing.write_bytes = lambda root, name, data: "
        "signal.pause() if name == 'images-00002.arrow' else write(root, name, data); "
        "import sys; from medino.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    fast = f"{SMALL_SHARDS}; import sys; from medino.cli.main import main; sys.exit(main(sys.argv[1:]))"
    killed, whole = cohort.parent / "killed", cohort.parent / "whole"
    words = ["pack", str(cohort), "--short_side", "30", "-o"]
    process = subprocess.Popen(
        [sys.executable, "-c", until_the_third, *words, str(killed), "--workers", "2"], stdout=subprocess.DEVNULL
    )
    patience = time.monotonic() + 300
    while not (killed / "images-00001.arrow").is_file() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    process.kill()
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in killed.glob("images-*.arrow")}
    assert len(finished) == 2
    assert not (killed / "cohort.parquet").exists()
    said = subprocess.run(
        [sys.executable, "-c", fast, *words, str(killed)], check=True, capture_output=True, text=True
    ).stdout
    subprocess.run([sys.executable, "-c", fast, *words, str(whole)], check=True, capture_output=True)
    assert f"{len(finished)} were there already" in said
    assert not list(killed.glob(".*"))
    shards = {path.name: path.read_bytes() for path in whole.glob("*.arrow")}
    assert len(shards) == 8
    assert {path.name: path.read_bytes() for path in killed.glob("*.arrow")} == shards
    assert all((killed / name).stat().st_mtime_ns == when for name, when in finished.items())
    assert Manifest.read(killed / "cohort.parquet").table.equals(Manifest.read(whole / "cohort.parquet").table)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(cohort: Path) -> None:
    # The largest file that the process may write stands for the end of the disk; Python turns the signal into an error.
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY)); "
        "import sys; from medino.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "pack", str(cohort), "-o", str(cohort.parent / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("packing images")]
    assert line.startswith("medino pack: error: ")
    assert "free some space, then run the command again" in line
    assert list((cohort.parent / "out").iterdir()) == []


def test_shards_elsewhere_get_their_manifest_beside_the_cohort(cohort: Path) -> None:
    assert main(["pack", str(cohort), "-o", "memory://somewhere/else", "--short_side", "16"]) == 0
    packed = Manifest.read(cohort.with_name("cohort.packed.parquet"))
    assert packed.roots[0] == "memory://somewhere/else"
    assert len(features(cohort.with_name("cohort.packed.parquet"))) == 16


def test_what_cannot_be_meant_is_refused_in_one_line(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(cohort), "-o", str(cohort.parent)]) == 2
    assert "would replace the cohort's own" in error_line(capsys)
    assert main(["pack", str(cohort), "-o", str(cohort.parent / "out"), "--manifest", "packed.csv"]) == 2
    assert "ends in .parquet" in error_line(capsys)
    assert main(["pack", str(cohort), "-o", str(cohort.parent / "out"), "--short_side", "0"]) == 2
    assert "short side of 0" in error_line(capsys)
    (cohort.parent / "images").rename(cohort.parent / "unmounted")
    assert main(["pack", str(cohort), "-o", str(cohort.parent / "out")]) == 2
    assert "is not there" in error_line(capsys)
    assert not (cohort.parent / "out").exists()


def test_the_cohort_itself_stays_as_it_is(cohort: Path) -> None:
    before = (cohort.read_bytes(), rejects_path(cohort).read_bytes())
    pack(cohort, "--short_side", 16)
    assert (cohort.read_bytes(), rejects_path(cohort).read_bytes()) == before
