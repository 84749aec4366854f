"""Which mask belongs to which image: the same relative path in the masks' folder, else the same name."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from medino.core import InputError, existing_folder
from medino.data.readers import ReadSettings
from medino.data.reading import frames_or_reason, read_all
from medino.data.schema import Sample
from medino.data.walk import FoundFile, walk


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
        mask_of: the mask of each image that has one, by the image's root and path.
        unused: mask files that belong to no image.
        ambiguous: images whose name fits several masks, or whose mask fits several images; they get none.
    """

    mask_of: dict[tuple[int, str], FoundFile]
    unused: int
    ambiguous: int


def match_masks(images: Sequence[FoundFile], folder: str | Path) -> MatchedMasks:
    """Find the mask of each image file.

    The mask at the same path below `folder` (extensions aside) is the image's. Without one, a mask anywhere below
    `folder` with the same name is, provided that no other mask and no other image has this name.

    Raises:
        InputError: the folder is missing, or nothing in it fits any image.
    """
    masks = walk([existing_folder(folder, "masks' folder")]).files
    by_path: dict[str, list[FoundFile]] = defaultdict(list)
    by_name: dict[str, list[FoundFile]] = defaultdict(list)
    for mask in masks:
        by_path[bare_path(mask.path)].append(mask)
        by_name[bare_name(mask.path)].append(mask)
    same_path = Counter(bare_path(image.path) for image in images)
    same_name = Counter(bare_name(image.path) for image in images)
    mask_of: dict[tuple[int, str], FoundFile] = {}
    ambiguous = 0
    for image in images:
        path, name = bare_path(image.path), bare_name(image.path)
        if path in by_path:
            found, rivals = by_path[path], same_path[path]
        else:
            found, rivals = by_name.get(name, []), same_name[name]
        if len(found) == 1 and rivals == 1:
            mask_of[image.root, image.path] = found[0]
        elif found:
            ambiguous += 1
    if not mask_of:
        raise InputError(
            f"none of the {len(masks)} files in {folder} has the path or the name of a scanned image; "
            "name each mask like its image"
        )
    return MatchedMasks(mask_of, len(masks) - len(set(mask_of.values())), ambiguous)


def with_masks(
    samples: Sequence[Sample],
    images: Sequence[FoundFile],
    folder: str | Path,
    settings: ReadSettings,
    workers: int,
    notes: list[str],
) -> list[Sample]:
    """Give each sample its mask, after a look at the mask's header. Slices of volumes take the mask's same slice.

    Args:
        samples: rows of the manifest.
        images: their files.
        folder: the masks' folder, which becomes mask root 0.
        settings: how the images were read.
        workers: processes that read.
        notes: gets a sentence for masks that can't be used and images that go without.

    Raises:
        InputError: a mask has another size than its image, or fewer slices; or no mask fits.
    """
    matched = match_masks(images, folder)
    tasks = [(mask.source, settings) for mask in matched.mask_of.values()]
    answers = dict(zip(matched.mask_of, read_all(frames_or_reason, tasks, workers, "reading masks"), strict=True))
    reasons = Counter(answer for answer in answers.values() if isinstance(answer, str))
    notes += [f"{count} masks can't be used: {reason}" for reason, count in reasons.most_common()]
    if matched.ambiguous:
        notes.append(f"{matched.ambiguous} images go without mask: names of images or masks are not unique")
    if matched.unused:
        notes.append(f"{matched.unused} files in the masks' folder belong to no image")
    result = []
    for sample in samples:
        place = (sample.root, sample.path)
        frames = answers.get(place, "")
        if not isinstance(frames, str):
            mask = matched.mask_of[place].path
            if sample.frame >= len(frames):
                raise InputError(f"the mask {mask} has {len(frames)} slices, its image has more; make it anew")
            size = (frames[sample.frame]["rows"], frames[sample.frame]["columns"])
            if size != (sample.rows, sample.columns):
                raise InputError(
                    f"the mask {mask} has {size[0]} x {size[1]} pixels, its image {sample.rows} x {sample.columns}; "
                    "make it anew in the image's size"
                )
            sample = replace(sample, mask_root=0, mask_path=mask, mask_frame=sample.frame)
        result.append(sample)
    return result
