"""Tiles are sampled where they lie, at any resolution, from any level."""

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image
from slide_files import wave, waves, write_dicom_slide, write_tiff

from medino.data.slides.dicom_slide import DicomSlide
from medino.data.slides.openslide_file import OpenSlideFile
from medino.data.slides.pyramid import Level, Slide, level_for, read_thumbnail, read_tile
from medino.data.source import Source

HEIGHT, WIDTH = 777, 1001


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    """Three levels by factors of 2 and 4 whose sides don't divide, so that OpenSlide's factors are 2.002 and 4.004."""
    levels = [waves(HEIGHT, WIDTH, factor) for factor in (1, 2, 4)]
    return OpenSlideFile(Source(write_tiff(tmp_path_factory.mktemp("slide") / "pyramid.tif", levels)))


def test_levels_have_the_whole_factors_that_they_were_made_by(pyramid: Slide) -> None:
    assert [(level.width, level.across, level.down) for level in pyramid.levels] == [
        (1001, 1, 1),
        (500, 2, 2),
        (250, 4, 4),
    ]
    # Rounded up, and no whole factor at all.
    assert Level.of(501, 389, 1001, 777).across == 2
    assert Level.of(400, 311, 1001, 777).across == pytest.approx(2.5025)


@pytest.mark.parametrize(
    ("factor", "level"), [(1, 0), (1.5, 0), (1.999, 1), (2, 1), (3.9, 1), (4, 2), (40, 2), (0.8, 0)]
)
def test_the_nearest_finer_level_is_read(pyramid: Slide, factor: float, level: int) -> None:
    assert level_for(pyramid, factor) == level


@pytest.mark.parametrize("size", [128, 96, 64, 48, 32, 21])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (301, 173), (873, 649)])
def test_a_tile_shows_the_pattern_where_it_lies_to_a_tenth_of_a_pixel(
    pyramid: Slide, size: int, left: int, top: int
) -> None:
    side = 128
    scale = side / size
    tile = read_tile(pyramid, left, top, side, size).astype(float)
    # The steepest slope is 100 * 2 pi / 64 = 9.8 a pixel of the full resolution: half a pixel beside is 4.9.
    inner = slice(2, -2)
    across, down = wave(left + np.arange(size) * scale, scale), wave(top + np.arange(size) * scale, scale)
    np.testing.assert_allclose(tile[inner, inner, 0], np.broadcast_to(across[inner], (size - 4, size - 4)), atol=1.8)
    np.testing.assert_allclose(tile[inner, inner, 1].T, np.broadcast_to(down[inner], (size - 4, size - 4)), atol=1.8)
    shift = _shift(tile[inner, inner, 0].mean(axis=0), (left + (np.arange(size) + 0.5) * scale)[inner])
    assert abs(shift) < 0.1


def _shift(values: np.ndarray, places: np.ndarray) -> float:
    """By how many pixels of the full resolution a sampled wave lies beside the slide's own: least squares."""
    turn = 2 * np.pi * places / 64
    design = np.stack([np.cos(turn), np.sin(turn), np.ones_like(turn)], axis=1)
    (cosine, sine, _), *_ = np.linalg.lstsq(design, values, rcond=None)
    return float(np.arctan2(sine, cosine) * 64 / (2 * np.pi))


def test_neighbouring_tiles_fit_as_if_the_whole_slide_had_been_made_smaller_at_once(pyramid: Slide) -> None:
    whole = Image.fromarray(waves(HEIGHT, WIDTH)).resize((320, 256), Image.Resampling.BICUBIC, box=(0, 0, 960, 768))
    expected = np.asarray(whole)
    for row, column in ((0, 0), (1, 2), (3, 4)):
        tile = read_tile(pyramid, column * 192, row * 192, 192, 64 * 1).astype(int)
        part = expected[row * 64 : (row + 1) * 64, column * 64 : (column + 1) * 64]
        # Level 1 is read for the factor 3, level 0 was made smaller here: what is left is the filters' difference.
        assert np.abs(tile - part).max() <= 2


def test_at_the_full_resolution_a_tile_is_the_files_own_pixels(pyramid: Slide) -> None:
    np.testing.assert_array_equal(read_tile(pyramid, 37, 91, 100, 100), waves(HEIGHT, WIDTH)[91:191, 37:137])


