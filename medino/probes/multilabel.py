"""Units of several labels: which of them an episode learns from, and one probe a label against the rest.

An episode has at least k positive and k negative patients of each label. Patients are drawn one by one: first for each
label, the rarest first, until k of those drawn have it; then for each label until k of those drawn have it not. A
patient counts for all labels, and the fewer are drawn the more labels they share, so that the size of a support set
differs between episodes; the evidence names its units.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from medino.core import InputError, numpy_generator
from medino.probes.episodes import Episodes
from medino.probes.registry import probe_scores
from medino.probes.sources import Source


def label_sets(texts: Iterable[str], separator: str) -> list[frozenset[str]]:
    """The labels that each text holds between separators; none of a text that is a separator alone."""
    return [frozenset(part for text in one.split(separator) if (part := text.strip())) for one in texts]


def draw_labelled(
    member: np.ndarray, owners: np.ndarray, labels: Sequence[str], shots: int, seed: int, episode: int
) -> np.ndarray:
    """Draw one support set.

    Args:
        member: (U, L) whether each unit that may be drawn has each label.
        owners: (U,) integers: whose unit it is; of each owner one unit is drawn at most.
        labels: the L labels.
        shots: k.
        seed: the study's seed.
        episode: which draw.

    Returns:
        (S,) indices of units, in the order of the draw.

    Raises:
        InputError: the patients that are left can't give a label's k.
    """
    generator = numpy_generator(seed, "support", shots, episode)
    free, chosen = np.ones(len(member), dtype=bool), np.empty(0, dtype=np.int64)
    rarest_first = np.argsort([len(set(owners[has].tolist())) for has in member.T], kind="stable")
    for wanted in (True, False):
        for label in rarest_first:
            fits = member[:, label] == wanted
            while fits[chosen].sum() < shots:
                may = np.flatnonzero(free & fits)
                if not len(may):
                    raise InputError(
                        f"no training patient {'with' if wanted else 'without'} {labels[label]!r} is left for "
                        f"{shots} shots, as one patient is drawn once; ask for fewer shots, or label more patients"
                    )
                # Owners are alike, however many units they have.
                owner = generator.choice(np.unique(owners[may]))
                chosen = np.append(chosen, generator.choice(may[owners[may] == owner]))
                free &= owners != owner
    return chosen


def one_against_rest(
    probe: str,
    source: Source,
    support: Sequence[np.ndarray],
    member: np.ndarray,
    patients: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> np.ndarray:
    """The probability of each label by a probe of two classes: units without it, and units with it.

    Args:
        probe: its name.
        source: what it learns from.
        support: for each of E episodes the (S,) units that it learns from.
        member: (U, L) whether each unit of the study has each label.
        patients: (U,) the patient of each unit of the study, as integers.
        test: (Q,) the units asked about.
        seed: the study's seed.

    Returns:
        (E, Q, L) float32.
    """
    scores = np.empty((len(support), len(test), member.shape[1]), dtype=np.float32)
    for label, has in enumerate(member.T):
        alike: dict[tuple[int, int], dict[int, np.ndarray]] = defaultdict(dict)
        for episode, units in enumerate(support):
            with_it = has[units]
            counts = int((~with_it).sum()), int(with_it.sum())
            alike[counts][episode] = np.concatenate([units[~with_it], units[with_it]])
        for counts, episodes in alike.items():
            drawn = np.stack(list(episodes.values()))
            asked = Episodes(drawn, patients[drawn], np.repeat((0, 1), counts), test, 2, seed)
            scores[list(episodes), :, label] = probe_scores(probe, source, asked)[..., 1]
    return scores
