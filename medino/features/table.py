"""The table of features: vectors by sample, layer and pooling, with the fingerprints of what they were made from."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medino.core import InputError, read_table, schema_of, write_table
from medino.data import Manifest, Reject
from medino.features.schema import FEATURES_VERSION, FeatureRow

FEATURE_SCHEMA = schema_of(FeatureRow)

WHOLE_IMAGE = (0, "whole_image")
"""Layer and pooling of a descriptor that has no tokens; it answers for every choice of features."""

FEATURES = {
    "class": ((1, "class"),),
    "mean_patch": ((1, "mean_patch"),),
    "class_and_mean_patch": ((1, "class"), (1, "mean_patch")),
    "last_four": ((4, "class"), (3, "class"), (2, "class"), (1, "class")),
    "last_four_and_mean_patch": ((4, "class"), (3, "class"), (2, "class"), (1, "class"), (1, "mean_patch")),
}
"""The features that a probe can ask for: layers and poolings that are put one after the other."""


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Vectors of N samples by one backbone.

    Attributes:
        sample_ids: (N,) the manifest's sample ids, each once.
        blocks: for each (layer, pooling) the (N, D) float32 vectors.
        backbone: fingerprint of the checkpoint, or the name of a baseline.
        manifest: fingerprint of the manifest.
        transform: fingerprint of the evaluation transform.
        rejects: sample ids that could not be decoded, and so have no vectors.
        facts: more to keep with the table, JSON-plain (the transform's settings, the backbone's name).
        failures: the rejects with their reasons; in memory only, because they hold paths.
    """

    sample_ids: np.ndarray
    blocks: Mapping[tuple[int, str], np.ndarray]
    backbone: str
    manifest: str
    transform: str
    rejects: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Reject, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.sample_ids.tolist())) != len(self.sample_ids):
            raise InputError("the features hold a sample twice; embed again")
        for (layer, pooling), vectors in self.blocks.items():
            if len(vectors) != len(self.sample_ids):
                raise InputError(
                    f"the features hold {len(vectors)} vectors of layer {layer}, {pooling}, for "
                    f"{len(self.sample_ids)} samples; embed again"
                )

    def __len__(self) -> int:
        return len(self.sample_ids)

    @classmethod
    def read(cls, path: str | Path) -> "FeatureTable":
        """Read a table.

        Raises:
            InputError: the file is missing, holds another table, lacks metadata, or holds vectors of differing lengths.
        """
        table, facts = read_table(
            path, "features", FEATURES_VERSION, needed=("backbone", "manifest", "transform", "rejects", "facts")
        )
        table = table.combine_chunks()
        layers = table["layer"].to_numpy()
        poolings = np.asarray(table["pooling"].to_pylist(), dtype=object)
        names = np.asarray(table["sample_id"].to_pylist(), dtype=object)
        blocks: dict[tuple[int, str], np.ndarray] = {}
        sample_ids = np.empty(0, dtype=object)
        for layer, pooling in dict.fromkeys(zip(layers.tolist(), poolings.tolist(), strict=True)):
            rows = np.flatnonzero((layers == layer) & (poolings == pooling))
            if not blocks:
                sample_ids = names[rows]
            elif not np.array_equal(sample_ids, names[rows]):
                raise InputError(f"{path} lacks layer {layer}, {pooling}, for some samples; embed again")
            blocks[layer, pooling] = matrix(table["vector"].take(pa.array(rows)), path)
        return cls(
            sample_ids=sample_ids,
            blocks=blocks,
            backbone=facts["backbone"],
            manifest=facts["manifest"],
            transform=facts["transform"],
            rejects=tuple(json.loads(facts["rejects"])),
            facts=json.loads(facts["facts"]),
        )

    def write(self, path: str | Path) -> None:
        """Write the table, whole or not at all."""
        parts = []
        for (layer, pooling), vectors in self.blocks.items():
            count, size = vectors.shape
            offsets = pa.array(np.arange(count + 1, dtype=np.int32) * size)
            flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
            columns = [
                pa.array(self.sample_ids.tolist(), pa.string()),
                pa.array(np.full(count, layer, dtype=np.int64)),
                pa.array([pooling] * count, pa.string()),
                pa.ListArray.from_arrays(offsets, flat),
            ]
            parts.append(pa.Table.from_arrays(columns, schema=FEATURE_SCHEMA))
        facts = {
            "backbone": self.backbone,
            "manifest": self.manifest,
            "transform": self.transform,
            "rejects": json.dumps(list(self.rejects)),
            "facts": json.dumps(dict(self.facts)),
        }
        table = pa.concat_tables(parts) if parts else FEATURE_SCHEMA.empty_table()
        write_table(path, table, "features", FEATURES_VERSION, facts)

    def vectors(self, features: str = "class") -> tuple[np.ndarray, np.ndarray]:
        """Sample ids (N,) and vectors (N, D) for a choice of features.

        Args:
            features: class, mean_patch, class_and_mean_patch, last_four (class tokens of the last four blocks, the
                earliest first) or last_four_and_mean_patch. A baseline's table has one vector a sample and gives it for
                each choice.

        Raises:
            InputError: the choice is unknown, or the table was made without the layers it needs.
        """
        needed = needed_blocks(self.blocks, features)
        return self.sample_ids, np.concatenate([self.blocks[key] for key in needed], axis=1)

    def offered(self, choices: Sequence[str]) -> list[str]:
        """Those of some choices of features that the table has; of choices that are the same vectors the first."""
        there: dict[tuple[tuple[int, str], ...], str] = {}
        for choice in choices:
            needed = (WHOLE_IMAGE,) if WHOLE_IMAGE in self.blocks else FEATURES[choice]
            if set(needed) <= set(self.blocks):
                there.setdefault(needed, choice)
        return list(there.values())

    def check_made_from(self, manifest: Manifest, name: str) -> None:
        """Refuse features of another manifest.

        Args:
            manifest: the manifest they are to be used with.
            name: what the error calls the features.

        Raises:
            InputError: the fingerprints differ.
        """
        check_made_from(self.manifest, manifest, name)


