"""`medino convert`: the volumes of a cohort, or of folders, as NIfTI files."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.reading_options import add_reading_options, chosen_workers
from medino.core import InputError

if TYPE_CHECKING:
    from medino.data import Manifest
    from medino.data.volumes.conversion import VolumeRecord


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino convert`."""
    parser.add_argument("paths", nargs="+", type=str, help="a manifest (.parquet) that medino scan wrote, or folders")
    parser.add_argument("-o", "--output", type=str, required=True, help="the folder to write to")
    parser.add_argument(
        "--resample",
        action="store_true",
        help="interpolate slices of uneven distances to an even grid; otherwise such volumes are not written, with the "
        "reason: no affine places their slices",
    )
    parser.add_argument(
        "--deskew",
        action="store_true",
        help="undo the shear of a gantry tilt by interpolation; otherwise the affine is sheared: exact, but ITK and "
        "what is built on it refuse such files",
    )
    parser.add_argument(
        "--key",
        type=str | None,
        help="for folders: file with the secret that file names are hashed with, made if it is not there [drawn and "
        "forgotten: names differ from run to run]",
    )
    add_reading_options(parser)


def run(config: Namespace) -> None:
    """Convert, and show what was written and what was not."""
    from medino.data.volumes.conversion import TABLE_NAME, convert

    folder = Path(config.output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} is a file; give a folder by -o")
    manifest = _manifest(config)
    manifest.check_roots()
    try:
        records = convert(
            manifest, folder, resample=config.resample, deskew=config.deskew, workers=chosen_workers(config)
        )
    except OSError as error:
        raise InputError(f"the output {folder} can't be written ({error.strerror}); give another by -o") from error
    _show(records)
    print(f"volumes   {folder}\ntable     {folder / TABLE_NAME}")
    if not any(record.file for record in records):
        raise InputError(f"no volume could be written; the table {folder / TABLE_NAME} says why for each")


def _manifest(config: Namespace) -> "Manifest":
    """The manifest that was given, or that of a scan of the folders."""
    from medino.data import Manifest, scan

    manifests = [path for path in config.paths if Path(path).suffix == ".parquet"]
    if not manifests:
        return scan(config.paths, key=config.key, ignore=[config.output], workers=chosen_workers(config))
    if len(config.paths) > 1:
        raise InputError("a manifest is converted alone; give it without other paths, or give folders")
    if config.key is not None:
        raise InputError("a manifest's hashes were made when it was scanned; leave --key out")
    return Manifest.read(manifests[0])


def _show(records: "list[VolumeRecord]") -> None:
    """Print how many volumes were written, and the reasons why others were not."""
    from rich.console import Console
    from rich.table import Table

    table = Table("volumes", "images", "what became of them")
    written = [record for record in records if record.file]
    for voxels, count in Counter(record.voxels for record in written).most_common():
        images = sum(record.slices for record in written if record.voxels == voxels)
        table.add_row(str(count), str(images), f"written as {voxels}")
    reasons = Counter(record.reason for record in records if record.reason)
    for reason, count in reasons.most_common():
        images = sum(record.slices for record in records if record.reason == reason)
        table.add_row(str(count), str(images), f"not written: {reason}")
    Console(highlight=False).print(table)
