"""The contact sheet of a manifest: a random image of each kind, drawn where no header says that it may show a name."""

import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.core import UnreadableImageError, numpy_generator, whole_file
from medino.data import Manifest, Sample, Source
from medino.data.workers import Workers, read_all
from medino.tracking.figures.contact_sheet import Print, draw_contact_sheet

KINDS = ("modality", "body_part", "manufacturer")
"""What parts the images into kinds."""

MOST = 36
"""Pictures on a sheet: the most frequent kinds, which a person can take in at a look."""

CANDIDATES = 3
"""So many images of a kind are tried before it goes without a picture."""

SIDE = 256
"""Longer side of a picture, pixels."""


def write_contact_sheet(manifest: Manifest, path: str | Path, workers: Workers, seed: int = 0) -> None:
    """Draw a random image of each modality, body part and manufacturer, and write the sheet as a PNG file.

    Images whose headers say that text may be burned in (column `burned_in`) are left out.

    Args:
        manifest: whose images.
        path: the file to write.
        workers: who reads the images.
        seed: draws the images.
    """
    kinds = _kinds(manifest)
    shown = kinds[:MOST]
    chosen = [_candidates(manifest, rows, seed, place) for place, (_, rows) in enumerate(shown)]
    tasks = ((manifest.source(row), manifest.sample(row)) for rows in chosen for row in rows)
    pictures = read_all(picture, tasks, workers, "contact sheet", total=sum(map(len, chosen)))
    prints = [
        _print(manifest, kind, rows, [next(pictures) for _ in candidates])
        for (kind, rows), candidates in zip(shown, chosen, strict=True)
    ]
    title = f"{manifest.name}: one random image of each kind"
    if len(kinds) > MOST:
        title += f", of the {MOST} most frequent of {len(kinds)} kinds"
    with whole_file(path) as file:
        draw_contact_sheet(prints, title).savefig(file, format="png", metadata={"Software": None})


def picture(task: tuple[Source, Sample]) -> tuple[np.ndarray, float] | str:
    """An image as a small picture, (H, W, 3) uint8, and its pixels' height by width; or why there is none."""
    # Imported late: the process that only asks for pictures needs no torch.
    import torch

    from medino.data import Intensity, read_pixels

    source, sample = task
    try:
        pixels = read_pixels(source, sample)
    except UnreadableImageError as error:
        return str(error)
    values = Intensity().apply(pixels)[None]
    scale = min(SIDE / max(values.shape[2:]), 1.0)
    size = [max(round(length * scale), 1) for length in values.shape[2:]]
    small = torch.nn.functional.interpolate(values, size=size, mode="bilinear", antialias=True, align_corners=False)
    rows, columns = pixels.spacing or (1.0, 1.0)
    return (small[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy(), rows / columns


def _kinds(manifest: Manifest) -> list[tuple[tuple[str | None, ...], np.ndarray]]:
    """Each kind with the rows that are of it, the most frequent first."""
    names = [*KINDS, "format"]
    table = pa.table({name: manifest.table[name].cast(pa.string()) for name in names})
    table = table.append_column("row", pa.array(np.arange(len(manifest))))
    grouped = table.group_by(names, use_threads=False).aggregate([("row", "list")])
    kinds = [
        (tuple(column[place].as_py() for column in grouped.select(names).columns), rows.values.to_numpy())
        for place, rows in enumerate(grouped["row_list"])
    ]
    return sorted(kinds, key=lambda kind: (-len(kind[1]), tuple(map(str, kind[0]))))


def _candidates(manifest: Manifest, rows: np.ndarray, seed: int, place: int) -> list[int]:
    """Some rows of a kind that may be shown, in random order."""
    clean = rows[pc.is_null(manifest.table["burned_in"].take(pa.array(rows))).to_numpy(zero_copy_only=False)]
    return numpy_generator(seed, "contact sheet", place).permutation(clean)[:CANDIDATES].tolist()


def _print(manifest: Manifest, kind: tuple[str | None, ...], rows: np.ndarray, pictures: list[object]) -> Print:
    modality, body_part, manufacturer, format = kind
    title = " ".join((modality or str(format), *([] if body_part is None else [body_part.lower()])))
    patients = pc.count_distinct(manifest.table["patient"].take(pa.array(rows)).cast(pa.string())).as_py()
    of = "" if patients == 1 else "s"
    lines = [manufacturer or "maker not said", f"{len(rows):,} image{'s' * (len(rows) > 1)}, {patients:,} patient{of}"]
    for found in pictures:
        if isinstance(found, tuple):
            return Print(_short(title), lines, found[0], aspect=found[1])
    why_not = "can't be decoded" if pictures else "not drawn:\nmay show a name"
    return Print(_short(title), lines, None, why_not)


def _short(text: str) -> str:
    return textwrap.shorten(text, 26, placeholder="…")
