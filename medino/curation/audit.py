"""Looks a cohort over for leaks: what would make its numbers better than its images are."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from medino.core import InputError
from medino.curation.duplicates import SIMILARITY, find_duplicates
from medino.curation.leaks import Torn, codes, patients_in_two_splits, shared_by_two_patients
from medino.curation.looks import look_at_all
from medino.curation.quality import blank, clipped
from medino.curation.schema import CURATION_VERSION, EXACT, NEAR, Duplicate
from medino.curation.selection import check_similarity
from medino.curation.shortcuts import SKILL, Shortcut, find_shortcuts
from medino.data import Manifest
from medino.data.workers import Workers
from medino.features import FeatureTable
from medino.features.neighbours import in_parts, nearest

NEIGHBOURS = 5
"""Nearest images by features that are compared in pixels, where features are given."""


@dataclass(frozen=True)
class CheckSettings:
    """What counts as a leak.

    Attributes:
        similarity: correlation of fine detail, once one image lies on the other, that makes near-duplicates.
        skill: part of the way from guessing the label (0) to knowing it (1) that a fact about the file has to go alone.
        tokens: whose features neighbours are looked for in: class, mean_patch, class_and_mean_patch or last_four.
        seed: draws folds and permutations.

    Raises:
        InputError: a number can't be what it stands for.
    """

    similarity: float = SIMILARITY
    skill: float = SKILL
    tokens: str = "class"
    seed: int = 0

    def __post_init__(self) -> None:
        check_similarity(self.similarity)
        if not 0 <= self.skill <= 1:
            raise InputError(f"skill is {self.skill}; give a number from 0 (guessing) to 1 (knowing)")


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found.

    Attributes:
        images: how many were looked at.
        patients: of how many patients.
        splits: whether the cohort is split.
        duplicates: pairs of images that show one thing and lie in two splits or under two patients.
        torn_patients: patients with images in two splits.
        shared: studies, series and instances under two patients.
        shortcuts: how well each fact about the files tells the label.
        unreadable: images that can't be decoded, and so were not compared.
        empty: blank and clipped images, which were not compared either.
    """

    images: int
    patients: int
    splits: bool
    duplicates: tuple[Duplicate, ...]
    torn_patients: tuple[Torn, ...]
    shared: tuple[Torn, ...]
    shortcuts: tuple[Shortcut, ...]
    unreadable: int
    empty: int

    @property
    def leaks(self) -> bool:
        """Whether anything was found that has to be mended."""
        told = any(shortcut.leak for shortcut in self.shortcuts)
        return bool(self.duplicates or self.torn_patients or self.shared or told)

    def as_json(self) -> dict[str, Any]:
        """All of it, JSON-plain: keyed hashes and numbers, no path and no identifier."""
        facts = {name: getattr(self, name) for name in ("images", "patients", "splits", "unreadable", "empty")}
        lists = {
            name: [vars(row) for row in getattr(self, name)]
            for name in ("duplicates", "torn_patients", "shared", "shortcuts")
        }
        return {"schema_version": CURATION_VERSION, "leaks": self.leaks, **facts, **lists}


def check_cohort(
    manifest: Manifest,
    settings: CheckSettings | None = None,
    features: FeatureTable | None = None,
    workers: int | Workers = 1,
) -> Findings:
    """Look for leaks.

    Images of one patient in one split may be as alike as they want: neighbouring slices are.

    Args:
        manifest: the cohort, best with its labels and splits.
        settings: what counts; the defaults if None.
        features: features of the same manifest, whose nearest neighbours are further candidates.
        workers: who decodes, a number is a number of processes; the result does not depend on it.

    Raises:
        InputError: the features are of another manifest, or there is no image.
    """
    settings = settings or CheckSettings()
    if features is not None:
        features.check_made_from(manifest, "features")
    patients, splits = manifest.column("patient"), manifest.column("split")
    apart = codes(list(zip(patients, splits, strict=True)))
    looks = look_at_all(manifest, workers)
    empty = blank(looks) | clipped(looks)
    neighbours = None if features is None else nearest_apart(manifest, features, settings.tokens, apart)
    pairs = find_duplicates(
        manifest, looks, settings.similarity, apart=apart, left_out=empty, neighbours=neighbours, workers=workers
    )
    ids = manifest.column("sample_id")
    duplicates = tuple(
        Duplicate(
            first=ids[first],
            second=ids[second],
            kind=EXACT if exact else NEAR,
            similarity=float(similarity),
            across_patients=bool(patients[first] != patients[second]),
            across_splits=bool(splits[first] != splits[second]),
        )
        for first, second, exact, similarity in zip(
            pairs.first, pairs.second, pairs.exact, pairs.similarity, strict=True
        )
    )
    return Findings(
        images=len(manifest),
        patients=len(set(patients)),
        splits=any(split is not None for split in splits),
        duplicates=duplicates,
        torn_patients=tuple(patients_in_two_splits(manifest)),
        shared=tuple(shared_by_two_patients(manifest)),
        shortcuts=tuple(find_shortcuts(manifest, seed=settings.seed, skill=settings.skill)),
        unreadable=len(looks.failures),
        empty=int(empty.sum()),
    )


def nearest_apart(manifest: Manifest, features: FeatureTable, which: str, apart: np.ndarray) -> np.ndarray:
    """(M, 2) rows of each image and of its nearest ones by the direction of features, among those apart from it.

    All are compared with all: 100,000 images take minutes, a million hours.
    """
    names, vectors = features.vectors(which)
    row_of = {name: row for row, name in enumerate(manifest.column("sample_id"))}
    rows = np.array([row_of[name] for name in names.tolist()], np.int64)
    found = nearest(vectors, apart[rows], in_parts(vectors), apart[rows], NEIGHBOURS).rows
    there = found >= 0
    return np.stack([np.repeat(rows, there.sum(axis=1)), rows[found[there]]], axis=1)
