"""Which mask belongs to which image: the same relative path in the masks' folder, else the same name."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from medino.core import InputError, existing_folder
from medino.data.readers import ReadSettings
from medino.data.reading import frames_or_reason, read_all
from medino.data.walk import FoundFile, walk
from medino.data.workers import Workers


def bare_path(path: str) -> str:
    """A relative path without its image extension; `.nii.gz` counts as one."""
    pure = PurePosixPath(path)
    return str(pure.with_suffix("").with_suffix("") if pure.name.lower().endswith(".nii.gz") else pure.with_suffix(""))


def bare_name(path: str) -> str:
    """The last part of `bare_path`."""
    return PurePosixPath(bare_path(path)).name


@dataclass(frozen=True)
class MatchedMasks:
    """Masks by their names alone.

    Attributes:
        mask_of: the mask of each image that has one, by the image's number.
        unused: mask files that belong to no image.
        ambiguous: images whose name fits several masks, or whose mask fits several images; they get none.
    """

    mask_of: dict[int, FoundFile]
    unused: int
    ambiguous: int


@dataclass(frozen=True)
class Frames:
    """The rows of a manifest as a mask has to fit them, one entry a row.

    Attributes:
        image: number of the row's file among the images.
        frame: frame or slice.
        rows: height in pixels.
        columns: width in pixels.
    """

    image: np.ndarray
    frame: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def match_masks(images: Iterable[str], folder: str | Path) -> MatchedMasks:
    """Find the mask of each image file.

    The mask at the same path below `folder` (extensions aside) is the image's. Without one, a mask anywhere below
    `folder` with the same name is, provided that no other mask and no other image has this name.

    Args:
        images: the images' places (paths, with archives as folders), which are gone through twice.
        folder: the masks' folder.

    Raises:
        InputError: the folder is missing, or nothing in it fits any image.
    """
    masks = list(walk([existing_folder(folder, "masks' folder")]).files)
    by_path: dict[str, list[FoundFile]] = defaultdict(list)
    by_name: dict[str, list[FoundFile]] = defaultdict(list)
    for mask in masks:
        by_path[bare_path(mask.place)].append(mask)
        by_name[bare_name(mask.place)].append(mask)
    bare_paths = [bare_path(image) for image in images]
    same_path = Counter(path for path in bare_paths if path in by_path)
    same_name = Counter(name for name in map(_last, bare_paths) if name in by_name)
    mask_of: dict[int, FoundFile] = {}
    ambiguous = 0
    for number, path in enumerate(bare_paths):
        name = _last(path)
        if path in by_path:
            found, rivals = by_path[path], same_path[path]
        else:
            found, rivals = by_name.get(name, []), same_name[name]
        if len(found) == 1 and rivals == 1:
            mask_of[number] = found[0]
        elif found:
            ambiguous += 1
    if not mask_of:
        raise InputError(
            f"none of the {len(masks)} files in {folder} has the path or the name of a scanned image; "
            "name each mask like its image (DICOM segmentations are scanned along with their images instead)"
        )
    return MatchedMasks(mask_of, len(masks) - len(set(mask_of.values())), ambiguous)


def mask_columns(
    frames: Frames,
    images: Iterable[str],
    folder: str | Path,
    settings: ReadSettings,
    workers: int | Workers,
    notes: list[str],
) -> dict[str, pa.Array]:
    """The mask of each row, after a look at the mask's header. Slices of volumes take the mask's same slice.

    Args:
        frames: the rows.
        images: the places of their files.
        folder: the masks' folder, which becomes mask root 0.
        settings: how the images were read.
        workers: who reads.
        notes: gets a sentence for masks that can't be used and images that go without.

    Returns:
        The columns `mask_root`, `mask_path`, `mask_member` and `mask_frame`.

    Raises:
        InputError: a mask has another size than its image, or fewer slices; or no mask fits.
    """
    matched = match_masks(images, folder)
    numbers = list(matched.mask_of)
    tasks = [(matched.mask_of[number].source, settings) for number in numbers]
    reasons: Counter[str] = Counter()
    path_of = np.full(int(frames.image.max()) + 1, None, dtype=object)
    member_of = path_of.copy()
    starts = np.searchsorted(frames.image, np.arange(len(path_of) + 1))
    for number, answer in zip(
        numbers, read_all(frames_or_reason, tasks, workers, "reading masks", decodes=False), strict=True
    ):
        if isinstance(answer, str):
            reasons[answer] += 1
            continue
        if len(answer) > 1 and answer[0]["modality"] == "SEG":
            reasons["a DICOM segmentation says itself of which images it is; scan its folder with theirs"] += 1
            continue
        mask = matched.mask_of[number]
        _check_fit(mask.place, answer, frames, range(starts[number], starts[number + 1]))
        path_of[number], member_of[number] = mask.path, mask.source.member
    notes += [f"{count} masks can't be used: {reason}" for reason, count in reasons.most_common()]
    if matched.ambiguous:
        notes.append(f"{matched.ambiguous} images go without mask: names of images or masks are not unique")
    if matched.unused:
        notes.append(f"{matched.unused} files in the masks' folder belong to no image")
    without = np.array([path is None for path in path_of], dtype=bool)[frames.image]
    return {
        "mask_root": pa.array(np.zeros(len(without), dtype=np.int32), mask=without),
        "mask_path": pa.array(path_of, type=pa.string()).take(pa.array(frames.image)),
        "mask_member": pa.array(member_of, type=pa.string()).take(pa.array(frames.image)),
        "mask_frame": pa.array(frames.frame, type=pa.int32(), mask=without),
    }


def _check_fit(mask: str, slices: Sequence[dict], frames: Frames, rows: range) -> None:
    for row in rows:
        frame = int(frames.frame[row])
        if frame >= len(slices):
            raise InputError(f"the mask {mask} has {len(slices)} slices, its image has more; make it anew")
        size = (slices[frame]["rows"], slices[frame]["columns"])
        wanted = (int(frames.rows[row]), int(frames.columns[row]))
        if size != wanted:
            raise InputError(
                f"the mask {mask} has {size[0]} x {size[1]} pixels, its image {wanted[0]} x {wanted[1]}; "
                "make it anew in the image's size"
            )


def _last(path: str) -> str:
    return path.rpartition("/")[2]
