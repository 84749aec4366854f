"""Folders to a manifest: what the headers say, whose each image is, its label and its mask, and what can't be used."""

import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino import __version__
from medino.core import InputError
from medino.data.identity import IdentityKey
from medino.data.labels import read_labels
from medino.data.manifest import Manifest
from medino.data.masks import Frames, mask_columns
from medino.data.readers import PLANES, ReadSettings
from medino.data.reading import read_all, why_undecodable
from medino.data.scanning.arrays import with_images_apart
from medino.data.scanning.headers import FileTask, kept_of_file, unread
from medino.data.scanning.journal import Journal
from medino.data.scanning.rows import Rows
from medino.data.scanning.table import table_of_rows
from medino.data.schema import MANIFEST_VERSION, Reject
from medino.data.slides.settings import Tiles
from medino.data.splits import check_fractions, check_splits, split_measured
from medino.data.walk import FileList, place_of, walk
from medino.data.workers import Workers, get_ready

LOG = logging.getLogger(__name__)


def scan(
    paths: Sequence[str | Path],
    *,
    labels: str | Path | None = None,
    label_column: str | None = None,
    masks: str | Path | None = None,
    mask_pattern: str | None = None,
    key: str | Path | IdentityKey | None = None,
    verify: bool = False,
    plane: int | str = "axial",
    spacing_mm: Sequence[float] | None = None,
    tiles: Tiles | None = None,
    patient_pattern: str | None = None,
    split_fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    min_side: int = 1,
    ignore: Iterable[str | Path] = (),
    name: str = "cohort",
    workers: int | Workers | None = None,
    journal: str | Path | None = None,
) -> Manifest:
    """Read the headers of all images below some folders.

    Args:
        paths: folders and files.
        labels: a CSV file with labels (see `medino.data.labels`).
        label_column: the column of `labels` with the labels, where it has another name than `label`.
        masks: a folder with a mask for each image, named like it.
        mask_pattern: where among the scanned files the mask of an image lies, such as `{stem}_seg.nii.gz` (see
            `medino.data.label_volumes`, also for the label volumes that are found without it).
        key: the key for hashing identifiers, or its file, which is made if it is not there; None draws a key that is
            kept nowhere, so that no other manifest's patients can be compared with these.
        verify: decode every pixel, and move what fails to the rejects.
        plane: slices of NIfTI volumes are perpendicular to this axis: "sagittal", "coronal", "axial" or 0, 1, 2.
        tiles: how slides are cut into tiles; without a resolution in it, slides are rejects.
        spacing_mm: voxel size along x (left to right), y and z that NIfTI volumes and their labels are brought to.
        patient_pattern: a regular expression, searched in the relative path of files without a PatientID; its first
            group is the patient.
        split_fractions: split by patient into these parts (see `split_measured`); None leaves the column `split` as the
            labels give it.
        seed: draws who goes to which split.
        min_side: images with a shorter side than this become rejects, pixels.
        ignore: files and folders to leave out (results of an earlier scan).
        name: what figures and tables will call this set.
        workers: who reads; a number is a number of processes, None one for each core. The result does not depend on it.
        journal: a folder that keeps what was read, so that the next scan reads only what is new or changed, and one
            that was killed goes on where it was; made if it is not there. None keeps nothing.

    Returns:
        The manifest, not yet written. What the user should know (who stands for the patient, labels without images) is
        logged as warnings and kept under "notes" in its settings.

    Raises:
        InputError: something given does not exist or does not fit, no image can be read, or the disk is full.
    """
    settings, pattern = ReadSettings(_plane(plane), _spacing(spacing_mm), tiles or Tiles()), _pattern(patient_pattern)
    if masks is not None and Path(masks).resolve() in {Path(path).resolve() for path in paths}:
        raise InputError(
            f"the masks' folder {masks} is to be scanned for images as well; give masks a folder of their own"
        )
    if split_fractions is not None:
        check_fractions(split_fractions)
    secret = _key(key)
    table = None if labels is None else read_labels(labels, secret, label_column)
    key_file = None if key is None or isinstance(key, IdentityKey) else Path(key)
    beside = (path for path in (labels, masks, key_file, journal) if path is not None)
    who = (os.cpu_count() or 1) if workers is None else workers
    get_ready(who)
    found = walk(paths, [*ignore, *beside])
    notes = [f"{found.repeated} links or paths lead to what is listed already"] if found.repeated else []

    def keep_key() -> None:
        if key_file is not None and not key_file.exists():
            secret.keep(key_file)

    facts = {
        "medino": __version__,
        "schema": str(MANIFEST_VERSION),
        "key": secret.key_id,
        "settings": json.dumps(asdict(settings), sort_keys=True),
    }
    kept = Journal(None if journal is None else Path(journal), facts, before_writing=keep_key)
    try:
        _read_headers(found.files, kept, secret, settings, who)
        # What was needed for the walk is given back: Arrow keeps it otherwise.
        pa.default_memory_pool().release_unused()
        rows = Rows(found.files, kept.parts(), min_side)
        rejects = found.rejects + rows.rejects
        if not len(rows):
            raise _nothing_readable(rejects)
        mask_of_rows = {}
        if masks is not None:
            frames = Frames(rows.image, *(rows.column(name).to_numpy() for name in ("frame", "rows", "columns")))
            places = [place_of(path, member) for _, path, member in rows.places()]
            mask_of_rows = mask_columns(frames, places, masks, settings, who, notes)
        samples = table_of_rows(rows, found.roots, secret, table, pattern, mask_of_rows, notes)
        manifest = Manifest(
            samples,
            rejects=_in_order(rejects),
            roots=tuple(found.roots),
            mask_roots=() if masks is None else (Path(masks).resolve(),),
            name=name,
            settings={**asdict(settings), "verified": verify, "key_id": secret.key_id, "notes": notes},
        )
        del samples, rows
        if "SEG" in pc.unique(manifest.table["modality"]).to_pylist():
            # Imported late, as it brings torch, which a scan does without.
            from medino.data.segmentations import with_segmentations

            manifest = with_segmentations(manifest, secret, who, notes)
            if not len(manifest):
                raise _nothing_readable(manifest.rejects)
        formats = pc.unique(manifest.table["format"]).to_pylist()
        if "npz" in formats:
            manifest = with_images_apart(manifest, secret)
        if mask_pattern is not None or "nifti" in formats:
            # Imported late, as reading volumes brings torch.
            from medino.data.label_volumes import with_label_volumes

            manifest = with_label_volumes(manifest, mask_pattern, notes)
        manifest = _finished(manifest, who, verify, split_fractions, seed, notes)
        flagged = len(manifest) - manifest.table["burned_in"].null_count
        if flagged:
            notes.append(
                f"{flagged} of {len(manifest)} images may show a name in their pixels (column burned_in says why); "
                "look at them before anything made of them is handed on"
            )
        keep_key()
        kept.finish()
    finally:
        kept.close()
    for note in notes:
        LOG.warning(note)
    return manifest


