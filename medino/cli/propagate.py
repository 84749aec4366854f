"""`medino propagate`: a mask of one slice, or of a few, through the volume by the likeness of patches."""

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.backbone_options import add_backbone_options, chosen_backbone, whole_image_transform
from medino.cli.embed import chosen_device
from medino.core import InputError, UnreadableImageError, existing_file

if TYPE_CHECKING:
    import numpy as np
    import torch

    from medino.data import Manifest
    from medino.data.volumes.stacks import SliceStack
    from medino.features import EvaluationTransform

VOLUME_ENDING = ".nii.gz"

EPILOG = """
Nothing is trained: each patch takes the labels of the patches most like it in the labelled slice and the last few
slices, near its own place, as DINO follows objects through a video. Slices are counted from 0: to the patient's right,
front or head (NIfTI), along the normal of the slices (DICOM).
"""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino propagate`."""
    from medino.segmentation import Propagation

    parser.epilog = EPILOG
    parser.add_argument("volume", type=str, help="a NIfTI file, or the folder of one DICOM series")
    parser.add_argument(
        "--mask",
        nargs="+",
        type=str,
        required=True,
        help="what is marked: a NIfTI file on the volume's grid, a DICOM segmentation of the series, or an image (PNG) "
        "for each of --slices",
    )
    parser.add_argument(
        "--slices",
        nargs="+",
        type=int | None,
        help="the slices that are marked; needed for images [those in which the mask marks something]",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=str,
        required=True,
        help=f"a file that ends in {VOLUME_ENDING}, on the volume's own grid; or a folder, for one PNG a slice",
    )
    parser.add_argument(
        "--plane",
        type=int | str,
        default="axial",
        help="how a NIfTI volume is sliced: axial, coronal, sagittal, or the axis 2, 1, 0",
    )
    add_backbone_options(parser)
    parser.add_class_arguments(Propagation, "propagation", help="how labels pass from slice to slice")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")


def run(config: Namespace) -> None:
    """Propagate and write."""
    import numpy as np

    from medino.features import BackboneMaps
    from medino.segmentation import Propagation
    from medino.segmentation.propagation import propagate_masks

    output = Path(config.output)
    as_volume = output.name.endswith(VOLUME_ENDING)
    if output.is_dir() if as_volume else output.is_file():
        raise InputError(f"the output {output} is there as something else; give another by -o")
    propagation = Propagation(**vars(config.propagation))
    device = chosen_device(config.device)
    manifest, stack = only_volume(config)
    if as_volume and stack.reason:
        raise InputError(f"the volume has no affine: {stack.reason}; give a folder by -o, for one PNG a slice")
    given = marked_slices(config, manifest, stack)
    backbone = chosen_backbone(config)
    transform = whole_image_transform(config, backbone)
    images = slice_images(manifest, stack, transform)
    masks = propagate_masks(images, given, BackboneMaps(backbone, device=device), transform, propagation).numpy()
    try:
        if as_volume:
            stack.write(output, masks)
        else:
            write_slices(output, masks)
    except OSError as error:
        raise InputError(f"the output {output} can't be written ({error.strerror}); give another by -o") from error
    labels = ", ".join(str(value) for value in np.unique(masks) if value)
    print(f"mask      {output}\n          labels {labels} in {len(masks)} slices, from {words(sorted(given))}")


def words(slices: list[int]) -> str:
    """The labelled slices, for people."""
    return f"slice{'s' * (len(slices) > 1)} {', '.join(map(str, slices))}"


def only_volume(config: Namespace) -> "tuple[Manifest, SliceStack]":
    """The volume that is named, scanned together with a DICOM segmentation of it.

    Raises:
        InputError: there is none, or more than one, or a file can't be read.
    """
    from medino.data import scan
    from medino.data.reading import NOT_AN_IMAGE
    from medino.data.volumes.stacks import find_stacks

    paths = [Path(path) for path in (config.volume, *(mask for mask in config.mask if is_dicom(mask)))]
    manifest = scan(paths, plane=config.plane, workers=1)
    broken = [reject.reason for reject in manifest.rejects if reject.reason != NOT_AN_IMAGE]
    if broken:
        raise InputError(
            f"{len(broken)} file{'s' * (len(broken) != 1)} of {config.volume} can't be used ({broken[0]}): the volume "
            "may not be whole; restore or remove what is broken"
        )
    stacks = find_stacks(manifest)
    if len(stacks) != 1:
        raise InputError(
            f"{config.volume} holds {len(stacks) or 'no'} volume{'s' * (len(stacks) != 1)}; give one NIfTI file, or "
            "the folder of one DICOM series"
        )
    return manifest, stacks[0]


def is_dicom(path: str) -> bool:
    """Whether a mask is a DICOM file.

    Raises:
        InputError: it is not there.
    """
    from medino.data.readers import sniff
    from medino.data.source import Source

    return sniff(Source(existing_file(path, "mask"))) == "dicom"


def marked_slices(config: Namespace, manifest: "Manifest", stack: "SliceStack") -> "dict[int, torch.Tensor]":
    """The masks of the labelled slices, each (H, W) int64, by slice.

    Raises:
        InputError: the masks don't fit the volume, or a slice is not there.
    """
    import torch

    from medino.data import PixelDataset, read_mask
    from medino.data.readers import sniff
    from medino.data.source import Source

    asked, count, size = config.slices, len(stack.rows), manifest.sample(int(stack.rows[0]))
    if asked is not None and not set(asked) <= set(range(count)):
        raise InputError(f"slices {', '.join(map(str, asked))} are asked for, the volume has 0 to {count - 1}")
    kinds = {sniff(Source(Path(mask))) for mask in config.mask}
    try:
        if kinds == {"nifti"} and len(config.mask) == 1:
            labels = torch.from_numpy(volume_labels(config.mask[0], stack, size.rows, size.columns))
        elif kinds == {"dicom"} and len(config.mask) == 1:
            pixels = PixelDataset(manifest)
            masked = [path is not None for path in manifest.column("mask_path")[stack.rows]]
            if not any(masked):
                raise InputError(f"the segmentation {config.mask[0]} is of no slice of the volume; give that of it")
            empty = torch.zeros(size.rows, size.columns, dtype=torch.int64)
            rows = zip(stack.rows.tolist(), masked, strict=True)
            labels = torch.stack([pixels.mask(row) if there else empty for row, there in rows])
        elif asked is not None and len(asked) == len(config.mask) and kinds == {"raster"}:
            return {
                place: fitting(read_mask(Path(mask)), mask, size.rows, size.columns)
                for place, mask in zip(asked, config.mask, strict=True)
            }
        else:
            raise InputError("give one NIfTI file or DICOM segmentation by --mask, or one image for each of --slices")
    except UnreadableImageError as error:
        raise InputError(f"the mask can't be read: {error}") from error
    chosen = [place for place in range(count) if labels[place].any()] if asked is None else asked
    if not chosen:
        raise InputError("the mask marks nothing in any slice; mark something, or give another mask")
    return {place: labels[place] for place in chosen}


def volume_labels(mask: str, stack: "SliceStack", rows: int, columns: int) -> "np.ndarray":
    """A NIfTI mask on the volume's slices."""
    from medino.data.source import Source
    from medino.data.volumes.label_grid import labels_on_slices

    if stack.affine is None:
        raise InputError(f"the volume has no affine: {stack.reason}; give images for --slices as masks")
    return labels_on_slices(Source(Path(mask)), stack, rows, columns)


def fitting(mask: "torch.Tensor", path: str, rows: int, columns: int) -> "torch.Tensor":
    """A mask of the slices' size.

    Raises:
        InputError: it has another.
    """
    if tuple(mask.shape) != (rows, columns):
        raise InputError(
            f"the mask {path} has {mask.shape[0]} x {mask.shape[1]} pixels, the slices {rows} x {columns}; make it "
            "anew in their size"
        )
    return mask


def slice_images(manifest: "Manifest", stack: "SliceStack", transform: "EvaluationTransform") -> "list[torch.Tensor]":
    """The slices as the backbone sees them, in order.

    Raises:
        InputError: one can't be decoded.
    """
    from medino.data import PixelDataset

    pixels = PixelDataset(manifest, neighbours=transform.intensity.channels == "neighbours")
    images = []
    for place, row in enumerate(stack.rows.tolist()):
        try:
            images.append(transform(pixels[row]))
        except UnreadableImageError as error:
            raise InputError(f"slice {place} can't be read ({error}); the volume is not whole") from error
    return images


def write_slices(folder: Path, masks: "np.ndarray") -> None:
    """Write one PNG a slice, all or none.

    Raises:
        InputError: the folder is there and not empty.
    """
    import torch

    from medino.core import whole_folder
    from medino.segmentation.writers import write_mask

    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"the folder {folder} is not empty; give another by -o")
    with whole_folder(folder) as temporary:
        for place, mask in enumerate(masks):
            write_mask(temporary / f"{place:04d}.png", torch.from_numpy(mask))
