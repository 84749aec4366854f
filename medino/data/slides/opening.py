"""Open slides, kept open: each process has handles of its own, and only some of them."""

import os
from functools import lru_cache

from medino.core import UnreadableImageError
from medino.data.slides.dicom_slide import DicomSlide
from medino.data.slides.openslide_file import OpenSlideFile
from medino.data.slides.pyramid import Slide
from medino.data.source import Source

MAX_OPEN = 8
"""Slides that a process keeps open."""

MAX_SIDE = 2**20
"""Longest side of a slide, pixels: 26 cm at 0.25 micrometres. Beyond it a header is wrong, or hostile."""


def open_slide(source: Source) -> Slide:
    """A slide, opened when it is first asked for.

    Raises:
        UnreadableImageError: it can't be opened.
    """
    if source.member is not None:
        raise UnreadableImageError("a slide inside an archive can't be read where it lies: unpack it")
    # A process that was forked must not read through its parent's handle: both would move one position in the file.
    return _opened(source, source.stamp, os.getpid())


@lru_cache(maxsize=MAX_OPEN)
def _opened(source: Source, stamp: tuple[int, int], process: int) -> Slide:
    """`stamp` keeps a rewritten file from the cache."""
    with source.open() as file:
        dicom = file.read(132)[128:] == b"DICM"
    slide = DicomSlide(source) if dicom else OpenSlideFile(source)
    if max(max(level.width, level.height) for level in slide.levels) > MAX_SIDE:
        raise UnreadableImageError("the header says that the slide is more than a million pixels wide or high")
    return slide
