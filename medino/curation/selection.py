"""What to train on: everything but blank, clipped and repeated images, and of the rest a balanced part."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medino.core import InputError, read_table, schema_of, write_table
from medino.curation.clusters import LEVELS, RESAMPLINGS, balanced_sample, build_hierarchy, level_sizes
from medino.curation.duplicates import SIMILARITY, Pairs, find_duplicates
from medino.curation.looks import Looks, look_at_all
from medino.curation.quality import LEAST_CONTRAST, MOST_AT_ENDS, blank, clipped
from medino.curation.schema import (
    BALANCE,
    BLANK,
    CLIPPED,
    CURATION_VERSION,
    EXACT,
    NEAR,
    UNREADABLE,
    Dropped,
)
from medino.data import Manifest
from medino.data.workers import Workers
from medino.features import FeatureTable

DROPPED_SCHEMA = schema_of(Dropped)

KEPT_FIRST = {"test": 0, "validation": 1, "train": 2, None: 3}
"""Of images that show one thing, the one whose split comes first here stays: what is measured on is not thinned out,
and its copies leave the training images."""

NOT_BALANCED = ("validation", "test")
"""Splits that balance leaves as they are: how often things occur there is part of what is measured."""


@dataclass(frozen=True)
class CurationSettings:
    """What is dropped.

    Attributes:
        least_contrast: images with no more contrast than this are blank, as a share of the range that they could fill.
        most_at_ends: images with more of their values than this share at their smallest and largest value are clipped.
        duplicates: near: drop near-duplicates and exact ones; exact: only the latter; no: neither.
        similarity: correlation of fine detail, once one image lies on the other, that makes near-duplicates.
        keep: share of the remaining training images that balance by clusters keeps; 1 keeps all.
        tokens: whose features clusters are made of: class, mean_patch, class_and_mean_patch or last_four.
        levels: levels of clusters.
        resamplings: how often each level is clustered anew.
        seed: of k-means, and draws the images of a cluster.

    Raises:
        InputError: a number can't be what it stands for.
    """

    least_contrast: float = LEAST_CONTRAST
    most_at_ends: float = MOST_AT_ENDS
    duplicates: str = "near"
    similarity: float = SIMILARITY
    keep: float = 0.5
    tokens: str = "class"
    levels: int = LEVELS
    resamplings: int = RESAMPLINGS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.duplicates not in ("near", "exact", "no"):
            raise InputError(f"duplicates is {self.duplicates!r}; choose near, exact or no")
        for name, low, high in (("least_contrast", 0, 1), ("most_at_ends", 0, 1), ("keep", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} is {value}, which is no share; give a number from {low} to {high}")
        check_similarity(self.similarity)
        if not self.keep or self.levels < 1 or self.resamplings < 0:
            raise InputError("keep has to be above 0, levels at least 1 and resamplings at least 0; change them")


@dataclass(frozen=True, eq=False)
class Curation:
    """What curation did.

    Attributes:
        manifest: the rows that stay, their settings saying how they were chosen.
        dropped: the rows that went, in the manifest's order.
        facts: numbers to tell, JSON-plain.
    """

    manifest: Manifest
    dropped: tuple[Dropped, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def curate(
    manifest: Manifest,
    settings: CurationSettings | None = None,
    features: FeatureTable | None = None,
    workers: int | Workers = 1,
) -> Curation:
    """Choose the rows of a manifest that are worth training on. No file is changed.

    Args:
        manifest: the images.
        settings: what is dropped; the defaults if None.
        features: features of the same manifest; without them nothing is balanced.
        workers: who decodes, a number is a number of processes; the result does not depend on it.

    Raises:
        InputError: the features are of another manifest, or nothing would stay.
    """
    settings = settings or CurationSettings()
    if features is not None:
        features.check_made_from(manifest, "features")
    looks = look_at_all(manifest, workers)
    dropped: dict[int, Dropped] = {}
    ids = manifest.column("sample_id")
    for row in looks.failures:
        dropped[row] = Dropped(ids[row], UNREADABLE)
    for reason, chosen, measure in (
        (BLANK, blank(looks, settings.least_contrast), looks.contrast),
        (CLIPPED, clipped(looks, settings.most_at_ends), looks.ends),
    ):
        for place in np.flatnonzero(chosen).tolist():
            dropped.setdefault(place, Dropped(ids[place], reason, float(measure[place])))
    if settings.duplicates != "no":
        _drop_duplicates(manifest, looks, settings, workers, dropped)
    facts: dict[str, Any] = {}
    if features is not None and settings.keep < 1:
        facts = _drop_for_balance(manifest, features, settings, dropped)
    stay = np.array([row for row in range(len(manifest)) if row not in dropped], np.int64)
    if not len(stay):
        raise InputError("nothing would stay: all images are blank, clipped or unreadable; look at some of them")
    chosen_rows = manifest.select(stay)
    rejects = tuple(manifest.sample(row).reject(reason) for row, reason in looks.failures.items())
    made = {"settings": dataclasses.asdict(settings), "from": manifest.fingerprint, **facts}
    chosen_rows = dataclasses.replace(
        chosen_rows, rejects=(*manifest.rejects, *rejects), settings={**manifest.settings, "curation": made}
    )
    return Curation(chosen_rows, tuple(dropped[row] for row in sorted(dropped)), facts)


def dropped_path(manifest: str | Path) -> Path:
    """Where the table of what was dropped lies, beside the new manifest."""
    path = Path(manifest)
    return path.with_name(f"{path.stem}.curation.parquet")


def write_dropped(path: str | Path, dropped: tuple[Dropped, ...]) -> None:
    """Write the table of what was dropped and why."""
    table = pa.Table.from_pylist([vars(row) for row in dropped], schema=DROPPED_SCHEMA)
    write_table(path, table, "curation", CURATION_VERSION, {})


def read_dropped(path: str | Path) -> tuple[Dropped, ...]:
    """Read what `write_dropped` wrote.

    Raises:
        InputError: the file is missing or is no such table.
    """
    table, _ = read_table(path, "curation", CURATION_VERSION)
    return tuple(Dropped(**row) for row in table.to_pylist())


def check_similarity(similarity: float) -> None:
    """See that a threshold for near-duplicates means something.

    Raises:
        InputError: it does not.
    """
    if not 0.5 <= similarity <= 1:
        raise InputError(f"similarity is {similarity}; below 0.5 all that is alike would count: give 0.5 to 1")


def _drop_duplicates(
    manifest: Manifest, looks: Looks, settings: CurationSettings, workers: int | Workers, dropped: dict[int, Dropped]
) -> None:
    """Go through the images by who stays first, and drop what a staying one shows already."""
    left_out = np.zeros(len(manifest), bool)
    left_out[list(dropped)] = True
    pairs = find_duplicates(
        manifest, looks, settings.similarity, left_out=left_out, near=settings.duplicates == "near", workers=workers
    )
    ids, labels, splits = (manifest.column(name).tolist() for name in ("sample_id", "label", "split"))
    partners: dict[int, list[tuple[int, bool, float]]] = {}
    for first, second, exact, similarity in _rows_of(pairs):
        partners.setdefault(first, []).append((second, exact, similarity))
        partners.setdefault(second, []).append((first, exact, similarity))
    stays: set[int] = set()
    order = sorted(partners, key=lambda row: (KEPT_FIRST[splits[row]], labels[row] is None, row))
    for row in order:
        like = [partner for partner in partners[row] if partner[0] in stays]
        if not like:
            stays.add(row)
            continue
        other, exact, similarity = max(like, key=lambda partner: (partner[1], partner[2], -partner[0]))
        dropped[row] = Dropped(ids[row], EXACT if exact else NEAR, similarity, ids[other])


def _rows_of(pairs: Pairs) -> list[tuple[int, int, bool, float]]:
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.exact.tolist(), pairs.similarity.tolist())
    return list(zip(*columns, strict=True))


def _drop_for_balance(
    manifest: Manifest, features: FeatureTable, settings: CurationSettings, dropped: dict[int, Dropped]
) -> dict[str, Any]:
    """Drop training images from clusters that have more than their share; say how many clusters there were."""
    ids, splits = manifest.column("sample_id"), manifest.column("split")
    names, vectors = features.vectors(settings.tokens)
    place = {name: row for row, name in enumerate(names.tolist())}
    pool = [
        row
        for row in range(len(manifest))
        if row not in dropped and splits[row] not in NOT_BALANCED and ids[row] in place
    ]
    if not pool:
        return {}
    sizes = level_sizes(len(pool), settings.levels)
    hierarchy = build_hierarchy(
        vectors[[place[ids[row]] for row in pool]], sizes, seed=settings.seed, resamplings=settings.resamplings
    )
    target = max(1, round(settings.keep * len(pool)))
    kept = set(balanced_sample(hierarchy, target, seed=settings.seed).tolist())
    for number, row in enumerate(pool):
        if number not in kept:
            dropped[row] = Dropped(ids[row], BALANCE)
    top = hierarchy.cluster_of(len(sizes) - 1)
    before, after = (
        np.bincount(top[rows], minlength=hierarchy.sizes[-1]) for rows in (np.arange(len(pool)), sorted(kept))
    )
    return {
        "clusters": list(hierarchy.sizes),
        "largest cluster before": float(before.max() / before.sum()),
        "largest cluster after": float(after.max() / after.sum()),
    }
