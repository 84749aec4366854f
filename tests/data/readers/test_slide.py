"""A slide file is described by its kept tiles, each read alone, and never by its label."""

import os
import pickle
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from sample_rows import sample_of
from slide_files import stained, waves, write_dicom_slide, write_tiff

from medino.core import UnreadableImageError
from medino.data import Source, Tiles
from medino.data.readers import ReadSettings, describe, read_mask, read_pixels, sniff
from medino.data.reading import frames_or_reason
from medino.data.slides import opening, openslide_file
from medino.data.workers import Limits, Workers, read_all


def cut(path: Path | Source, **tiles: object) -> list[dict[str, object]]:
    return describe(path, ReadSettings(tiles=Tiles(**tiles)))


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "slide.svs", [stained(512, 512)], mpp=0.5, power=20)


def test_the_rows_of_a_slide_are_its_tiles(slide: Path) -> None:
    rows = cut(slide, mpp=1.0, size=32)
    assert [row["frame"] for row in rows] == [18, 19, 20, 21, 26, 27, 28, 29, 34, 35, 36, 37, 42, 43, 44, 45]
    first = rows[0]
    assert (first["tile_left"], first["tile_top"], first["tile_side"]) == (128, 128, 64)
    assert (first["format"], first["rows"], first["columns"], first["samples_per_pixel"]) == ("slide", 32, 32, 3)
    assert (first["spacing_row_mm"], first["spacing_column_mm"]) == (0.001, 0.001)
    assert (first["patient_id"], first["series_uid"]) == (None, None)


def test_a_tile_is_read_as_colour_code_values(slide: Path) -> None:
    (*_, row) = cut(slide, mpp=0.5, size=64)
    pixels = read_pixels(slide, sample_of(row))
    left, top = row["tile_left"], row["tile_top"]
    expected = stained(512, 512)[top : top + 64, left : left + 64]
    np.testing.assert_array_equal(pixels.values.numpy(), expected.transpose(2, 0, 1).astype(np.float32))
    assert pixels.colour
    assert (pixels.full_range, pixels.spacing) == ((0.0, 255.0), (0.0005, 0.0005))


def test_dropping_other_tiles_does_not_change_a_tiles_number(slide: Path) -> None:
    few = {row["frame"]: row for row in cut(slide, mpp=0.5, size=48, tissue=0.9)}
    many = {row["frame"]: row for row in cut(slide, mpp=0.5, size=48, tissue=0.1)}
    assert len(few) < len(many)
    assert all(many[frame] == row for frame, row in few.items())


@pytest.mark.parametrize(
    ("name", "levels", "format"),
    [
        ("two levels.tif", (1, 2), "slide"),
        ("one level.tif", (1,), "raster"),
    ],
)
def test_a_tiled_tiff_of_no_vendor_is_a_slide_where_it_has_levels(
    tmp_path: Path, name: str, levels: tuple[int, ...], format: str
) -> None:
    path = write_tiff(tmp_path / name, [waves(256, 256, factor) for factor in levels])
    assert sniff(path) == format


def test_a_vendors_file_is_a_slide_whatever_its_name(tmp_path: Path) -> None:
    assert sniff(write_tiff(tmp_path / "scan.tif", [stained(256, 256)], mpp=0.5)) == "slide"


def test_pages_of_a_tiff_that_are_no_levels_stay_images(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((3, 64, 64), np.uint8), tile=(32, 32), photometric="minisblack")
    assert sniff(tmp_path / "pages.tif") == "raster"
    assert len(describe(tmp_path / "pages.tif")) == 3


@pytest.mark.parametrize("name", ["a.svs", "b.ndpi", "c.mrxs", "d.scn", "e.bif", "f.vms", "g.czi"])
@pytest.mark.parametrize("content", [b"II*\0\x08\0\0\0", b"\xff\xd8\xff\xe0", b"no image", b"II*\0\xff\xff\xff\x7f"])
def test_damaged_slides_are_said_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert sniff(tmp_path / name) == "slide"
    with pytest.raises(UnreadableImageError, match="the slide is damaged, or of a kind that OpenSlide does not read"):
        cut(tmp_path / name, mpp=0.5)


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_a_tiff_whose_first_page_lies_nowhere_is_no_slide(tmp_path: Path, start: bytes) -> None:
    for number, rest in enumerate((b"", b"\xff" * 40, b"\0" * 40, b"\x10\0\0\0\xff\xff")):
        path = tmp_path / f"{number}.tif"
        path.write_bytes(start + rest)
        assert sniff(path) == "raster"


