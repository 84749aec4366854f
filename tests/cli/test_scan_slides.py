"""`medino scan` cuts slides into tiles, draws them, and what follows reads them like any other image."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image
from slide_files import stained, write_dicom_slide, write_tiff

from medino.cli.main import main
from medino.data import Manifest, PixelDataset
from medino.features import FeatureTable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two slides of one patient, one of another, a DICOM slide of two levels, and a plain image."""
    for name in ("TCGA-AA-0001-01", "TCGA-AA-0001-02", "TCGA-BB-0002-01"):
        write_tiff(tmp_path / "data" / f"{name}.svs", [stained(256, 256, seed=len(name))], mpp=0.5)
    image = stained(256, 256)
    write_dicom_slide(tmp_path / "data" / "d" / "fine.dcm", image, mpp=0.5)
    write_dicom_slide(tmp_path / "data" / "d" / "coarse.dcm", image[::2, ::2], mpp=1.0)
    Image.fromarray(image[:64, :64]).save(tmp_path / "data" / "image.png")
    return tmp_path / "data"


def scan(folder: Path, *options: object, name: str = "cohort") -> Manifest:
    output = folder.parent / "out" / f"{name}.parquet"
    assert main(["scan", str(folder), "-o", str(output), *map(str, options)]) == 0
    return Manifest.read(output)


PATTERN = ("--patient_pattern", r"(TCGA-\w\w-\w{4})")


def test_each_tile_is_a_row_of_its_slide_and_its_patient(folder: Path) -> None:
    manifest = scan(folder, "--tiles.mpp", 0.5, "--tiles.size", 64, *PATTERN)
    slides = manifest.select(manifest.column("format") == "slide")
    assert len(slides) == 4 * 4
    assert len(set(slides.column("series"))) == 4
    assert len(set(slides.column("patient"))) == 3
    assert len(set(slides.column("sample_id"))) == 16
    assert set(slides.column("patient_unit")) == {"patient"}
    assert {row.tile_side for row in slides.samples()} == {64}
    (reject,) = manifest.rejects
    assert (reject.path, reject.reason) == (
        "d/coarse.dcm",
        "a coarser level of a slide, or a copy of one: its tiles are read from another file",
    )
    assert manifest.settings["tiles"]["mpp"] == 0.5
    pixels = PixelDataset(slides)[5]
    assert pixels.values.shape == (3, 64, 64)


def test_without_a_resolution_slides_are_rejects_that_say_what_to_give(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    manifest = scan(folder)
    assert set(manifest.column("format")) == {"raster"}
    reasons = {reject.reason for reject in manifest.rejects}
    assert any("--tiles.mpp 0.5, --tiles.magnification 20 or --tiles.level 0" in reason for reason in reasons)
    assert "--tiles.mpp" in " ".join(capsys.readouterr().out.split())


def test_a_second_scan_at_another_resolution_does_not_take_the_first_ones_tiles(folder: Path) -> None:
    first = scan(folder, "--tiles.mpp", 0.5, "--tiles.size", 64)
    second = scan(folder, "--tiles.mpp", 1, "--tiles.size", 64, "--tiles.tissue", 0.2)
    sides = [{row.tile_side for row in each.samples() if row.format == "slide"} for each in (first, second)]
    assert sides == [{64}, {128}]


def test_the_number_of_workers_changes_nothing(folder: Path) -> None:
    options = ("--tiles.level", 0, "--tiles.size", 32, "--key", folder.parent / "key")
    one, two = (scan(folder, *options, "--workers", workers, name=f"with-{workers}") for workers in (1, 2))
    assert one.table.equals(two.table)
    assert one.rejects == two.rejects


def test_options_that_cannot_be_meant_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--tiles.mpp", "0"], ["--tiles.mpp", "1", "--tiles.level", "0"], ["--tiles.nonsense", "1"]):
        assert main(["scan", str(folder), "-o", str(folder.parent / "c.parquet"), *options]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "tiles." in line


def test_thumbnails_are_named_by_hash_and_hold_no_name(folder: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    manifest = scan(folder, "--tiles.mpp", 0.5, "--tiles.size", 64, "--slide_thumbnails", pictures, *PATTERN)
    slides = manifest.select(manifest.column("format") == "slide")
    assert {path.stem for path in pictures.iterdir()} == set(slides.column("series"))
    for path in pictures.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            colours = {tuple(colour) for colour in np.asarray(image.convert("RGB")).reshape(-1, 3)[::7].tolist()}
            assert len(colours) > 50
        assert b"TCGA" not in path.read_bytes()


def test_nothing_but_the_manifest_tells_a_slides_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(folder, "--tiles.mpp", 4, "--tiles.size", 64)
    told = capsys.readouterr()
    assert "TCGA" not in told.out + told.err


def test_real_slides_go_from_scan_to_features(shared_data: Path, tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    for path in (shared_data / "wsi").glob("*.svs"):
        (slides / path.name).symlink_to(path)
    pattern = r"(?i)(tcga-\w\w-\w{4}|cmu-\d)"
    options = ["--tiles.mpp", 2, "--tiles.size", 64, "--tiles.assumed_mpp", 0.5, "--patient_pattern", pattern]
    manifest = scan(slides, *options)
    assert set(manifest.column("format")) == {"slide"}
    assert len(set(manifest.column("patient"))) == 2
    assert not manifest.rejects
    output = tmp_path / "features.parquet"
    words = ["embed", "--manifest", str(tmp_path / "out" / "cohort.parquet"), "-o", str(output), "--backbone", "mini"]
    assert main([*words, "--size", "64", "--workers", "2"]) == 0
    table = FeatureTable.read(output)
    assert (len(table), len(table.failures)) == (len(manifest), 0)
    assert len(manifest) > 40
    row = next(row for row in manifest.samples() if "cmu" in row.path)
    assert row.tile_side == round(64 * 2 / 0.499)
    with tifffile.TiffFile(slides / row.path) as file:
        whole = Image.fromarray(file.series[0].levels[0].asarray())
    edges = (row.tile_left, row.tile_top, row.tile_left + row.tile_side, row.tile_top + row.tile_side)
    expected = np.asarray(whole.resize((64, 64), Image.Resampling.BICUBIC, box=edges)).transpose(2, 0, 1)
    index = [each.sample_id for each in manifest.samples()].index(row.sample_id)
    np.testing.assert_allclose(PixelDataset(manifest)[index].values.numpy(), expected, atol=1)
    facts = json.loads(pq.read_metadata(tmp_path / "out" / "cohort.parquet").metadata[b"settings"])
    assert facts["tiles"]["assumed_mpp"] == 0.5


def test_adapt_takes_slides_and_their_tiles(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["adapt", "--data", str(folder), "-o", str(tmp_path / "run"), "--tiles.mpp", "0.5", "--tiles.size", "32"]
    assert (
        main([*words, "--backbone", "mini", "--steps", "1", "--batch_size", "2", "--patient_pattern", r"TCGA-(\w\w)"])
        == 0
    )
    manifest = Manifest.read(tmp_path / "run" / "cohort" / "cohort.parquet")
    assert (manifest.column("format") == "slide").sum() == 4 * 16
    assert "tiles of slides" in capsys.readouterr().out
