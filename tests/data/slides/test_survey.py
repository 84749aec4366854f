"""Tiles lie on the grid that was asked for; those without tissue, under pen, blurred or damaged are dropped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from slide_files import stained, write_dicom_slide, write_tiff

from medino.core import InputError, UnreadableImageError
from medino.data.slides import Tiles
from medino.data.slides.grid import grid_on
from medino.data.slides.openslide_file import OpenSlideFile
from medino.data.slides.pyramid import Level, Region, Thumbnail
from medino.data.slides.survey import (
    BACKGROUND,
    BLURRED,
    KEPT,
    PEN,
    UNREADABLE,
    sharpness_of,
    survey,
    why_none,
    without_blurred,
)
from medino.data.source import Source


class Array:
    """A slide of one level in memory."""

    def __init__(self, image: np.ndarray, mpp: float | None = 0.5, power: float | None = None) -> None:
        self.image = image
        self.levels = (Level(image.shape[1], image.shape[0], 1.0, 1.0),)
        self.mpp = mpp and (mpp, mpp)
        self.power = power

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Region:
        return Region(self.image[top : top + height, left : left + width], left, top)


EMPTY = np.full((1000, 1300, 3), 255, dtype=np.uint8)


@pytest.mark.parametrize(
    ("asked", "mpp", "power", "side", "resolution"),
    [
        ({"mpp": 0.5}, 0.25, None, 200, 0.5),
        ({"mpp": 0.5}, 0.2525, None, 198, 0.49995),
        ({"magnification": 20}, 0.25, 40, 200, 0.5),
        ({"magnification": 10}, 0.5, None, 200, 1.0),
        ({"magnification": 10}, None, 40, 400, None),
        ({"level": 0}, None, None, 100, None),
        ({"level": 0}, 0.25, None, 100, 0.25),
        ({"mpp": 1.0, "assumed_mpp": 0.5}, None, None, 200, 1.0),
        # What the header says counts before what is assumed.
        ({"mpp": 1.0, "assumed_mpp": 0.5}, 0.25, None, 400, 1.0),
        # Up to a tenth too coarse is taken as what is called by the same magnification.
        ({"mpp": 0.25}, 0.265, None, 94, 0.2491),
    ],
)
def test_the_side_of_a_tile_follows_from_what_was_asked_for(
    asked: dict[str, float], mpp: float | None, power: float | None, side: int, resolution: float | None
) -> None:
    grid = grid_on(Array(EMPTY, mpp, power), Tiles(**asked, size=100))
    assert grid.side == side
    assert grid.mpp is None if resolution is None else grid.mpp == pytest.approx((resolution, resolution))


def test_only_whole_tiles_are_made_row_by_row() -> None:
    grid = grid_on(Array(EMPTY), Tiles(mpp=0.5, size=300))
    assert (grid.across, grid.down, len(grid)) == (4, 3, 12)
    assert [grid.corner(index) for index in (0, 1, 4, 11)] == [(0, 0), (300, 0), (0, 300), (900, 600)]


def test_tiles_overlap_by_the_pixels_asked_for() -> None:
    grid = grid_on(Array(EMPTY, 0.25), Tiles(mpp=0.5, size=100, overlap=25))
    assert (grid.side, grid.step) == (200, 150)
    assert (grid.across, grid.down) == ((1300 - 200) // 150 + 1, (1000 - 200) // 150 + 1)


def test_shares_are_the_means_of_the_mask_under_each_tile() -> None:
    generator = np.random.default_rng(0)
    mask = generator.random((250, 325)) < 0.3
    grid = grid_on(Array(EMPTY), Tiles(mpp=0.5, size=200, overlap=100))
    shares = grid.shares(mask, Thumbnail(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8), 4.0, 4.0))
    expected = [mask[y // 4 : y // 4 + 50, x // 4 : x // 4 + 50].mean() for x, y in map(grid.corner, range(len(grid)))]
    np.testing.assert_allclose(shares, expected)


@pytest.mark.parametrize(
    ("asked", "mpp", "words"),
    [
        ({}, 0.5, "--tiles.mpp 0.5, --tiles.magnification 20 or --tiles.level 0"),
        ({"mpp": 0.5}, None, "no mpp .* give --tiles.assumed_mpp, or ask by --tiles.level"),
        ({"magnification": 20}, None, "no mpp"),
        ({"mpp": 0.25}, 0.5, "too coarse for the 0.25 asked for"),
        ({"level": 1}, 0.5, "has 1 levels: give a smaller --tiles.level"),
        ({"mpp": 4}, 0.5, "smaller than one tile"),
    ],
)
def test_what_cannot_be_cut_says_which_option_helps(asked: dict[str, float], mpp: float | None, words: str) -> None:
    with pytest.raises(UnreadableImageError, match=words):
        grid_on(Array(EMPTY, mpp), Tiles(**asked))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mpp": 0.5, "level": 0}, "tiles.mpp and tiles.level are given"),
        ({"mpp": 0.0}, "tiles.mpp is 0.0"),
        ({"mpp": float("nan")}, "tiles.mpp is nan"),
        ({"magnification": -20}, "tiles.magnification is -20"),
        ({"level": -1}, "tiles.level is -1"),
        ({"size": 0}, "tiles.size is 0"),
        ({"size": 64, "overlap": 64}, "tiles.overlap is 64"),
        ({"tissue": 1.5}, "tiles.tissue is 1.5"),
        ({"blur": -0.1}, "tiles.blur is -0.1"),
    ],
)
def test_settings_that_nobody_can_mean_are_refused(given: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Tiles(**given)


def test_tiles_with_enough_tissue_are_kept_and_those_under_pen_named(tmp_path: Path) -> None:
    image = stained(1024, 1024)
    image[300:340, 256:768] = (30, 50, 190)
    image[100:140, :] = (40, 170, 130)
    found = survey(Array(image), Tiles(mpp=0.5, size=128))
    verdicts = found.verdicts.reshape(8, 8)
    expected = np.full((8, 8), BACKGROUND)
    expected[2:6, 2:6] = KEPT
    expected[2, 2:6] = PEN
    np.testing.assert_array_equal(verdicts, expected)


@pytest.mark.parametrize(("share", "kept"), [(0.9, 1), (0.4, 5), (0.2, 9)])
def test_the_share_of_tissue_can_be_chosen(share: float, kept: int) -> None:
    # The field's borders halve the four tiles at its edges and quarter the four at its corners.
    moved = np.roll(stained(1024, 1024), (128, 128), axis=(0, 1))
    assert (survey(Array(moved), Tiles(mpp=0.5, size=256, tissue=share)).verdicts == KEPT).sum() == kept


def test_blurred_tiles_are_dropped_relative_to_their_slide() -> None:
    image = stained(1024, 1024)
    blurred = np.stack([ndimage.gaussian_filter(image[..., channel], 2.0) for channel in range(3)], axis=2)
    image[256:384, 256:512] = blurred[256:384, 256:512]
    slide = Array(image)
    found = survey(slide, Tiles(mpp=0.5, size=128))
    verdicts = without_blurred(slide, found, 0.1).reshape(8, 8)
    assert (verdicts[2, 2:4] == BLURRED).all()
    assert (verdicts == KEPT).sum() == 14
    # A slide that is soft all over is not emptied.
    soft = Array(blurred)
    assert (without_blurred(soft, survey(soft, Tiles(mpp=0.5, size=128)), 0.1) == KEPT).sum() == 16


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    luma = np.random.default_rng(0).integers(0, 256, (9, 9))
    tile = np.repeat(luma[..., None], 3, axis=2).astype(np.uint8)
    laplacian = [
        luma[y - 1, x] + luma[y + 1, x] + luma[y, x - 1] + luma[y, x + 1] - 4 * luma[y, x]
        for y in range(1, 8)
        for x in range(1, 8)
    ]
    assert sharpness_of(tile) == pytest.approx(np.var(laplacian), rel=1e-4)


def test_a_damaged_tile_costs_itself_alone() -> None:
    class Damaged(Array):
        def region(self, level: int, left: int, top: int, width: int, height: int) -> Region:
            if width < 500 and left <= 300 < left + width and top <= 300 < top + height:
                raise UnreadableImageError("damaged")
            return super().region(level, left, top, width, height)

    slide = Damaged(stained(1024, 1024))
    verdicts = without_blurred(slide, survey(slide, Tiles(mpp=0.5, size=128)), 0.1).reshape(8, 8)
    assert verdicts[2, 2] == UNREADABLE
    assert (verdicts == KEPT).sum() == 15
    assert why_none(np.array([BACKGROUND, BACKGROUND, PEN])).startswith(
        "no tile of the slide is kept (2 background, 1 under"
    )


def test_a_file_with_tiles_of_garbage_is_damaged_there_and_readable_elsewhere(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.svs", [stained(512, 512)], mpp=0.5)
    slide = OpenSlideFile(Source(path))
    data = bytearray(path.read_bytes())
    import tifffile

    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[27]
    data[offset : offset + 40] = b"\0" * 40
    path.write_bytes(data)
    slide = OpenSlideFile(Source(path))
    with pytest.raises(UnreadableImageError, match="damaged"):
        slide.region(0, 3 * 64, 3 * 64, 64, 64)
    assert slide.region(0, 0, 0, 64, 64).values.mean() > 240


def test_grids_on_a_dicom_slide_and_a_tiff_are_the_same(tmp_path: Path) -> None:
    from medino.data.slides.dicom_slide import DicomSlide

    image = stained(512, 512)
    one = DicomSlide(Source(write_dicom_slide(tmp_path / "a.dcm", image, mpp=0.5)))
    two = OpenSlideFile(Source(write_tiff(tmp_path / "b.svs", [image], mpp=0.5, power=20)))
    tiles = Tiles(magnification=20, size=64)
    assert grid_on(one, tiles) == replace(grid_on(two, tiles))
    np.testing.assert_array_equal(survey(one, tiles).verdicts, survey(two, tiles).verdicts)
