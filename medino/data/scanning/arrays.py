"""The images of an NPZ file stand for themselves: in another archive each would be a file, and a patient of its own."""

import numpy as np
import pyarrow.compute as pc

from medino.data.identity import IdentityKey
from medino.data.manifest import Manifest
from medino.data.scanning.rows import file_place


def with_images_apart(manifest: Manifest, key: IdentityKey) -> Manifest:
    """Give each image (each volume) of an NPZ file a patient, study and series of its own, where nobody knows these.

    Args:
        manifest: a fresh scan, in which an array's images count as one file.
        key: hashes their places.
    """
    table = manifest.table
    alone = pc.and_(pc.equal(table["format"], "npz"), pc.equal(table["patient_unit"], "file"))
    rows = np.flatnonzero(alone.to_numpy())
    if not len(rows):
        return manifest
    names = ("root", "path", "member", "stack", "frame")
    places = zip(*(table[name].take(rows).to_pylist() for name in names), strict=True)
    hashes = [
        key.hash("file", f"{file_place(root, path, member)}#{frame if stack is None else stack}")
        for root, path, member, stack, frame in places
    ]
    for name in ("patient", "study", "series"):
        values = manifest.column(name)
        values[rows] = hashes
        manifest = manifest.with_column(name, values)
    return manifest
