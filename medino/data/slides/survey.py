"""Which tiles of a slide are kept: those with tissue, not under pen, and sharp."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medino.core import UnreadableImageError
from medino.data.slides.grid import Grid, grid_on
from medino.data.slides.pyramid import Slide, Thumbnail, read_thumbnail, read_tile
from medino.data.slides.settings import Tiles
from medino.data.slides.tissue import TissueMap, find_tissue
from medino.data.workers.limits import next_frame

THUMBNAIL_MPP = 8.0
"""Micrometres per pixel of the thumbnail for finding tissue: 1.25x, as in TIAToolbox (Pocock et al. 2022)."""

THUMBNAIL_SIDES = (1024, 4096)
"""The longer side of the thumbnail in pixels, least and most: small fields are looked at more finely, and a header that
is wrong about the size of a pixel takes no more memory than this."""

UNKNOWN_MPP = 0.25
"""Taken for the full resolution where nobody knows it, for the sizes of thumbnail, specks and holes alone."""

SPECK_MM2 = 0.0025
"""Connected tissue below this area (50 micrometres square) is a speck; chosen by looking at the tests' slides."""

HOLE_SHARE = 0.25
"""Holes of up to this part of a tile (vessels, glands, fat cells) belong to the tissue; larger ones could empty it."""

STROKE_MM, STROKE_PIXELS = 0.03, (3, 7)
"""Pen marks are wider than nuclei, but where nobody knows the size of a pixel the width in pixels has to stay small."""

PEN_SHARE = 0.1
"""A tile with more than this part of pen marks is under pen, however much tissue is left beside them."""

KEPT, BACKGROUND, PEN, BLURRED, UNREADABLE = range(5)
VERDICTS = ("kept", "background", "under pen marks", "blurred", "damaged")
"""What became of a tile; the numbers above are places in here."""


@dataclass(frozen=True)
class Survey:
    """What a slide's thumbnail shows.

    Attributes:
        thumbnail: the whole slide, small.
        found: tissue and pen marks on it.
        grid: where the tiles lie.
        verdicts: for each tile, as far as the thumbnail tells: `KEPT`, `BACKGROUND` or `PEN`; (tiles,) int.
    """

    thumbnail: Thumbnail
    found: TissueMap
    grid: Grid
    verdicts: np.ndarray


def survey(slide: Slide, tiles: Tiles) -> Survey:
    """Look at a slide's thumbnail: where tissue is, and which tiles hold enough of it.

    Raises:
        UnreadableImageError: the slide can't be cut as asked, or not decoded.
    """
    grid = grid_on(slide, tiles)
    mpp = sum(slide.mpp) / 2 if slide.mpp else tiles.assumed_mpp or UNKNOWN_MPP
    longer = max(slide.levels[0].width, slide.levels[0].height)
    least, most = THUMBNAIL_SIDES
    thumbnail = read_thumbnail(slide, max(min(THUMBNAIL_MPP / mpp, longer / least), longer / most))
    pixel_mm = mpp / 1000 * math.sqrt(thumbnail.across * thumbnail.down)
    tile_pixels = grid.side**2 / (thumbnail.across * thumbnail.down)
    found = find_tissue(
        thumbnail.values,
        least_area=round(SPECK_MM2 / pixel_mm**2),
        largest_hole=round(HOLE_SHARE * tile_pixels),
        stroke=int(np.clip(round(STROKE_MM / pixel_mm), *STROKE_PIXELS)) if tiles.pens else None,
    )
    tissue, pen = grid.shares(found.tissue, thumbnail), grid.shares(found.pen, thumbnail)
    marked = np.where((tissue + pen >= tiles.tissue) & (pen > 0), PEN, BACKGROUND)
    clean = (tissue >= tiles.tissue) & (pen <= PEN_SHARE)
    verdicts = np.where(clean, KEPT, marked)
    return Survey(thumbnail, found, grid, verdicts)


def without_blurred(slide: Slide, surveyed: Survey, blur: float) -> np.ndarray:
    """The verdicts once every tile that is kept so far was decoded and its sharpness compared with the others'.

    On the slides of the tests the tiles of a sharp slide have at least 0.2 of the median's sharpness; blurred by a
    Gaussian of 2 pixels, at most 0.05.

    Args:
        slide: the slide.
        surveyed: what its thumbnail shows.
        blur: tiles below this part of the median are blurred.

    Returns:
        (tiles,) int, places in `VERDICTS`.
    """
    verdicts, grid = surveyed.verdicts.copy(), surveyed.grid
    sharpness = np.full(len(grid), np.nan)
    for index in map(int, np.flatnonzero(verdicts == KEPT)):
        next_frame()
        try:
            sharpness[index] = sharpness_of(read_tile(slide, *grid.corner(index), grid.side, grid.size))
        except UnreadableImageError:
            verdicts[index] = UNREADABLE
    known = np.isfinite(sharpness)
    if known.any():
        verdicts[known & (np.nan_to_num(sharpness) < blur * np.median(sharpness[known]))] = BLURRED
    return verdicts


def sharpness_of(tile: np.ndarray) -> float:
    """The variance of the Laplacian of the luma (Rec. 601): what defocus takes first (Pech-Pacheco et al. 2000)."""
    luma = tile.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return float(ndimage.laplace(luma)[1:-1, 1:-1].var())


def why_none(verdicts: np.ndarray) -> str:
    """The reason for a slide of which no tile is kept."""
    counts = Counter(VERDICTS[verdict] for verdict in verdicts)
    told = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])
    return f"no tile of the slide is kept ({told}): ask for less by --tiles.tissue or --tiles.blur"
