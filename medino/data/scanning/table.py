"""The manifest's table from a scan's rows: whose each is, its label and its mask, column by column."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.data.identity import IdentityKey, clean
from medino.data.labels import JoinKeys, LabelRow, LabelTable
from medino.data.manifest import SAMPLE_SCHEMA
from medino.data.masks import bare_name
from medino.data.patients import Codes, Owners, settle_patients, without_constant_patient
from medino.data.readers.description import FACTS
from medino.data.scanning.rows import Rows, file_place
from medino.data.walk import place_of


def table_of_rows(
    rows: Rows,
    roots: list[Path],
    key: IdentityKey,
    labels: LabelTable | None,
    pattern: re.Pattern[str] | None,
    masks: dict[str, pa.Array],
    notes: list[str],
) -> pa.Table:
    """The manifest's table.

    Args:
        rows: what was read.
        roots: the scanned folders.
        key: hashes identifiers.
        labels: the labels, where there are any.
        pattern: finds the patient in a path, where the user says how.
        masks: the columns of the masks, where there are any.
        notes: gets a sentence for whatever the user should know.
    """
    columns = masks | _of_files(rows, roots, key, labels, pattern, notes)
    # What it took besides is given back before more is asked for: allocators keep it otherwise.
    pa.default_memory_pool().release_unused()
    for name in FACTS:
        found = rows.column(name)
        # What the user gives counts before what the file says.
        if name in columns:
            columns[name] = Codes.of(columns[name]).filled(Codes.of(found)).array()
        elif found.null_count < len(rows):
            columns[name] = found
    columns |= {name: rows.column(name) for name in ("file_bytes", "instance")}
    pa.default_memory_pool().release_unused()
    columns["sample_id"] = _sample_ids(rows, key, columns["frame"], rows.column("plane"))
    nothing = pa.py_buffer(bytes(8 * (len(rows) + 1)))
    arrays = []
    for field in SAMPLE_SCHEMA:
        values = columns.pop(field.name, None)
        arrays.append(_nulls(len(rows), field.type, nothing) if values is None else values.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=SAMPLE_SCHEMA)


def _nulls(count: int, kind: pa.DataType, nothing: pa.Buffer) -> pa.Array:
    """A column without values; all such columns share the zeros of one buffer, of 8 bytes an entry and 8 more."""
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(_nulls(count, kind.index_type, nothing), pa.array([], kind.value_type))
    if kind.num_fields:
        return pa.nulls(count, kind)
    # Whether there is a value, then numbers; of text, where each begins and then no letters.
    return pa.Array.from_buffers(kind, count, [nothing] * kind.num_buffers, null_count=count)


def _of_files(
    rows: Rows,
    roots: list[Path],
    key: IdentityKey,
    labels: LabelTable | None,
    pattern: re.Pattern[str] | None,
    notes: list[str],
) -> dict[str, pa.Array]:
    """The columns that hold for all rows of a file."""

    def hash_of_files(numbers: np.ndarray) -> list[str]:
        return [key.hash("file", file_place(*place)) for place in rows.places(numbers)]

    study = Codes.of(rows.of_images("study"))
    owners = Owners(
        # A DICOM slide's rows are tiles, but its header names patient and study as all of DICOM does.
        dicom=pc.or_(pc.equal(rows.of_images("format"), "dicom"), pc.is_valid(rows.of_images("sop_class"))).to_numpy(
            zero_copy_only=False
        ),
        patient=Codes.of(rows.of_images("patient")),
        pattern=_by_pattern(rows, key, pattern),
        study=study,
    )
    owners = without_constant_patient(owners, notes)
    found = [] if labels is None else _joined(rows, roots, key, labels, owners, notes)
    given = Codes.none(rows.images) if labels is None else Codes.of([row.patient if row else None for row in found])
    patient, unit = settle_patients(owners, given, hash_of_files, notes)
    columns = {
        "root": rows.of_rows(rows.files("root")),
        "path": rows.of_rows(rows.files("path")),
        "member": rows.of_rows(rows.files("member")),
        "patient": rows.of_rows(patient.array()),
        "patient_unit": rows.of_rows(unit.array()),
        "study": rows.of_rows(_or_file(study, hash_of_files)),
        "series": rows.of_rows(_or_file(Codes.of(rows.of_images("series")), hash_of_files)),
    }
    if labels is not None:
        columns["label"] = rows.of_rows(Codes.of([row.label if row else None for row in found]).array())
        columns["split"] = rows.of_rows(Codes.of([row.split if row else None for row in found]).array())
    return columns


def _or_file(codes: Codes, hash_of_files: Any) -> pa.Array:
    """A column with the file's own hash where there is nothing else."""
    alone = np.flatnonzero(codes.numbers < 0)
    itself = np.full(len(codes.numbers), -1, dtype=np.int32)
    itself[alone] = np.arange(len(alone))
    return codes.filled(Codes(itself, pa.array(hash_of_files(alone), type=pa.string()))).array()


