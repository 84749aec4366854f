"""Sheets of a manifest's images in a given order, each with words above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medino.cli.contact_sheet import picture
from medino.core import whole_file
from medino.data import Manifest
from medino.data.workers import Workers, read_all
from medino.tracking.figures.contact_sheet import Print, draw_contact_sheet


@dataclass(frozen=True)
class Place:
    """One place of the sheet: the manifest's row (None leaves it empty) and what stands above it."""

    row: int | None
    title: str
    lines: Sequence[str] = ()


def write_image_sheet(manifest: Manifest, places: Sequence[Place], path: Path, title: str, workers: Workers) -> None:
    """Draw the images and write the sheet as a PNG file.

    Images whose headers say that text may be burned in (column `burned_in`) are left out.

    Args:
        manifest: whose images.
        places: row by row, as many in a row as a contact sheet has columns.
        path: the file to write.
        title: stands above them.
        workers: who reads the images.
    """
    manifest.check_roots()
    samples = [None if place.row is None else manifest.sample(place.row) for place in places]
    shown = [sample is not None and sample.burned_in is None for sample in samples]
    tasks = [
        (manifest.source(place.row), sample)
        for place, sample, show in zip(places, samples, shown, strict=True)
        if show and place.row is not None and sample is not None
    ]
    pictures = read_all(picture, tasks, workers, "sheet", total=len(tasks))
    prints = [
        _print(place, next(pictures) if show else "" if place.row is None else "not drawn:\nmay show a name")
        for place, show in zip(places, shown, strict=True)
    ]
    with whole_file(path) as file:
        draw_contact_sheet(prints, title).savefig(file, format="png", metadata={"Software": None})


def _print(place: Place, found: object) -> Print:
    if isinstance(found, tuple):
        return Print(place.title, place.lines, found[0], aspect=found[1])
    why_not = str(found) if place.row is None or str(found).startswith("not drawn") else "can't be decoded"
    return Print(place.title, place.lines, None, why_not)
