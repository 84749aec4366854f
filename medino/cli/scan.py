"""`medino scan`: folders to a manifest, and a table of what is in them."""

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.outputs import output_file
from medino.cli.reading_options import add_reading_options, chosen_workers
from medino.core import InputError

if TYPE_CHECKING:
    from medino.data import Manifest

KEY_NAME = "medino.key"
"""The key's file, beside the manifest, where none is given."""

M_MMAP_THRESHOLD = -3
"""Of glibc's mallopt (malloc.h): blocks of so many bytes and more lie outside the heap."""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino scan`."""
    from medino.data.slides.settings import Tiles

    parser.add_argument("paths", nargs="+", type=str, help="folders and files to scan")
    parser.add_argument("-o", "--output", type=str, required=True, help="the manifest to write, a .parquet file")
    parser.add_argument(
        "--name",
        type=str,
        default="cohort",
        help="what figures, tables and reports call these images; no person's name",
    )
    parser.add_argument(
        "--labels",
        type=str | None,
        help="CSV file with a column path, image, series, study or patient, a column label, and where wanted patient "
        "(beside a finer key) and split",
    )
    parser.add_argument("--label_column", type=str | None, help="the CSV's column with the labels [label]")
    parser.add_argument("--masks", type=str | None, help="folder with a mask for each image, named like it")
    parser.add_argument(
        "--mask_pattern",
        type=str | None,
        help="where among the scanned files the mask of an image lies, from its folder: {stem}_seg.nii.gz or "
        "../masks/{stem}.png. Label volumes of a dataset.json, or in a folder labels beside images, are found without",
    )
    parser.add_argument(
        "--key",
        type=str | None,
        help="file with the secret that identifiers are hashed with; made if it is not there "
        f"[{KEY_NAME} beside the manifest]. Scans with one key have comparable patients. Never hand it on with the "
        "manifest: with both, a guessed identifier can be tested",
    )
    parser.add_argument("--verify", action="store_true", help="decode every pixel too; what fails becomes a reject")
    parser.add_argument(
        "--plane",
        type=int | str,
        default="axial",
        help="how NIfTI volumes are sliced: axial, coronal, sagittal, or the axis 2, 1, 0",
    )
    parser.add_class_arguments(
        Tiles, "tiles", help="slides are cut into tiles: give --tiles.mpp, --tiles.magnification or --tiles.level"
    )
    parser.add_argument(
        "--slide_thumbnails",
        type=str | None,
        help="folder for a picture of each slide with its tissue and its tiles, kept and dropped, named by its hash",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="voxel size in mm that NIfTI volumes and their labels are resampled to as they are read [their own]",
    )
    parser.add_argument(
        "--patient_pattern",
        type=str | None,
        help="regular expression for files without a PatientID, searched in the path below the scanned folder; its "
        "first group is the patient",
    )
    parser.add_argument(
        "--split_fractions",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="split by patient and label, such as 0.6 0.1 0.3; patients without label go to train",
    )
    parser.add_argument(
        "--min_side", type=int, default=1, help="images with a shorter side than this become rejects, pixels"
    )
    parser.add_argument(
        "--sheet",
        type=str | None,
        help="PNG file for a contact sheet: a random image of each modality, body part and manufacturer, of "
        "which no header says that it may show a name",
    )
    parser.add_argument(
        "--export",
        type=str | None,
        help="a second .parquet file with the same manifest for handing on: no paths of files, no folders, no names "
        "inside archives. Images can't be read by it",
    )
    parser.add_argument("--seed", type=int, default=0, help="draws who goes to which split, and what the sheet shows")
    add_reading_options(parser)


def run(config: Namespace) -> None:
    """Scan, write the manifest and its rejects, and show what was found."""
    import pyarrow as pa

    from medino.data import SPLITS, Tiles, rejects_path, scan

    _give_memory_back()
    output = output_file(config.output, ".parquet")
    exported = None if config.export is None else output_file(config.export, ".parquet", "second manifest", "--export")
    if exported == output:
        raise InputError(f"--export {exported} is the output itself; give another name by --export")
    sheet = None if config.sheet is None else output_file(config.sheet, ".png", "contact sheet", "--sheet")
    written = [sheet] if sheet is not None else []
    written += [exported, rejects_path(exported)] if exported is not None else []
    manifest = scan(
        config.paths,
        labels=config.labels,
        label_column=config.label_column,
        masks=config.masks,
        mask_pattern=config.mask_pattern,
        key=config.key or output.parent / KEY_NAME,
        verify=config.verify,
        plane=config.plane,
        spacing_mm=config.spacing,
        tiles=Tiles(**vars(config.tiles)),
        patient_pattern=config.patient_pattern,
        split_fractions=config.split_fractions and dict(zip(SPLITS, config.split_fractions, strict=True)),
        seed=config.seed,
        min_side=config.min_side,
        ignore=[output, rejects_path(output), *written],
        name=config.name,
        workers=chosen_workers(config),
        journal=journal_path(output),
    )
    manifest.write(output)
    if exported is not None:
        manifest.without_places().write(exported)
    if config.slide_thumbnails is not None:
        from medino.cli.slide_thumbnails import write_thumbnails

        write_thumbnails(manifest, Path(config.slide_thumbnails))
    if sheet is not None:
        from medino.cli.contact_sheet import write_contact_sheet

        write_contact_sheet(manifest, sheet, chosen_workers(config), config.seed)
    # The writers' memory is given back before the counting asks for its own.
    pa.default_memory_pool().release_unused()
    show_summary(manifest)
    print(f"manifest  {output}\nrejects   {rejects_path(output)}")


def _give_memory_back() -> None:
    """Let Arrow and numpy give freed columns back to the system at once: 70 MB less at a million rows."""
    import pyarrow as pa

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        # Given a threshold, glibc leaves it where it is; else it raises it to 32 MB and keeps what is freed below.
        mallopt(M_MMAP_THRESHOLD, 2**17)
        pa.set_memory_pool(pa.system_memory_pool())
    elif "jemalloc" in pa.supported_memory_backends():
        # Of the others the one that holds least.
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def journal_path(manifest: Path) -> Path:
    """Where the scan of a manifest keeps what it has read."""
    return manifest.with_suffix(".scan")


def show_summary(manifest: "Manifest") -> None:
    """Print the tables of what was scanned: counts and reasons, no path and no identifier."""
    from rich.console import Console

    from medino.cli.scan_summary import reject_table, summary_table

    console = Console(highlight=False)
    console.print(summary_table(manifest))
    if manifest.rejects:
        console.print(reject_table(manifest))
