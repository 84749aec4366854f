"""Rows of a manifest for single files, without a scan."""

from pathlib import Path

from medino.data import Pixels, Sample, Source, read_pixels
from medino.data.readers import sniff

REQUIRED = {
    "sample_id": "s",
    "root": 0,
    "path": "image",
    "frame": 0,
    "patient": "p",
    "study": "st",
    "series": "se",
    "patient_unit": "patient",
    "rows": 1,
    "columns": 1,
    "samples_per_pixel": 1,
}


def sample_of(facts: dict[str, object]) -> Sample:
    """The row of what a reader describes; identifiers are dropped."""
    known = {name: value for name, value in facts.items() if name in Sample.__dataclass_fields__}
    return Sample(**(REQUIRED | known))


def read_frame(file: Path | Source, frame: int = 0, plane: int | None = None) -> Pixels:
    """The pixels of one frame, slice or page of a file."""
    return read_pixels(file, sample_of({"format": sniff(file), "frame": frame, "plane": plane}))