def needed_blocks(there: Collection[tuple[int, str]], features: str) -> tuple[tuple[int, str], ...]:
    """The layers and poolings that make a choice of features, among those that are there.

    Raises:
        InputError: the choice is unknown, or the layers it needs are not there.
    """
    if features not in FEATURES:
        raise InputError(f"there are no features {features!r}; choose one of {', '.join(FEATURES)}")
    needed = (WHOLE_IMAGE,) if WHOLE_IMAGE in there else FEATURES[features]
    missing = [f"layer {layer} from the end, {pooling}" for layer, pooling in needed if (layer, pooling) not in there]
    if missing:
        raise InputError(f"the features {features!r} need {'; '.join(missing)}, which this table lacks; embed again")
    return needed


def check_made_from(fingerprint: str, manifest: Manifest, name: str) -> None:
    """What `FeatureTable.check_made_from` does, for the fingerprint that features carry."""
    if fingerprint != manifest.fingerprint:
        raise InputError(
            f"the features {name!r} were made from another manifest (fingerprint {fingerprint[:8]}, not "
            f"{manifest.fingerprint[:8]} of the one given); "
            "embed this manifest, once its labels and splits are in place"
        )


def matrix(column: pa.ChunkedArray, path: str | Path) -> np.ndarray:
    """(N, D) float32 of a column of lists of one length."""
    lists = column.combine_chunks()
    lengths = np.unique(lists.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) != 1 or lists.flatten().null_count:
        raise InputError(f"{path} holds vectors of differing lengths or with nulls; embed again")
    return lists.flatten().to_numpy().reshape(len(lists), int(lengths[0]))
