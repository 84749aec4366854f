"""The manifest of packed images: the packed one's rows, with a shard and a row in it as their place."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from medino.core import InputError
from medino.data.manifest import SAMPLE_SCHEMA, Manifest
from medino.data.pack.geometry import resized_geometry
from medino.data.pack.plan import PackPlan


def packed_manifest(plan: PackPlan, root: Path | str, failures: Mapping[int, Mapping[str, str]]) -> Manifest:
    """The manifest of the rows in the shards.

    Its rows have the samples' ids, patients, labels and splits. The rejects of the manifest that was packed are kept,
    with its folders behind the shards' location.

    Args:
        plan: what was packed.
        root: where.
        failures: for each part, the reasons for what is not in its shard, by the place of the row in the part.

    Raises:
        InputError: nothing is in the shards.
    """
    manifest, count = plan.manifest, len(plan.manifest)
    kept = np.ones(count, dtype=bool)
    rejects = [replace(reject, root=reject.root + 1) for reject in manifest.rejects]
    paths, members, mask_paths, mask_members = (np.full(count, None, dtype=object) for _ in range(4))
    masked = manifest.table["mask_path"].is_valid().to_numpy()
    for part in plan.parts:
        for place, reason in failures[part.number].items():
            row = part.start + int(place)
            kept[row] = False
            rejects.append(replace(manifest.sample(row).reject(reason), root=manifest.sample(row).root + 1))
        rows = np.arange(part.start, part.stop)[kept[part.start : part.stop]]
        paths[rows], members[rows] = part.images_name, [str(place) for place in range(len(rows))]
        rows = rows[masked[rows]]
        mask_paths[rows], mask_members[rows] = part.masks_name, [str(place) for place in range(len(rows))]
    if not kept.any():
        reason = rejects[-1].reason
        raise InputError(f"none of the {count} images of {manifest.name} could be decoded (the last: {reason})")
    zeros = [0 if has_mask else None for has_mask in masked]
    columns = {
        "root": np.zeros(count, dtype=np.int64),
        "path": paths,
        "member": members,
        "format": ["packed"] * count,
        **resized_geometry(manifest, plan.sizes),
        "mask_root": zeros,
        "mask_path": mask_paths,
        "mask_member": mask_members,
        "mask_frame": zeros,
    }
    rows = np.flatnonzero(kept)
    table = manifest.table.take(pa.array(rows))
    for name, values in columns.items():
        place = SAMPLE_SCHEMA.get_field_index(name)
        chosen = pa.array([values[row] for row in rows], SAMPLE_SCHEMA.field(place).type)
        table = table.set_column(place, SAMPLE_SCHEMA.field(place), chosen)
    return replace(
        manifest,
        table=table,
        rejects=tuple(rejects),
        roots=(root, *manifest.roots),
        mask_roots=(root,) if masked.any() else (),
        settings={**manifest.settings, "packed": {"short_side": plan.short_side, "of": manifest.fingerprint}},
    )
