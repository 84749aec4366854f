"""Label volumes among what was scanned: which image each belongs to, whether it fits, and off the list of images.

Three layouts are known: the `dataset.json` of the Medical Segmentation Decathlon and nnU-Net; a folder `images` or
`imagesTr` beside `labels` or `labelsTr` with volumes of the same names (NIfTI only); and a pattern that the user gives.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from medino.core import InputError, UnreadableImageError, track
from medino.data.manifest import Manifest
from medino.data.masks import bare_name
from medino.data.readers.nifti_header import Placement, placement
from medino.data.schema import Reject
from medino.data.source import Source
from medino.data.walk import place_of

TOLERANCE = 0.1
"""How far a corner of a label volume may lie from its image's, in parts of the image's shortest voxel side: what
headers round off is far below, and a shift by half a voxel far above."""

DESCRIPTION = "dataset.json"
_FOLDERS = re.compile(r"(^|/)(images|imagesTr|imagesTs|imagesVal)(?=/)")
_CHANNEL = re.compile(r"_\d{4}$")
"""nnU-Net numbers the channels of an image in the ends of their names; its label is without."""
_MODALITIES = {
    "CT": re.compile(r"^ct\b|computed", re.IGNORECASE),
    "PT": re.compile(r"^pe?t\b", re.IGNORECASE),
    "MR": re.compile(r"^mr|^t1|^t2|flair|^adc|^dwi|^swi", re.IGNORECASE),
    "US": re.compile(r"^us\b|ultrasound", re.IGNORECASE),
}
"""DICOM's code of what a `dataset.json` calls a modality or channel, in free words."""


@dataclass(frozen=True)
class _File:
    """A scanned file, and its rows of the manifest."""

    root: int
    path: str
    member: str | None
    rows: range
    nifti: bool

    @property
    def place(self) -> tuple[int, str]:
        return self.root, place_of(self.path, self.member)

    def reject(self, reason: str) -> Reject:
        return Reject(self.root, self.path, None, reason, self.member)


