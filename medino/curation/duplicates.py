"""Pairs of images that show one thing: hashes propose them, their pixels decide."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from medino.core import UnreadableImageError, track
from medino.curation.candidates import find_candidates, parts
from medino.curation.hashes import poses
from medino.curation.looks import THUMBNAIL, Looks, grey
from medino.curation.registration import Placement, aligned, likeness
from medino.data import Manifest, Sample, Source, read_pixels
from medino.data.reading import read_all
from medino.data.workers import Workers

LIKE_AT_A_GLANCE = 0.8
"""Correlation of the thumbnails' detail from which on the images are read again: the thumbnails of LC25000's unrelated
tiles stay below .3, those of two patients' radiographs reach .87 and are then told apart at 256 pixels."""

SIMILARITY = 0.9
"""Correlation of fine detail that makes two images near-duplicates: halfway from the most alike strangers to a copy.

Found on one half of the patients (of the groups, in LC25000) and verified on the other. The most alike pair of two
patients has, in the one half and in the other: LC25000's tiles below .3 and below .3, Shenzhen radiographs .67 and
.71, the phantom archive .78 and .79, hippocampus slices of some 35 x 50 pixels below .80 and .80; over both halves
together no pair exceeds .86. At .9, of LC25000's pairs from one original, which were turned and zoomed to be unlike,
310 and 311 of 1,080 are found, in 137 and 144 of 180 groups.
"""

LARGEST_SIDE = 256
"""Side at which fine detail is compared, pixels; that of the smaller image, where that is less."""

Comparison = tuple[tuple[Source, Sample], tuple[Source, Sample], Placement]
"""File and row of two images, and how the first is laid on the second."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """M pairs of rows, each once, ordered.

    Attributes:
        first: (M,) the lower row.
        second: (M,) the higher row.
        exact: (M,) whether their pixels are the same.
        similarity: (M,) correlation of fine detail; 1 where they are the same.
    """

    first: np.ndarray
    second: np.ndarray
    exact: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def find_duplicates(
    manifest: Manifest,
    looks: Looks,
    similarity: float = SIMILARITY,
    *,
    apart: np.ndarray | None = None,
    left_out: np.ndarray | None = None,
    neighbours: np.ndarray | None = None,
    near: bool = True,
    workers: int | Workers = 1,
) -> Pairs:
    """Find the images that show one thing.

    Of n images with the same pixels, n - 1 pairs are given: each with the first of them from which it is apart.

    Args:
        manifest: the images.
        looks: a look at each.
        similarity: correlation of fine detail that makes two images near-duplicates.
        apart: (N,) codes; only pairs with two different codes are looked for. None: all pairs.
        left_out: (N,) bool; rows that take no part, such as blank ones. What can't be decoded never does.
        neighbours: (M, 2) further candidates, such as neighbours in a space of features.
        near: False finds only those whose pixels are the same.
        workers: who reads the images of a candidate again; a number is a number of processes.
    """
    codes = np.arange(len(manifest)) if apart is None else apart
    usable = looks.readable & (np.ones(len(manifest), bool) if left_out is None else ~left_out)
    exact = _same_pixels(looks, codes, usable)
    first, second, pose = find_candidates(looks, codes, usable & near, neighbours)
    known = set(map(tuple, exact.tolist()))
    new = np.array([pair not in known for pair in zip(first.tolist(), second.tolist(), strict=True)], dtype=bool)
    first, second, pose = first[new], second[new], pose[new]
    found, score = _confirmed(manifest, looks, first, second, pose, similarity, workers)
    pairs = np.concatenate([exact, np.stack([first[found], second[found]], axis=1)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Pairs(
        first=pairs[order, 0],
        second=pairs[order, 1],
        exact=(np.arange(len(pairs)) < len(exact))[order],
        similarity=np.concatenate([np.ones(len(exact)), score])[order],
    )


def _same_pixels(looks: Looks, codes: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(M, 2) rows of the same content: each later one with the first that is apart from it."""
    rows = np.flatnonzero(usable)
    if not len(rows):
        return np.empty((0, 2), np.int64)
    _, group = np.unique(looks.digests[rows], axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    pairs: list[tuple[int, int]] = []
    for members in np.split(rows[order], np.flatnonzero(np.diff(group[order])) + 1):
        others = members[codes[members] != codes[members[0]]]
        pairs += [(int(members[0]), int(other)) for other in others]
        if len(others):
            # Copies of the first one's own kind are apart from the others.
            own = members[1:][codes[members[1:]] == codes[members[0]]]
            pairs += [(min(int(others[0]), int(row)), max(int(others[0]), int(row))) for row in own]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _confirmed(
    manifest: Manifest,
    looks: Looks,
    first: np.ndarray,
    second: np.ndarray,
    pose: np.ndarray,
    similarity: float,
    workers: int | Workers,
) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates are near-duplicates, and their similarity: by their thumbnails, then by their pixels."""
    matrices = np.stack([each.matrix for each in poses()])
    posed = np.where(pose < 0, second, first)
    still = np.where(pose < 0, first, second)
    starts = matrices[np.where(pose < 0, -1 - pose, pose)]
    at_a_glance = min(LIKE_AT_A_GLANCE, similarity)
    tasks: list[Comparison] = []
    places = []
    for some in track(list(parts(np.arange(len(first)))), "laying candidates on each other"):
        one, other = (torch.from_numpy(looks.thumbnails[rows[some]].astype(np.float32)) for rows in (still, posed))
        small_one, small_other = (F.avg_pool2d(images[:, None], 2)[:, 0] for images in (one, other))
        placement = aligned(small_one, small_other, Placement.at(starts[some]), blur=1.0, steps=6)
        promising = np.flatnonzero(likeness(small_one, small_other, placement) >= at_a_glance)
        if not len(promising):
            continue
        one, other, placement = one[promising], other[promising], placement.select(promising)
        placement = aligned(one, other, placement, blur=0.7, steps=4)
        alike = np.flatnonzero(likeness(one, other, placement) >= at_a_glance)
        for place in alike:
            pair = some[promising[place]]
            sides = [(manifest.source(row), manifest.sample(row)) for row in (int(still[pair]), int(posed[pair]))]
            tasks.append((sides[0], sides[1], placement.select(np.array([place]))))
        places.append(some[promising[alike]])
    chosen = np.concatenate(places) if places else np.empty(0, np.int64)
    answers = list(read_all(_compare, tasks, workers, "comparing the detail of candidates"))
    reasons = [answer for answer in answers if isinstance(answer, str)]
    if reasons:
        warnings.warn(
            f"{len(reasons)} of {len(answers)} likely pairs could not be read a second time and count as different "
            f"(the first: {reasons[0]})",
            stacklevel=2,
        )
    score = np.array([0.0 if isinstance(answer, str) else answer for answer in answers], dtype=np.float64)
    return chosen[score >= similarity], score[score >= similarity]


def _compare(task: Comparison) -> float | str:
    """The likeness of two images in full detail."""
    (first_source, first), (second_source, second), placement = task
    side = int(np.clip(min(first.rows, first.columns, second.rows, second.columns), THUMBNAIL, LARGEST_SIDE))
    try:
        one = grey(read_pixels(first_source, first), side)[None]
        other = grey(read_pixels(second_source, second), side)[None]
    except UnreadableImageError as error:
        return str(error)
    placement = aligned(one, other, placement, blur=max(0.7, 1.5 * side / LARGEST_SIDE), steps=3)
    return float(likeness(one, other, placement)[0])
