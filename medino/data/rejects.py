"""Moving images that turn out to be unreadable from a manifest's rows to its rejects."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.data.manifest import Manifest
from medino.data.schema import Reject


def record_rejects(path: str | Path, rejects: Iterable[Reject]) -> Manifest:
    """Move what failed in decoding from the manifest's rows to its rejects, and write both files again.

    Args:
        path: the manifest's file.
        rejects: what failed; a reject without a frame takes all of the file's rows with it.

    Returns:
        The manifest as it is now on disk.

    Raises:
        InputError: the manifest can't be read, or one of its folders is not there: then no file is to blame.
    """
    manifest = Manifest.read(path)
    manifest.check_roots()
    known = {(reject.root, reject.path, reject.member, reject.frame) for reject in manifest.rejects}
    new = {(reject.root, reject.path, reject.member, reject.frame): reject for reject in rejects}
    named = pc.is_in(manifest.table["path"], pa.array([place[1] for place in new], pa.string()))
    kept = np.ones(len(manifest), dtype=bool)
    for row in np.flatnonzero(named).tolist():
        sample = manifest.sample(row)
        place = (sample.root, sample.path, sample.member)
        kept[row] = (*place, sample.frame) not in new and (*place, None) not in new
    added = tuple(reject for place, reject in new.items() if place not in known)
    manifest = dataclasses.replace(manifest.select(kept), rejects=manifest.rejects + added)
    manifest.write(path)
    return manifest
