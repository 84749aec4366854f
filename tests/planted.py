"""A folder of real tiles among which blank, clipped and repeated ones are planted."""

import csv
import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def lc25000_groups(shared_data: Path, groups: int | None = None) -> list[tuple[Path, str, str]]:
    """Path, label and group of LC25000's tiles: all of the first groups, evenly over the labels."""
    with (shared_data / "MANIFEST.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith("lc25000_lung/")]
    names = sorted({(int(row["group"].split(":")[1]), row["group"]) for row in rows})
    chosen = {name for _, name in names[:groups]}
    return [(shared_data / row["path"], row["label"], row["group"]) for row in rows if row["group"] in chosen]


def plant(folder: Path, shared_data: Path) -> dict[str, str]:
    """Write twelve different tiles, and what ought to go. Returns the reason for each planted name."""
    folder.mkdir()
    first_of_group: dict[str, Path] = {}
    for path, _, group in lc25000_groups(shared_data, 12):
        first_of_group.setdefault(group, path)
    for number, path in enumerate(first_of_group.values()):
        shutil.copy(path, folder / f"tile{number:02d}.jpeg")
    tile = Image.open(folder / "tile00.jpeg")
    generator = np.random.default_rng(0)
    glass = generator.normal(240, 0.8, (224, 224, 3)).round().astype(np.uint8)
    Image.fromarray(np.full((224, 224), 7, np.uint8)).save(folder / "z_black.png")
    Image.fromarray(glass).save(folder / "z_glass.png")
    drawn = (np.asarray(Image.open(folder / "tile05.jpeg").convert("L")) > 150).astype(np.uint8) * 255
    Image.fromarray(drawn).save(folder / "z_thresholded.png")
    tile.save(folder / "z_same_pixels.png")
    tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "z_mirrored.png")
    Image.open(folder / "tile01.jpeg").transpose(Image.Transpose.ROTATE_90).save(folder / "z_turned.jpg", quality=60)
    Image.open(folder / "tile02.jpeg").resize((150, 150), Image.Resampling.LANCZOS).save(folder / "z_smaller.png")
    rotated = Image.open(folder / "tile03.jpeg").rotate(12, Image.Resampling.BICUBIC)
    rotated.crop((24, 24, 200, 200)).resize((224, 224)).save(folder / "z_rotated_and_zoomed.jpg", quality=90)
    return {
        "z_black.png": "blank",
        "z_glass.png": "blank",
        "z_thresholded.png": "clipped",
        "z_same_pixels.png": "exact duplicate",
        "z_mirrored.png": "near-duplicate",
        "z_turned.jpg": "near-duplicate",
        "z_smaller.png": "near-duplicate",
        "z_rotated_and_zoomed.jpg": "near-duplicate",
    }