def _by_pattern(rows: Rows, key: IdentityKey, pattern: re.Pattern[str] | None) -> Codes:
    if pattern is None:
        return Codes.none(rows.images)
    found = (pattern.search(place_of(path, member)) for _, path, member in rows.places())
    names = (clean(match[1]) if match else "" for match in found)
    return Codes.of([key.hash("patient", name) if name else None for name in names])


def _joined(
    rows: Rows, roots: list[Path], key: IdentityKey, labels: LabelTable, owners: Owners, notes: list[str]
) -> list[LabelRow | None]:
    """The labels' row of each image file."""
    found, unmatched = labels.join(_join_keys(rows, roots, key, labels.kind, owners.told))
    if unmatched:
        notes.append(f"{unmatched} of {len(labels.rows)} rows of the labels mean no readable image")
    unlabelled = sum(row is None or row.label is None for row in found)
    if unlabelled:
        notes.append(f"{unlabelled} of {len(found)} image files have no label")
    return found


def _join_keys(rows: Rows, roots: list[Path], key: IdentityKey, kind: str, told: Codes) -> Iterator[JoinKeys]:
    """What each image file can be found by; of its keys only those that the labels ask for."""
    empty = JoinKeys(paths=())
    if kind == "path":
        for root, path, member in rows.places():
            place = place_of(path, member)
            yield replace(empty, paths=(place, f"{roots[root].name}/{place}", f"{roots[root]}/{place}"))
    elif kind == "image":
        for (_, path, member), instance in zip(rows.places(), _texts(rows.of_images("instance")), strict=True):
            place = place_of(path, member)
            names = (PurePosixPath(place).name, bare_name(place))
            yield JoinKeys(paths=(), instance=instance, names=tuple(key.hash("image", name) for name in names))
    elif kind == "series":
        for found, series in zip(rows.places(), _texts(rows.of_images("series")), strict=True):
            yield JoinKeys(paths=(), series=series or key.hash("file", file_place(*found)))
    elif kind == "study":
        for pair in zip(_texts(rows.of_images("study")), _texts(rows.of_images("accession")), strict=True):
            yield JoinKeys(paths=(), studies=tuple(hashed for hashed in pair if hashed))
    else:
        for patient in _texts(told.array()):
            yield JoinKeys(paths=(), patient=patient)


def _texts(column: pa.Array) -> Iterator[str | None]:
    for start in range(0, len(column), 4096):
        yield from column.slice(start, 4096).to_pylist()


def _sample_ids(rows: Rows, key: IdentityKey, frame: pa.Array, plane: pa.Array) -> pa.Array:
    """Hashes of path, frame and plane."""
    chunks = []
    places = rows.places()
    image, place = -1, ""
    for start in range(0, len(rows), 65536):
        part = slice(start, start + 65536)
        ids = []
        facts = (array.slice(start, 65536).to_pylist() for array in (frame, plane))
        for of_row, index, axis in zip(rows.image[part].tolist(), *facts, strict=True):
            if of_row != image:
                image, place = of_row, file_place(*next(places))
            ids.append(key.hash("sample", f"{place}#{index}/{axis}"))
        chunks.append(pa.array(ids, type=pa.string()))
    return pa.chunked_array(chunks, type=pa.string()).combine_chunks()
