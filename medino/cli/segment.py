"""`medino segment`: masks of a folder, a series or a manifest by a trained head, or without any label."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.backbone_options import add_backbone_options, chosen_backbone, whole_image_transform
from medino.cli.embed import chosen_device
from medino.cli.reading_options import add_reading_options, chosen_workers
from medino.core import InputError

if TYPE_CHECKING:
    from medino.data import Manifest, Reject
    from medino.segmentation.export import MaskRecord, Segment
    from medino.segmentation.prediction import Masker

WAYS = ("pca", "tokencut")

MANIFEST_NAME = "cohort.parquet"

EPILOG = """
Volumes become NIfTI files on their source's grid, other images PNGs in the values of the training masks. Names are
those of the manifest (keyed hashes of the series, sample ids), which is written beside the masks where folders are
given. Overlays are images of patients; a DICOM segmentation carries its images' patient and study as they stand in the
files, since it is filed with them.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino segment`."""
    parser.epilog = EPILOG
    parser.add_argument("paths", nargs="+", type=str, help="a manifest (.parquet) that medino scan wrote, or folders")
    parser.add_argument("-o", "--output", type=str, required=True, help="the folder to write to")
    parser.add_argument(
        "--run",
        type=str | None,
        help="folder of the run that trained the head (of `medino fit`, or segmentation/adapted in an `adapt`)",
    )
    parser.add_argument("--checkpoint", type=str | None, help="another checkpoint of it than the latest")
    parser.add_argument(
        "--unsupervised",
        type=str | None,
        help="no head: pca (foreground by the first principal component of the patch tokens, of a volume together) or "
        "tokencut (objects by a normalised cut, numbered from the largest)",
    )
    parser.add_argument("--overlays", action="store_true", help="write each image with its mask drawn in, too")
    parser.add_argument(
        "--dicom_seg",
        action="store_true",
        help="write DICOM segmentations of DICOM images, too; needs medino[dicomseg]",
    )
    add_backbone_options(parser)
    parser.add_argument(
        "--plane",
        type=int | str,
        default="axial",
        help="how NIfTI volumes of folders are sliced, as in training: axial, coronal, sagittal, or the axis 2, 1, 0",
    )
    parser.add_argument(
        "--key",
        type=str | None,
        help="for folders: file with the secret that names are hashed with, made if it is not there [drawn and "
        "forgotten: names differ from run to run]",
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    add_reading_options(parser)


def run(config: Namespace) -> None:
    """Segment, and show what was written and what was not."""
    from medino.data import record_rejects
    from medino.segmentation.export import TABLE_NAME, export_masks

    folder = Path(config.output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} is a file; give a folder by -o")
    masker, segment = chosen_masker(config)
    manifest, place = listed(config, folder)
    manifest.check_sides(masker.patch_size)
    try:
        records, failures = export_masks(manifest, masker, folder, overlays=config.overlays, dicom_seg=segment)
    except OSError as error:
        raise InputError(f"the output {folder} can't be written ({error.strerror}); give another by -o") from error
    rejects: list[Reject] = [manifest.sample(row).reject(reason) for row, reason in failures.items()]
    if rejects:
        record_rejects(place, rejects)
    show(records, rejects)
    print(f"masks     {folder}\ntable     {folder / TABLE_NAME}\nmanifest  {place}")
    if not any(record.file for record in records):
        raise InputError(f"no mask could be written; the table {folder / TABLE_NAME} says why for each")


def chosen_masker(config: Namespace) -> "tuple[Masker, Segment | None]":
    """What makes the masks, and what DICOM segmentations are to say of them, where they are asked for.

    Raises:
        InputError: neither a head nor a way without labels is given, or both, or options that go with the other.
    """
    from medino.data import Intensity
    from medino.segmentation.dicom_seg import check_highdicom
    from medino.segmentation.export import Segment

    if (config.run is None) == (config.unsupervised is None):
        raise InputError("give one of --run (a trained head) and --unsupervised (no labels): what is to make the masks")
    device = chosen_device(config.device)
    if config.unsupervised is not None:
        if config.dicom_seg or config.checkpoint is not None:
            raise InputError(
                "what is found without labels has no names for a DICOM segmentation and comes from no checkpoint; "
                "leave --dicom_seg and --checkpoint out"
            )
        return unsupervised(config, device), None
    if config.backbone is not None or config.size is not None or Intensity(**vars(config.intensity)) != Intensity():
        raise InputError("a trained head sees what it was trained on; leave --backbone, --size and --intensity out")
    if config.dicom_seg:
        check_highdicom()
    from medino.cli.trained_head import trained_head

    head = trained_head(config.run, config.weights, config.interpolation, config.checkpoint, device)
    if not config.dicom_seg:
        return head, None
    return head, Segment(tuple(head.model.class_names[1:]), head.model.backbone_fingerprint)


def unsupervised(config: Namespace, device: str) -> "Masker":
    """What finds objects without labels."""
    from medino.features import BackboneMaps
    from medino.segmentation.prediction import CutMasker, ForegroundMasker

    if config.unsupervised not in WAYS:
        raise InputError(f"there is no way {config.unsupervised!r} without labels; choose {' or '.join(WAYS)}")
    backbone = chosen_backbone(config)
    transform = whole_image_transform(config, backbone)
    maker = BackboneMaps(backbone, device=device)
    return ForegroundMasker(maker, transform) if config.unsupervised == "pca" else CutMasker(maker, transform)


def listed(config: Namespace, folder: Path) -> "tuple[Manifest, Path]":
    """The manifest that was given, or that of a scan of the folders, which is written; and its place.

    Raises:
        InputError: a manifest is given with other paths or with a key, or nothing can be read.
    """
    from medino.data import Manifest, scan

    if not any(Path(path).suffix == ".parquet" for path in config.paths):
        manifest = scan(
            config.paths, plane=config.plane, key=config.key, ignore=[folder], workers=chosen_workers(config)
        )
        manifest.write(folder / MANIFEST_NAME)
        return manifest, folder / MANIFEST_NAME
    if len(config.paths) > 1:
        raise InputError("a manifest is segmented alone; give it without other paths, or give folders")
    if config.key is not None:
        raise InputError("a manifest's hashes were made when it was scanned; leave --key out")
    manifest = Manifest.read(config.paths[0])
    manifest.check_roots()
    return manifest, Path(config.paths[0])


def show(records: "list[MaskRecord]", rejects: "list[Reject]") -> None:
    """Print how many masks were written, and the reasons why others were not."""
    from rich.console import Console
    from rich.table import Table

    table = Table("images", "what became of them")
    counts: Counter[str] = Counter()
    for record in records:
        if record.file is None:
            counts[f"not segmented: {record.reason}"] += record.images
        elif record.file.endswith(".nii.gz"):
            counts["in NIfTI volumes"] += record.images
        else:
            counts["as PNG" + (f": {record.reason}" if record.reason else "")] += record.images
        if record.dicom_seg is not None:
            counts["in DICOM segmentations"] += record.images
        elif record.dicom_seg_reason is not None:
            counts[f"not in a DICOM segmentation: {record.dicom_seg_reason}"] += record.images
    for words, count in counts.most_common():
        table.add_row(str(count), words)
    console = Console(highlight=False)
    console.print(table)
    if rejects:
        console.print(f"{len(rejects)} images could not be decoded and are among the manifest's rejects now")
