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
    part_of, member, mask_member = (np.zeros(count, dtype=np.int64) for _ in range(3))
    masked = manifest.table["mask_path"].is_valid().to_numpy()
    rejects = [replace(reject, root=reject.root + 1) for reject in manifest.rejects]
    for part in plan.parts:
        rows = slice(part.start, part.stop)
        for place, reason in failures[part.number].items():
            kept[part.start + int(place)] = False
            sample = manifest.sample(part.start + int(place))
            rejects.append(replace(sample.reject(reason), root=sample.root + 1))
        part_of[rows] = part.number
        member[rows] = np.cumsum(kept[rows]) - 1
        mask_member[rows] = np.cumsum(kept[rows] & masked[rows]) - 1
    if not kept.any():
        reason = rejects[-1].reason
        raise InputError(f"none of the {count} images of {manifest.name} could be decoded (the last: {reason})")
    zeros, unmasked = np.zeros(count, dtype=np.int64), ~masked
    columns = {
        "root": pa.array(zeros),
        "path": _named(part_of, [part.images_name for part in plan.parts]),
        "member": pa.array(member).cast(pa.string()),
        "format": _named(zeros, ["packed"]),
        **resized_geometry(manifest, plan.sizes),
        "mask_root": pa.array(zeros, mask=unmasked),
        "mask_path": _named(part_of, [part.masks_name for part in plan.parts], unmasked),
        "mask_member": pa.array(mask_member, mask=unmasked).cast(pa.string()),
        "mask_frame": pa.array(zeros, mask=unmasked),
    }
    table = manifest.table
    for name, values in columns.items():
        place = SAMPLE_SCHEMA.get_field_index(name)
        table = table.set_column(place, SAMPLE_SCHEMA.field(place), values.cast(SAMPLE_SCHEMA.field(place).type))
    if not kept.all():
        table = table.filter(pa.array(kept))
    return replace(
        manifest,
        table=table,
        rejects=tuple(rejects),
        roots=(root, *manifest.roots),
        mask_roots=(root,) if masked.any() else (),
        settings={**manifest.settings, "packed": {"short_side": plan.short_side, "of": manifest.fingerprint}},
    )


def _named(numbers: np.ndarray, names: list[str], without: np.ndarray | None = None) -> pa.Array:
    """Names by their numbers; null where `without` is true."""
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32(), mask=without), names).cast(pa.string())
