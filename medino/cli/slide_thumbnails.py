"""Pictures of scanned slides with their tiles, as `medino scan --slide_thumbnails` writes them."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medino.core import InputError, UnreadableImageError, track, whole_file

if TYPE_CHECKING:
    from medino.data import Manifest, Tiles
    from medino.data.source import Source


def write_thumbnails(manifest: "Manifest", folder: Path) -> int:
    """Draw each slide of a manifest that has tiles, into a PNG named by the hash of the slide.

    Args:
        manifest: as `scan` makes it.
        folder: where to; made if it is not there.

    Returns:
        How many pictures were written; a slide that can't be read any more has none.

    Raises:
        InputError: the folder can't be made.
    """
    from medino.data import Tiles

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} can't be made ({error.strerror}); give another by --slide_thumbnails"
        ) from error
    kept: dict[str, list[int]] = defaultdict(list)
    first: dict[str, int] = {}
    formats, frames, series = (manifest.column(name) for name in ("format", "frame", "series"))
    for row in map(int, np.flatnonzero(formats == "slide")):
        kept[series[row]].append(frames[row])
        first.setdefault(series[row], row)
    tiles = Tiles(**manifest.settings["tiles"])
    written = 0
    for slide, place in track(first.items(), "drawing slides", total=len(first)):
        try:
            _draw(manifest.source(place), tiles, kept[slide], folder / f"{slide}.png", f"slide {slide[:8]}")
        except UnreadableImageError:
            continue
        written += 1
    return written


def _draw(source: "Source", tiles: "Tiles", kept: list[int], path: Path, title: str) -> None:
    from medino.data.readers.failures import decoding
    from medino.data.slides.opening import open_slide
    from medino.data.slides.survey import BLURRED, KEPT, survey
    from medino.tracking.figures.slide_tiles import draw_slide_tiles

    with decoding("the slide"):
        surveyed = survey(open_slide(source), tiles)
    verdicts = surveyed.verdicts.copy()
    # What the thumbnail speaks for and the manifest lacks was dropped once it was decoded.
    verdicts[verdicts == KEPT] = BLURRED
    verdicts[kept] = KEPT
    figure = draw_slide_tiles(surveyed, verdicts, title)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")
