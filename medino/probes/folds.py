"""Inner folds: parts of a support set that are left out in turn, to choose a setting on the support set alone.

A fold leaves out whole patients, so that no patient is both learnt from and looked at, and never all of a class, which
could not be learnt then.
"""

from collections import Counter, defaultdict
from itertools import count

import numpy as np
import torch

FOLDS = 5
"""Folds of the support set, at most, where nobody is in two classes; with fewer shots each leaves out one patient a
class."""


def inner_folds(targets: torch.Tensor, patients: np.ndarray) -> torch.Tensor:
    """Which vectors each fold leaves out: every vector once, whole patients, and never all of a class.

    There are as many folds as the class of the fewest patients has patients, and at most 5. Patients are dealt out one
    by one, those in the most classes first, then those of the most vectors, then as they come: each to the fold that
    leaves out the fewest vectors of the patient's classes so far, of equal ones the first. Where each vector is of
    another patient, every fold so leaves out of every class the same number, give or take one.

    Patients in several classes can be too closely bound for so few folds: a and b in one class, b and c in another, c
    and a in a third are no two folds that leave each class something. One more is then tried until it goes, and it
    goes at the latest with a fold more than any patient has classes.

    Args:
        targets: (S, K) one-hot classes.
        patients: (E, S) integers: whose each vector is, in each of E episodes.

    Returns:
        (E, F, S) 1 where a fold leaves a vector out, 0 elsewhere. F is what the episode of the most folds has; folds
        that the others don't have leave nothing out. With a class of one patient an episode has no folds: nothing of
        that class can be left out.
    """
    # Episodes whose patients repeat alike have the same folds: most often no patient repeats, in none of them.
    first_places = np.stack([_first_places(of_episode) for of_episode in patients])
    alike, which = np.unique(first_places, axis=0, return_inverse=True)
    classes = targets.argmax(dim=1).tolist()
    folds = torch.tensor([_fold_of_each(classes, owners, targets.shape[1]) for owners in alike.tolist()])
    numbers = torch.arange(int(folds.max()) + 1)
    return (folds[:, None] == numbers[:, None]).to(targets.dtype)[which.reshape(-1)]


def _first_places(patients: np.ndarray) -> np.ndarray:
    """(S,) where each vector's patient comes first."""
    _, first, which = np.unique(patients, return_index=True, return_inverse=True)
    return first[which]


def _fold_of_each(classes: list[int], owners: list[int], num_classes: int) -> list[int]:
    """The fold that leaves each vector out; -1 for all of them where a class has fewer than two patients."""
    held: dict[int, Counter[int]] = defaultdict(Counter)
    for owner, label in zip(owners, classes, strict=True):
        held[owner][label] += 1
    patients = Counter(label for own in held.values() for label in own)
    fewest = min(patients[label] for label in range(num_classes))
    if fewest < 2:
        return [-1] * len(classes)
    in_order = dict(sorted(held.items(), key=lambda item: (-len(item[1]), -item[1].total())))
    dealt = next(filter(None, (_dealt(in_order, patients, folds) for folds in count(min(FOLDS, fewest)))))
    return [dealt[owner] for owner in owners]


def _dealt(held: dict[int, Counter[int]], patients: Counter[int], folds: int) -> dict[int, int] | None:
    """The fold of each patient; None where one can't be dealt.

    Args:
        held: each patient's number of vectors of each class, in the order in which they are dealt.
        patients: how many there are of each class.
        folds: how many.
    """
    to_come, sizes = patients.copy(), {label: [0] * folds for label in patients}
    fold_of: dict[int, int] = {}
    for patient, own in held.items():
        # The last one of a class must not come to where all others of it are.
        last_of = [[fold for fold in range(folds) if sizes[label][fold]] for label in own if to_come[label] == 1]
        barred = {taken[0] for taken in last_of if len(taken) == 1}
        if len(barred) == folds:
            return None
        free = [fold for fold in range(folds) if fold not in barred]
        left_out = [sum(sizes[label][fold] for label in own) for fold in range(folds)]
        chosen = min(free, key=left_out.__getitem__)
        fold_of[patient] = chosen
        for label, vectors in own.items():
            to_come[label] -= 1
            sizes[label][chosen] += vectors
    return fold_of
