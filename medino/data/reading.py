"""What is done with each file of a scan, in the processes that read: its frames, or the reason why there are none."""

from typing import Any

from medino.core import UnreadableImageError
from medino.data.readers import ReadSettings, describe, read_pixels
from medino.data.readers.sniffing import NOT_AN_IMAGE
from medino.data.schema import Sample
from medino.data.source import Source
from medino.data.workers import read_all

__all__ = ["NOT_AN_IMAGE", "frames_or_reason", "read_all", "why_undecodable"]


def frames_or_reason(task: tuple[Source, ReadSettings]) -> list[dict[str, Any]] | str:
    """The frames of a file as its reader describes them, or why there are none."""
    source, settings = task
    try:
        if source.size() == 0:
            return "the file is empty"
        return describe(source, settings)
    except UnreadableImageError as error:
        return str(error)
    except OSError as error:
        return f"the file can't be opened ({error.strerror})"


def why_undecodable(task: tuple[Source, Sample]) -> str | None:
    """Why a sample (its file, its row) can't be decoded; None if it can."""
    source, sample = task
    try:
        read_pixels(source, sample)
    except UnreadableImageError as error:
        return str(error)
    return None
