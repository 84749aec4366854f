"""Folders to a manifest: what the headers say, whose each image is, its label and its mask, and what can't be used."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from medino.core import InputError
from medino.data.identity import IdentityKey, clean
from medino.data.labels import JoinKeys, LabelRow, LabelTable, read_labels
from medino.data.manifest import Manifest
from medino.data.masks import bare_name, with_masks
from medino.data.patients import Ownership, hashed_patient, settle_patients, without_constant_patient
from medino.data.readers import PLANES, ReadSettings
from medino.data.reading import frames_or_reason, read_all, why_undecodable
from medino.data.schema import Reject, Sample
from medino.data.source import Source
from medino.data.splits import check_splits, split_measured
from medino.data.walk import FoundFile, walk

LOG = logging.getLogger(__name__)

SAMPLE_FIELDS = tuple(field.name for field in fields(Sample))


@dataclass(frozen=True)
class _Image:
    """A readable file: its frames as the reader describes them, without the identifiers, which are hashed."""

    file: FoundFile
    frames: list[dict[str, Any]]
    owner: Ownership
    join: JoinKeys
    series: str


def scan(
    paths: Sequence[str | Path],
    *,
    labels: str | Path | None = None,
    label_column: str | None = None,
    masks: str | Path | None = None,
    key: str | Path | IdentityKey | None = None,
    verify: bool = False,
    plane: int | str = "axial",
    patient_pattern: str | None = None,
    split_fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    min_side: int = 1,
    ignore: Iterable[str | Path] = (),
    name: str = "cohort",
    workers: int = 1,
) -> Manifest:
    """Read the headers of all images below some folders.

    Args:
        paths: folders and files.
        labels: a CSV file with labels (see `medino.data.labels`).
        label_column: the column of `labels` with the labels, where it has another name than `label`.
        masks: a folder with a mask for each image, named like it.
        key: the key for hashing identifiers, or its file, which is made if it is not there; None draws a key that is
            kept nowhere, so that no other manifest's patients can be compared with these.
        verify: decode every pixel, and move what fails to the rejects.
        plane: slices of NIfTI volumes are perpendicular to this axis: "sagittal", "coronal", "axial" or 0, 1, 2.
        patient_pattern: a regular expression, searched in the relative path of files without a PatientID; its first
            group is the patient.
        split_fractions: split by patient into these parts (see `split_measured`); None leaves the column `split` as the
            labels give it.
        seed: draws who goes to which split.
        min_side: images with a shorter side than this become rejects, pixels.
        ignore: files and folders to leave out (results of an earlier scan).
        name: what figures and tables will call this set.
        workers: processes that read; the result does not depend on their number.

    Returns:
        The manifest, not yet written. What the user should know (who stands for the patient, labels without images) is
        logged as warnings and kept under "notes" in its settings.

    Raises:
        InputError: something given does not exist or does not fit, or no image can be read.
    """
    settings, pattern = ReadSettings(plane=_plane(plane)), _pattern(patient_pattern)
    if masks is not None and Path(masks).resolve() in {Path(path).resolve() for path in paths}:
        raise InputError(
            f"the masks' folder {masks} is to be scanned for images as well; give masks a folder of their own"
        )
    secret = _key(key)
    table = None if labels is None else read_labels(labels, secret, label_column)
    key_file = None if key is None or isinstance(key, IdentityKey) else Path(key)
    found = walk(paths, [*ignore, *(path for path in (labels, masks, key_file) if path is not None)])
    answers = read_all(frames_or_reason, [(file.source, settings) for file in found.files], workers, "reading headers")
    images, rejects = [], list(found.rejects)
    for file, answer in zip(found.files, answers, strict=True):
        if isinstance(answer, str):
            rejects.append(Reject(file.root, file.path, None, answer, file.source.member))
            continue
        frames = [frame for frame in answer if _side(frame) >= min_side]
        too_small = f"smaller than the {min_side} pixels asked for (--min-side)"
        if frames:
            rejects += [
                Reject(file.root, file.path, each["frame"], too_small, file.source.member)
                for each in answer
                if each not in frames
            ]
            images.append(_image(file, found.roots[file.root], frames, secret, pattern))
        else:
            rejects.append(Reject(file.root, file.path, None, too_small, file.source.member))
    if not images:
        raise _nothing_readable(rejects)
    notes = [f"{found.repeated} links or paths lead to what is listed already"] if found.repeated else []
    samples = _samples(images, table, secret, notes)
    segmentations = sum(sample.modality == "SEG" for sample in samples)
    if segmentations:
        notes.append(
            f"{segmentations} of {len(samples)} images are frames of DICOM segmentations, which show masks; "
            "leave their files out of what is trained on"
        )
    if masks is not None:
        samples = with_masks(samples, [image.file for image in images], masks, settings, workers, notes)
    if verify:
        samples, undecodable = _decoded(samples, found.roots, workers)
        rejects += undecodable
        if not samples:
            raise _nothing_readable(rejects)
    manifest = Manifest.from_samples(
        samples,
        rejects=tuple(
            sorted(rejects, key=lambda reject: (reject.root, reject.path, reject.member or "", reject.frame or 0))
        ),
        roots=tuple(found.roots),
        mask_roots=() if masks is None else (Path(masks).resolve(),),
        name=name,
        settings={"plane": settings.plane, "verified": verify, "key_id": secret.key_id, "notes": notes},
    )
    check_splits(manifest)
    if split_fractions is not None:
        if any(split is not None for split in manifest.column("split")):
            raise InputError("the labels give splits already; leave out their column split, or the split fractions")
        manifest = split_measured(manifest, split_fractions, seed=seed)
    if key_file is not None and not key_file.exists():
        secret.keep(key_file)
    for note in notes:
        LOG.warning(note)
    return manifest


def _side(frame: Mapping[str, Any]) -> int:
    """The shorter side of a described frame, pixels."""
    return min(int(frame["rows"]), int(frame["columns"]))


def _plane(plane: int | str) -> int:
    for axis, name in PLANES.items():
        if str(plane).lower() in (name, str(axis)):
            return axis
    raise InputError(f"the plane {plane!r} is none of {', '.join(PLANES.values())}, 0, 1, 2; choose one of them")


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


def _image(
    file: FoundFile, root: Path, frames: list[dict[str, Any]], key: IdentityKey, pattern: re.Pattern[str] | None
) -> _Image:
    """Hash the identifiers of a file and drop them."""
    tags = {name: clean(frames[0].get(name)) for name in ("study_uid", "series_uid", "sop_instance_uid")}
    accession = clean(frames[0].get("accession_number"))
    file_hash = key.hash("file", f"{file.root}/{file.place}")
    study = key.hash("study", tags["study_uid"]) if tags["study_uid"] else None
    series = key.hash("series", tags["series_uid"]) if tags["series_uid"] else None
    in_path = pattern.search(file.place) if pattern else None
    owner = Ownership(
        file=file_hash,
        dicom=frames[0]["format"] == "dicom",
        patient=hashed_patient(frames[0].get("patient_id"), key),
        pattern=key.hash("patient", clean(in_path[1])) if in_path and clean(in_path[1]) else None,
        study=study,
    )
    join = JoinKeys(
        paths=(file.place, f"{root.name}/{file.place}", f"{root}/{file.place}"),
        instance=key.hash("image", tags["sop_instance_uid"]) if tags["sop_instance_uid"] else None,
        names=tuple(key.hash("image", name) for name in (file.source.name, bare_name(file.place))),
        series=series,
        studies=tuple(key.hash("study", raw) for raw in (tags["study_uid"], accession) if raw),
    )
    kept = [{name: value for name, value in frame.items() if name in SAMPLE_FIELDS} for frame in frames]
    return _Image(file, kept, owner, join, series or file_hash)


def _samples(images: list[_Image], table: LabelTable | None, key: IdentityKey, notes: list[str]) -> list[Sample]:
    """The rows of all images, with patient, label and split."""
    owners = without_constant_patient([image.owner for image in images], notes)
    rows: list[LabelRow | None] = [None] * len(images)
    if table is not None:
        joins = [replace(image.join, patient=owner.told) for image, owner in zip(images, owners, strict=True)]
        rows, unmatched = table.join(joins)
        if unmatched:
            notes.append(f"{unmatched} of {len(table.rows)} rows of the labels mean no readable image")
        unlabelled = sum(row is None or row.label is None for row in rows)
        if unlabelled:
            notes.append(f"{unlabelled} of {len(images)} image files have no label")
    settled = settle_patients(owners, [row.patient if row else None for row in rows], notes)
    samples = []
    for image, row, (patient, unit) in zip(images, rows, settled, strict=True):
        for frame in image.frames:
            place = f"{image.file.root}/{image.file.place}#{frame['frame']}/{frame.get('plane')}"
            facts: dict[str, Any] = dict.fromkeys(SAMPLE_FIELDS) | frame
            facts |= {
                "sample_id": key.hash("sample", place),
                "root": image.file.root,
                "path": image.file.path,
                "member": image.file.source.member,
                "file_bytes": image.file.source.stamp[0],
                "instance": image.join.instance,
                "patient": patient,
                "patient_unit": unit,
                "study": image.owner.study or image.owner.file,
                "series": image.series,
                "label": row.label if row else None,
                "split": row.split if row else None,
            }
            samples.append(Sample(**facts))
    return samples


def _decoded(samples: list[Sample], roots: Sequence[Path], workers: int) -> tuple[list[Sample], list[Reject]]:
    """Decode everything: what can be decoded, and rejects for the rest."""
    tasks = [(Source(roots[sample.root] / sample.path, sample.member), sample) for sample in samples]
    kept, rejects = [], []
    for sample, reason in zip(samples, read_all(why_undecodable, tasks, workers, "decoding pixels"), strict=True):
        if reason is None:
            kept.append(sample)
        else:
            rejects.append(sample.reject(reason))
    return kept, rejects


def _nothing_readable(rejects: Sequence[Reject]) -> InputError:
    reasons = Counter(reject.reason for reject in rejects).most_common(3)
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons) or "there are no files"
    return InputError(f"no image can be read ({told}); give a folder with DICOM, NIfTI, PNG, JPEG or TIFF files")