def _read_headers(
    files: FileList, journal: Journal, key: IdentityKey, settings: ReadSettings, who: int | Workers
) -> None:
    """Bring the journal up to date."""
    unknown = journal.recall(files)
    wanted = files if len(unknown) == len(files) else files.of(unknown)
    tasks: Iterable[FileTask] = ((f"{files.roots[root]}/{path}", member) for root, path, member in wanted.places())
    answers = read_all(partial(kept_of_file, key, settings), tasks, who, "reading headers", len(wanted), decodes=False)
    for number, (root, path, member), answer in zip(map(int, unknown), wanted.places(), answers, strict=True):
        rows = unread(answer) if isinstance(answer, str) else answer
        journal.add(number, str(files.roots[root]), path, member, rows)


def _finished(
    manifest: Manifest,
    who: int | Workers,
    verify: bool,
    split_fractions: Mapping[str, float] | None,
    seed: int,
    notes: list[str],
) -> Manifest:
    """Decoded, if asked for, and with splits that are sound."""
    if verify:
        manifest = _decoded(manifest, who)
        if not len(manifest):
            raise _nothing_readable(manifest.rejects)
    check_splits(manifest)
    if split_fractions is not None:
        if manifest.table["split"].null_count < len(manifest):
            raise InputError("the labels give splits already; leave out their column split, or the split fractions")
        manifest = split_measured(manifest, split_fractions, seed=seed)
    return manifest


def _decoded(manifest: Manifest, who: int | Workers) -> Manifest:
    """Decode everything: the rows that can be decoded, and rejects for the rest."""
    tasks = ((manifest.source(row), sample) for row, sample in enumerate(manifest.samples()))
    answers = read_all(why_undecodable, tasks, who, "decoding pixels", total=len(manifest))
    failed = {row: reason for row, reason in enumerate(answers) if reason is not None}
    if not failed:
        return manifest
    rejects = [manifest.sample(row).reject(reason) for row, reason in failed.items()]
    whole = np.ones(len(manifest), dtype=bool)
    whole[list(failed)] = False
    return replace(manifest.select(whole), rejects=_in_order([*manifest.rejects, *rejects]))


def _in_order(rejects: Iterable[Reject]) -> tuple[Reject, ...]:
    return tuple(sorted(rejects, key=lambda reject: (reject.root, reject.path, reject.member or "", reject.frame or 0)))


def _plane(plane: int | str) -> int:
    for axis, name in PLANES.items():
        if str(plane).lower() in (name, str(axis)):
            return axis
    raise InputError(f"the plane {plane!r} is none of {', '.join(PLANES.values())}, 0, 1, 2; choose one of them")


def _spacing(spacing: Sequence[float] | None) -> tuple[float, float, float] | None:
    if spacing is None:
        return None
    if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):
        raise InputError(f"the spacing {' '.join(map(str, spacing))} is no voxel size; give three lengths in mm")
    return float(spacing[0]), float(spacing[1]), float(spacing[2])


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"the patient pattern {text!r} is no regular expression ({error}); correct it") from error
    if pattern.groups < 1:
        raise InputError(f"the patient pattern {text!r} has no group; put the part that names the patient in (...)")
    return pattern


def _key(key: str | Path | IdentityKey | None) -> IdentityKey:
    if isinstance(key, IdentityKey):
        return key
    return IdentityKey.read(key) if key is not None and Path(key).exists() else IdentityKey.draw()


def _nothing_readable(rejects: Sequence[Reject]) -> InputError:
    reasons = Counter(reject.reason for reject in rejects).most_common(3)
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons) or "there are no files"
    return InputError(f"no image can be read ({told}); give a folder with images, or say what the reasons ask for")
