"""What a worker keeps of one file: facts of its header and keyed hashes. Raw identifiers never leave its process."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from medino.data.identity import IdentityKey, clean
from medino.data.manifest import SAMPLE_SCHEMA
from medino.data.patients import hashed_patient
from medino.data.readers import ReadSettings
from medino.data.readers.description import FACTS
from medino.data.reading import frames_or_reason
from medino.data.source import Source

HASHED = ("patient", "study", "series", "instance", "accession")
"""Keyed hashes of a file's identifiers; null where it has none. An accession number counts as one for a study."""


def _kept(name: str) -> pa.Field:
    kind = SAMPLE_SCHEMA.field(name).type
    return pa.field(name, pa.string() if pa.types.is_dictionary(kind) else kind)


KEPT_SCHEMA = pa.schema(
    [
        pa.field("file_bytes", pa.int64()),
        pa.field("changed_ns", pa.int64()),
        pa.field("reason", pa.string()),
        *(pa.field(name, pa.string()) for name in HASHED),
        *(_kept(name) for name in FACTS),
    ]
)
"""The columns of a file's rows: its stamp, why it can't be read, its hashes, the facts of each frame."""

Kept = list[tuple[Any, ...]]
"""Rows of `KEPT_SCHEMA`: one for each frame, or a single one with the reason."""

FileTask = tuple[str, str | None]
"""A file's whole path, and its member that is meant."""


def kept_of_file(key: IdentityKey, settings: ReadSettings, task: FileTask) -> Kept:
    """Read the header of a file, hash its identifiers and drop them.

    Args:
        key: hashes identifiers.
        settings: how volumes and slides are looked at.
        task: the file.
    """
    try:
        # Asked for once: a network drive takes its time for each answer.
        source = Source(Path(task[0]), task[1]).stamped()
    except FileNotFoundError:
        return unread("the file is not there")
    except OSError as error:
        return unread(f"the file can't be opened ({error.strerror})")
    frames = frames_or_reason((source, settings))
    if isinstance(frames, str):
        return unread(frames, source.stamp)
    hashed = _hashed(frames[0], key)
    return [(*source.stamp, None, *hashed, *[frame[name] for name in FACTS]) for frame in frames]


def unread(reason: str, stamp: tuple[int | None, int | None] = (None, None)) -> Kept:
    """The row of a file that can't be read; without stamp the next scan tries again."""
    return [(*stamp, reason, *[None] * (len(HASHED) + len(FACTS)))]


def _hashed(frame: dict[str, Any], key: IdentityKey) -> tuple[str | None, ...]:
    """The hashes of `HASHED`."""
    study, series, instance, accession = (
        clean(frame.get(name)) for name in ("study_uid", "series_uid", "sop_instance_uid", "accession_number")
    )
    return (
        hashed_patient(frame.get("patient_id"), key),
        key.hash("study", study) if study else None,
        key.hash("series", series) if series else None,
        key.hash("image", instance) if instance else None,
        key.hash("study", accession) if accession else None,
    )
