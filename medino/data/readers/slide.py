"""Slides: tiles with tissue as rows, each read from the nearest finer level."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medino.core import UnreadableImageError
from medino.data.pixels import Pixels
from medino.data.readers.description import description
from medino.data.readers.dicom_header import DicomHeader, describe_header, read_header
from medino.data.readers.failures import check_size, decoding
from medino.data.readers.settings import ReadSettings
from medino.data.schema import Sample
from medino.data.slides.dicom_slide import DicomSlide
from medino.data.slides.grid import grid_on
from medino.data.slides.opening import open_slide
from medino.data.slides.pyramid import read_tile
from medino.data.slides.survey import KEPT, survey, why_none, without_blurred
from medino.data.source import Source

if TYPE_CHECKING:
    import torch


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """The kept tiles of a slide; see `medino.data.readers.describe`.

    Unlike other formats a slide is decoded to describe it: its thumbnail, and each tile with tissue once, unless
    `settings.tiles.blur` is 0. A tile's frame is its place in the whole grid, row by row, so that it keeps its number
    whatever else is dropped.

    Raises:
        UnreadableImageError: it can't be read, no resolution is asked for, or no tile is kept.
    """
    tiles = settings.tiles
    with decoding("the slide"):
        slide = open_slide(source)
        facts: dict[str, object] = {"photometric": "RGB"}
        if isinstance(slide, DicomSlide):
            if slide.base != source.path:
                raise UnreadableImageError(
                    "a coarser level of a slide, or a copy of one: its tiles are read from another file"
                )
            facts = _dicom_facts(read_header(source))
        check_size(tiles.size, tiles.size, 3)
        grid = grid_on(slide, tiles)
        surveyed = survey(slide, tiles)
        verdicts = without_blurred(slide, surveyed, tiles.blur) if tiles.blur else surveyed.verdicts
    kept = np.flatnonzero(verdicts == KEPT)
    if not len(kept):
        raise UnreadableImageError(why_none(verdicts))
    facts |= {
        "format": "slide",
        "rows": tiles.size,
        "columns": tiles.size,
        "samples_per_pixel": 3,
        "bits_stored": 8,
        "spacing_row_mm": grid.mpp and grid.mpp[0] / 1000,
        "spacing_column_mm": grid.mpp and grid.mpp[1] / 1000,
        "tile_side": grid.side,
    }
    corners = ((int(index), grid.corner(int(index))) for index in kept)
    return [description(**facts, frame=index, tile_left=left, tile_top=top) for index, (left, top) in corners]


def read(source: Source, sample: Sample) -> Pixels:
    """One tile: red, green and blue code values, (3, size, size).

    Raises:
        UnreadableImageError: it can't be decoded, or the row does not say where it lies.
    """
    import torch

    left, top, side = sample.tile_left, sample.tile_top, sample.tile_side
    if left is None or top is None or not side:
        raise UnreadableImageError("the row does not say where its tile lies on the slide: scan again")
    with decoding("the slide"):
        slide = open_slide(source)
        full = slide.levels[0]
        if min(left, top) < 0 or left + side > full.width or top + side > full.height:
            raise UnreadableImageError("the tile lies beyond the slide: the file has changed, scan again")
        values = read_tile(slide, left, top, side, sample.rows)
    spacing = None
    if sample.spacing_row_mm and sample.spacing_column_mm:
        spacing = (sample.spacing_row_mm, sample.spacing_column_mm)
    # Of 8 bits and side by side, as views are cut out of them.
    colours = torch.from_numpy(np.array(values, order="C")).permute(2, 0, 1)
    return Pixels(colours, (0.0, 255.0), spacing=spacing, modality=sample.modality)


def read_mask(source: Source, frame: int, plane: int | None) -> "torch.Tensor":
    """Slides hold no masks.

    Raises:
        UnreadableImageError: always.
    """
    raise UnreadableImageError("a slide can't be a mask: give masks of tiles as PNG files")


def _dicom_facts(header: DicomHeader) -> dict[str, object]:
    """What a DICOM slide's header tells of all of its tiles."""
    (facts,) = describe_header(replace(header, frames=1))
    return {name: value for name, value in facts.items() if value is not None and name not in _OF_FRAMES}


_OF_FRAMES = ("frame", "slice_position_mm", "slice_thickness_mm", "position_mm", "orientation", "stack")
"""What a header says of one of its frames, which are not the tiles."""
