"""How a failure inside a decoder becomes a short reason, without the file's own words in it."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from medino.core import UnreadableImageError

MAX_VALUES = 2**28
"""Most values (rows x columns x samples) of one frame that are decoded: a gigabyte of float32. Larger is a whole level
of a slide, or a hostile header."""


_PYDICOM = logging.getLogger("pydicom")


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Keep decoders silent and turn whatever they raise into an `UnreadableImageError`.

    Decoders' own messages quote tag values, which can name people, and file paths; none of that is passed on.

    Args:
        what: what was being read, for the reason: "the header", "the pixel data (JPEG Baseline)".
    """
    try:
        # Within another one all is silent already, and to silence it costs as much as a small header.
        if _PYDICOM.disabled:
            yield
        else:
            with _silence():
                yield
    except UnreadableImageError:
        raise
    except Exception as error:
        raise UnreadableImageError(_reason(error, what)) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep pydicom's log and all warnings to themselves."""
    _PYDICOM.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _PYDICOM.disabled = False


def check_size(rows: int, columns: int, samples: int = 1) -> None:
    """Raise `UnreadableImageError` for a frame without pixels, or with more than `MAX_VALUES` values."""
    if rows < 1 or columns < 1:
        raise UnreadableImageError(f"the header says {rows} rows and {columns} columns: there is no image")
    if rows * columns * samples > MAX_VALUES:
        raise UnreadableImageError(
            f"one frame has {rows} x {columns} pixels, more than can be read at once: cut it into tiles"
        )


def _reason(error: Exception, what: str) -> str:
    """The reason in words for one exception."""
    if isinstance(error, FileNotFoundError):
        return "the file is not there"
    if isinstance(error, PermissionError):
        return "there is no permission to read the file"
    if isinstance(error, MemoryError | OverflowError | Image.DecompressionBombError):
        return f"{what} would need more memory than there is"
    if isinstance(error, EOFError | struct.error | zlib.error):
        return f"{what} is truncated or damaged"
    if isinstance(error, NotImplementedError):
        return f"{what} has an encoding that no decoder here knows"
    if isinstance(error, AttributeError | KeyError):
        return f"{what} lacks a part that is needed to decode it"
    return f"{what} can't be decoded: damaged, truncated or not what the file claims ({type(error).__name__})"