@dataclass
class _Found:
    """What the layouts say.

    Attributes:
        label_of: the place of each image's label, by the image's place.
        labels: all places of labels, those without an image too.
        modality_of: what a description says an image is, by its place.
        classes: number and name of each class.
        descriptions: those that were understood, which are no rejects any more.
    """

    label_of: dict[tuple[int, str], tuple[int, str]] = field(default_factory=dict)
    labels: set[tuple[int, str]] = field(default_factory=set)
    modality_of: dict[tuple[int, str], str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    descriptions: set[tuple[int, str]] = field(default_factory=set)


def with_label_volumes(manifest: Manifest, pattern: str | None, notes: list[str]) -> Manifest:
    """Make the masks of label volumes that were scanned as if they were images.

    The rows of the label volumes go. An image whose label does not fit keeps its rows, without a mask, and the label
    volume becomes a reject with the reason.

    Args:
        manifest: a fresh scan.
        pattern: where the mask of an image lies from its folder, with `{stem}` for the image's name without extension:
            `{stem}_seg.nii.gz`, `../masks/{stem}.png`. None: only what the other layouts say.
        notes: gets a sentence for what was found.

    Raises:
        InputError: the pattern has no `{stem}`, or fits none of the images.
    """
    files = {file.place: file for file in _files(manifest, every=pattern is not None)}
    found = _Found()
    for reject in manifest.rejects:
        if posixpath.basename(place_of(reject.path, reject.member)) == DESCRIPTION:
            _by_description(manifest, reject, files, found)
    _by_folders(files, found)
    if pattern is not None:
        _by_pattern(files, pattern, found)
    if not found.labels and not found.descriptions:
        return manifest
    return _paired(manifest, files, found, notes)


def _files(manifest: Manifest, every: bool) -> Iterator[_File]:
    """The files of the manifest, or the NIfTI files among them; the rows of one follow each other."""
    formats = manifest.table["format"].to_numpy(zero_copy_only=False)
    rows = np.arange(len(formats)) if every else np.flatnonzero(formats == "nifti")
    part = manifest.table.select(["root", "path", "member"]).take(rows)
    places = zip(*(part[name].to_pylist() for name in part.column_names), strict=True)
    for (root, path, member), group in groupby(zip(rows, places, strict=True), key=lambda pair: pair[1]):
        numbers = [int(row) for row, _ in group]
        yield _File(root, path, member, range(numbers[0], numbers[-1] + 1), formats[numbers[0]] == "nifti")


def _by_description(manifest: Manifest, reject: Reject, files: Mapping[tuple[int, str], _File], found: _Found) -> None:
    """Pairs, modality and classes from a `dataset.json`; nothing where it is another kind of file."""
    try:
        text = json.loads(Source(Path(manifest.roots[reject.root]) / reject.path, reject.member).read_bytes())
    except (OSError, UnreadableImageError, ValueError, RecursionError):
        return
    if not isinstance(text, dict) or "labels" not in text:
        return
    place = place_of(reject.path, reject.member)
    folder = posixpath.dirname(place)
    training = text.get("training")
    pairs = [entry for entry in training if isinstance(entry, dict)] if isinstance(training, list) else []
    for entry in pairs:
        image, label = (
            (reject.root, posixpath.normpath(posixpath.join(folder, str(entry.get(name, "")))))
            for name in ("image", "label")
        )
        if label in files:
            found.labels.add(label)
            if image in files:
                found.label_of[image] = label
    found.descriptions.add((reject.root, place))
    found.classes |= _classes(text["labels"])
    modality = _modality(text.get("modality") or text.get("channel_names"))
    if modality is not None:
        below = f"{folder}/" if folder else ""
        inside = [place for place in files if place[0] == reject.root and place[1].startswith(below)]
        found.modality_of |= dict.fromkeys(inside, modality)


def _classes(labels: Any) -> dict[str, str]:
    """Number to name; the two versions of the format have it either way round."""
    if not isinstance(labels, dict):
        return {}
    pairs = [(key, value) if str(key).isdigit() else (value, key) for key, value in labels.items()]
    return {str(number): str(name) for number, name in pairs if str(number).isdigit()}


def _modality(names: Any) -> str | None:
    """DICOM's code, if all channels have the same."""
    words = list(names.values()) if isinstance(names, dict) else []
    codes = {next((code for code, known in _MODALITIES.items() if known.search(str(word))), None) for word in words}
    return codes.pop() if len(codes) == 1 else None


def _by_folders(files: Mapping[tuple[int, str], _File], found: _Found) -> None:
    by_bare = {(root, _bare(place)): (root, place) for root, place in files if files[root, place].nifti}
    folders = set()
    for (root, bare), image in by_bare.items():
        match = list(_FOLDERS.finditer(bare))
        if not match or image in found.label_of:
            continue
        start, end = match[-1].start(2), match[-1].end(2)
        labels = "labels" + bare[start + len("images") : end]
        for stem in (bare, _CHANNEL.sub("", bare)):
            label = by_bare.get((root, bare[:start] + labels + stem[end:]))
            if label is not None:
                found.label_of[image] = label
                folders.add((root, bare[:start] + labels))
                break
    found.labels |= {
        place
        for (root, bare), place in by_bare.items()
        if any((root, str(folder)) in folders for folder in PurePosixPath(bare).parents)
    }


def _by_pattern(files: Mapping[tuple[int, str], _File], pattern: str, found: _Found) -> None:
    if "{stem}" not in pattern:
        raise InputError(f"the mask pattern {pattern!r} has no {{stem}} for the image's name; put it in")
    before = len(found.label_of)
    for root, place in files:
        folder, stem = posixpath.dirname(place), bare_name(place)
        label = (root, posixpath.normpath(posixpath.join(folder, pattern.replace("{stem}", stem))))
        if label in files and label != (root, place):
            found.label_of[root, place] = label
            found.labels.add(label)
    if len(found.label_of) == before:
        raise InputError(f"the mask pattern {pattern!r} fits none of the {len(files)} files; correct it")


def _bare(place: str) -> str:
    return posixpath.join(posixpath.dirname(place), bare_name(place))


def _paired(manifest: Manifest, files: Mapping[tuple[int, str], _File], found: _Found, notes: list[str]) -> Manifest:
    masks = {name: manifest.column(name) for name in ("mask_root", "mask_path", "mask_member", "mask_frame")}
    modality = manifest.column("modality")
    for place, code in found.modality_of.items():
        rows = files[place].rows
        modality[rows.start : rows.stop] = [
            code if value is None else value for value in modality[rows.start : rows.stop]
        ]
    rejected = dict.fromkeys(found.labels - set(found.label_of.values()), "a label volume without its image")
    pairs = [(image, label) for image, label in found.label_of.items() if image not in found.labels]
    fitting = 0
    for image_place, label_place in track(pairs, "pairing label volumes", total=len(pairs)):
        image, label = files[image_place], files[label_place]
        reason = _why_not(manifest, image, label)
        if reason is not None:
            rejected[label_place] = reason
            continue
        fitting += 1
        for row in image.rows:
            masks["mask_root"][row] = len(manifest.mask_roots) + label.root
            masks["mask_path"][row], masks["mask_member"][row] = label.path, label.member
            masks["mask_frame"][row] = int(manifest.table["frame"][row].as_py()) % len(label.rows)
    kept = np.ones(len(manifest), dtype=bool)
    for place in found.labels:
        kept[files[place].rows.start : files[place].rows.stop] = False
    rejects = [r for r in manifest.rejects if (r.root, place_of(r.path, r.member)) not in found.descriptions]
    rejects += [files[place].reject(reason) for place, reason in rejected.items()]
    notes.append(
        f"{fitting} images have a label volume, and {len(found.labels)} label volumes are not listed as images"
    )
    if rejected:
        notes.append(f"{len(rejected)} label volumes can't be used: they are among the rejects")
    settings = {**manifest.settings, "mask_classes": found.classes} if found.classes else manifest.settings
    for name, values in masks.items():
        manifest = manifest.with_column(name, values)
    manifest = manifest.with_column("modality", modality)
    order = sorted(rejects, key=lambda r: (r.root, r.path, r.member or "", r.frame or 0))
    roots = (*manifest.mask_roots, *manifest.roots)
    return replace(manifest.select(kept), rejects=tuple(order), mask_roots=roots, settings=settings)


def _why_not(manifest: Manifest, image: _File, label: _File) -> str | None:
    """Why a label does not fit its image; None where it does."""
    sizes = [
        tuple(int(manifest.table[name][file.rows.start].as_py()) for name in ("rows", "columns"))
        for file in (image, label)
    ]
    if image.nifti and label.nifti:
        try:
            ours, theirs = (placement(manifest.source(file.rows.start)) for file in (image, label))
        except (UnreadableImageError, OSError):
            return "the header of the label volume or of its image can't be read again"
        return _misplaced(ours, theirs)
    if sizes[0] != sizes[1]:
        return f"the mask has {_product(sizes[1])} pixels, its image {_product(sizes[0])}"
    if len(label.rows) not in (1, len(image.rows)):
        return f"the mask has {len(label.rows)} frames, its image {len(image.rows)}"
    return None


def _misplaced(image: Placement, label: Placement) -> str | None:
    if image.shape != label.shape:
        return f"the label volume has {_product(label.shape)} voxels, its image {_product(image.shape)}"
    if label.volumes not in (1, image.volumes):
        return f"the label file holds {label.volumes} volumes, its image {image.volumes}"
    ends = np.stack(np.meshgrid(*((0, size - 1) for size in image.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    corners = [ends @ placed.affine[:3, :3].T + placed.affine[:3, 3] for placed in (image, label)]
    apart = float(np.linalg.norm(corners[0] - corners[1], axis=1).max())
    if apart > TOLERANCE * float(image.spacing.min()):
        return f"the label volume lies up to {apart:.3g} mm beside its image, by the headers of both"
    return None


def _product(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