def test_a_dicom_slide_is_sampled_as_the_same_pyramid_in_tiff_is(tmp_path: Path, pyramid: Slide) -> None:
    for factor in (4, 1, 2):
        write_dicom_slide(tmp_path / f"{factor}.dcm", waves(HEIGHT, WIDTH, factor), mpp=0.25 * factor)
    slide = DicomSlide(Source(tmp_path / "2.dcm"))
    assert slide.base == tmp_path / "1.dcm"
    assert slide.levels == pyramid.levels
    assert slide.mpp == (0.25, 0.25)
    for size in (128, 60, 32):
        ours, theirs = (read_tile(each, 301, 173, 128, size).astype(int) for each in (slide, pyramid))
        assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("name", ["cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs"])
def test_tiles_of_real_slides_are_what_tifffile_reads(shared_data: Path, name: str) -> None:
    path = shared_data / "wsi" / name
    slide = OpenSlideFile(Source(path))
    with tifffile.TiffFile(path) as file:
        levels = [level.asarray() for level in file.series[0].levels]
    # OpenSlide and tifffile decode JPEG and JPEG 2000 by libraries of their own, which round differently.
    for left, top in ((0, 0), (700, 1200), (1500, 600), (1772, 2519)):
        if min(left, top) and top + 448 > levels[0].shape[0]:
            continue
        exact = levels[0][top : top + 448, left : left + 448].astype(int)
        assert np.abs(read_tile(slide, left, top, 448, 448) - exact).max() <= 3
        level, factor = (levels[1], 2) if len(levels) > 1 else (levels[0], 1)
        box = [edge / factor for edge in (left, top, left + 448, top + 448)]
        peer = np.asarray(Image.fromarray(level).resize((200, 200), Image.Resampling.BICUBIC, box=box)).astype(int)
        differences = np.abs(read_tile(slide, left, top, 448, 200) - peer)
        if factor == 1:
            assert differences.max() <= 1
        else:
            # OpenSlide shifts this level by up to a quarter of a pixel, linearly; the place is right, a little contrast
            # is lost.
            assert differences.mean() < 3


def test_the_thumbnail_is_the_mean_of_blocks(pyramid: Slide) -> None:
    small = read_thumbnail(pyramid, 9.0)
    assert (small.across, small.down, small.values.shape) == (8, 8, (97, 125, 3))
    expected = wave(np.arange(125) * 8, 8)
    np.testing.assert_allclose(small.values[40, :, 0], expected, atol=1.5)


def test_glass_that_was_not_scanned_is_background(tmp_path: Path) -> None:
    slide = DicomSlide(Source(write_dicom_slide(tmp_path / "a.dcm", waves(64, 96), tile=32, **_sparse((0, 0)))))
    region = slide.region(0, 0, 0, 64, 64).values
    np.testing.assert_array_equal(region[:32, :32], waves(64, 96)[:32, :32])
    assert (region[32:] == 255).all()
    assert (region[:, 32:] == 255).all()


def _sparse(*corners: tuple[int, int]) -> dict[str, object]:
    """The tags of a slide that has only the tiles with these left upper corners."""
    from pydicom.dataset import Dataset

    groups = []
    for left, top in corners:
        place, group = Dataset(), Dataset()
        place.ColumnPositionInTotalImagePixelMatrix, place.RowPositionInTotalImagePixelMatrix = left + 1, top + 1
        group.PlanePositionSlideSequence = [place]
        groups.append(group)
    pixels = waves(64, 96)[:32, :32].tobytes() * len(corners)
    return {
        "DimensionOrganizationType": "TILED_SPARSE",
        "NumberOfFrames": len(corners),
        "PerFrameFunctionalGroupsSequence": groups,
        "PixelData": pixels,
    }


def test_openslide_reads_the_same_from_a_dicom_slide(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "highdicom-testfiles__test_files__sm_image.dcm"
    slide = DicomSlide(Source(path))
    with openslide.OpenSlide(path) as peer:
        theirs = np.asarray(peer.read_region((0, 0), 0, peer.dimensions).convert("RGB"))
        mpp = float(peer.properties[openslide.PROPERTY_NAME_MPP_X])
    np.testing.assert_array_equal(slide.region(0, 0, 0, 50, 50).values, theirs)
    assert slide.mpp == pytest.approx((mpp, mpp))