def test_a_truncated_slide_is_rejected(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "wsi" / "cmu-1-small-region.svs").read_bytes()
    (tmp_path / "cut.svs").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableImageError):
        cut(tmp_path / "cut.svs", mpp=0.5)


def test_a_damaged_part_costs_the_tiles_that_show_it(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.svs", [stained(2048, 2048)], mpp=0.5)
    whole = {row["frame"] for row in cut(path, mpp=0.5, size=256)}
    assert len(whole) == 16
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        # One of the file's own tiles of 64 pixels, at 1056, 1056.
        offset = file.pages[0].dataoffsets[17 * 32 + 17]
    data[offset : offset + 40] = b"\0" * 40
    path.write_bytes(data)
    left = {row["frame"] for row in cut(path, mpp=0.5, size=256)}
    # The thumbnail is white where the damage lies, in squares of 512 pixels.
    assert left == whole - {36, 37, 44, 45}


def test_slides_without_a_resolution_asked_for_say_which_option_to_give(shared_data: Path) -> None:
    for path in (shared_data / "wsi").iterdir():
        with pytest.raises(UnreadableImageError, match=r"read in tiles: .* --tiles.mpp 0.5"):
            describe(path)


def test_a_slide_in_an_archive_asks_to_be_unpacked(slide: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(slide, "slide.svs")
    with pytest.raises(UnreadableImageError, match="unpack it"):
        cut(Source(tmp_path / "study.zip", "slide.svs"), mpp=0.5)


def test_a_slide_is_no_mask(slide: Path) -> None:
    with pytest.raises(UnreadableImageError, match="can't be a mask"):
        read_mask(slide)


def test_label_and_macro_images_are_never_read(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared_data / "wsi" / "cmu-1-small-region.svs"
    with openslide.OpenSlide(path) as file:
        assert {"label", "macro"} <= set(file.associated_images)

    def refuse(*_: object) -> None:
        raise AssertionError("an associated image was asked for")

    for name in ("read_associated_image", "get_associated_image_names", "get_associated_image_dimensions"):
        monkeypatch.setattr(openslide.lowlevel, name, refuse)
    opening._opened.cache_clear()
    rows = cut(path, mpp=0.5, size=512)
    read_pixels(path, sample_of(rows[0]))
    assert len(rows) > 3


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "can show names: it is never read"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"]}, "can show names: it is never read"),
        ({"ImageType": ["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"]}, "thumbnail"),
        ({"ConcatenationUID": "1.2.9"}, "parted over several files"),
        ({"TotalPixelMatrixFocalPlanes": 3}, "focal planes"),
        ({"TotalPixelMatrixRows": 999}, "not as many tiles as its size needs"),
    ],
)
def test_dicom_slides_that_are_not_read_say_why(tmp_path: Path, tags: dict[str, object], words: str) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", stained(256, 256), **tags)
    with pytest.raises(UnreadableImageError, match=words):
        cut(path, mpp=0.5, size=32)


def test_an_instance_that_does_not_say_what_it_shows_is_not_shown(tmp_path: Path) -> None:
    path = write_dicom_slide(tmp_path / "a.dcm", stained(64, 64), tile=64, ImageType=None)
    with pytest.raises(UnreadableImageError, match="can show names"):
        cut(path, mpp=0.5, size=32)


def test_the_levels_of_a_dicom_slide_are_one_slide_and_its_tags_are_kept(tmp_path: Path) -> None:
    image = stained(512, 512)
    coarse = image.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    base = write_dicom_slide(tmp_path / "b.dcm", image, mpp=0.5)
    write_dicom_slide(tmp_path / "a.dcm", coarse, mpp=1.0)
    write_dicom_slide(tmp_path / "c.dcm", image, mpp=0.5, SeriesInstanceUID="1.9")
    label = {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}
    write_dicom_slide(tmp_path / "label.dcm", stained(1024, 1024), **label)
    rows = cut(base, mpp=1.0, size=32)
    assert len(rows) == 16
    row = rows[0]
    assert (row["patient_id"], row["study_uid"], row["series_uid"]) == ("P7", "1.2.3", "1.2.3.4")
    assert (row["format"], row["modality"], row["manufacturer"], row["rows"]) == ("slide", "SM", "Siemens", 32)
    pixels = read_pixels(base, sample_of(row)).values.numpy()
    left, top = row["tile_left"] // 2, row["tile_top"] // 2
    np.testing.assert_array_equal(pixels, coarse[top : top + 32, left : left + 32].transpose(2, 0, 1))
    with pytest.raises(UnreadableImageError, match="a coarser level of a slide"):
        cut(tmp_path / "a.dcm", mpp=1.0, size=32)
    assert len(cut(tmp_path / "c.dcm", mpp=0.5, size=32)) == 64


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_tiles_in_an_order_that_nobody_states_are_put_where_their_edges_fit(tmp_path: Path, order: str) -> None:
    image = waves(160, 224)
    path = write_dicom_slide(tmp_path / "a.dcm", image, DimensionOrganizationType=None)
    if order == "columns":
        tiles = image.reshape(5, 32, 7, 32, 3).transpose(2, 0, 1, 3, 4)
        path = write_dicom_slide(
            tmp_path / "a.dcm", image, DimensionOrganizationType=None, PixelData=np.ascontiguousarray(tiles).tobytes()
        )
    opened = opening.open_slide(Source(path))
    np.testing.assert_array_equal(opened.region(0, 0, 0, 224, 160).values, image)


def test_a_slide_is_opened_once_and_again_after_it_changed(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    class Counted(openslide.OpenSlide):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(openslide_file.openslide, "OpenSlide", Counted)
    rows = cut(slide, mpp=0.5, size=64)
    for row in rows:
        read_pixels(slide, sample_of(row))
    assert len(opened) == 1
    write_tiff(slide, [stained(512, 512, seed=1)], mpp=0.5)
    read_pixels(slide, sample_of(rows[0]))
    assert len(opened) == 2


def test_only_some_slides_are_kept_open(tmp_path: Path) -> None:
    opening._opened.cache_clear()
    for number in range(opening.MAX_OPEN + 3):
        opening.open_slide(Source(write_tiff(tmp_path / f"{number}.svs", [stained(128, 128)], mpp=0.5)))
    assert opening._opened.cache_info().currsize == opening.MAX_OPEN


def test_a_forked_process_opens_slides_of_its_own(slide: Path) -> None:
    rows = cut(slide, mpp=0.5, size=64)
    ours = opening.open_slide(Source(slide))
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        theirs = opening.open_slide(Source(slide))
        values = read_pixels(slide, sample_of(rows[0])).values.numpy()
        os.write(send, pickle.dumps((theirs is ours, values.sum())))
        os._exit(0)
    os.waitpid(child, 0)
    same, total = pickle.loads(os.read(receive, 10_000))
    assert not same
    assert total == read_pixels(slide, sample_of(rows[0])).values.numpy().sum()


@pytest.mark.parametrize(
    "change", [{"tile_left": None}, {"tile_left": -1}, {"tile_top": 500}, {"tile_side": 4000}], ids=str
)
def test_a_row_that_does_not_fit_the_slide_is_refused(slide: Path, change: dict[str, object]) -> None:
    row = cut(slide, mpp=0.5, size=64)[0] | change
    with pytest.raises(UnreadableImageError, match="scan again"):
        read_pixels(slide, sample_of(row))


@pytest.mark.slow
def test_mutated_slides_are_rows_or_reasons(shared_data: Path, tmp_path: Path) -> None:
    settings = ReadSettings(tiles=Tiles(level=0, size=512, blur=0.0))
    tasks = []
    for path in sorted((shared_data / "wsi").iterdir()):
        whole = path.read_bytes()
        for seed in range(25):
            generator = np.random.default_rng(seed)
            data = bytearray(whole[: len(whole) // 2] if seed % 5 == 4 else whole)
            # The header of the first page, and the last bytes, where SVS keeps its directories.
            for place in (*generator.integers(0, 400, 4), *(len(data) - generator.integers(1, 3000, 4))):
                data[place] = generator.integers(256)
            mutated = tmp_path / f"{seed}-{path.name}"
            mutated.write_bytes(data)
            tasks.append((Source(mutated), settings))
    for answer in read_all(frames_or_reason, tasks, Workers(2, Limits(seconds=60.0)), "reading"):
        assert isinstance(answer, list) or "fault of medino" not in answer, answer
