"""Labels that can be told without looking at the image: by the scanner, the size of the file and the like.

A patient is one case: the label that most of their images have, the median of each number and the most frequent of each
name. A shallow decision tree on one fact alone is cross-validated over patients, and compared with the same tree on
labels dealt out anew among the patients.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from sklearn import config_context
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from medino.core import derive_seed, numpy_generator, track
from medino.data import Manifest
from medino.probes.bootstrap import balanced_accuracy_replicates, patient_counts, percentile_interval

NAMES = (
    "manufacturer",
    "manufacturer_model",
    "modality",
    "sop_class",
    "transfer_syntax",
    "photometric",
    "burned_in",
    "format",
    "body_part",
)
NUMBERS = (
    "bits_stored",
    "samples_per_pixel",
    "rows",
    "columns",
    "spacing_row_mm",
    "spacing_column_mm",
    "slice_thickness_mm",
    "file_bytes",
)
"""Facts of the manifest that say how an image was made, not what it shows."""

TOGETHER = "all together"

FOLDS = 5
LEAST_PATIENTS = 2 * FOLDS
"""Patients that the rarest label needs: two for each fold. Rarer labels are left out."""

DEPTH, LEAF = 3, 3
"""Depth of a tree and patients in its leaves: enough for an interval of a number, too little to learn by heart."""

PERMUTATIONS = 100
"""Permutations that a fact is held against: none of 100 that does as well is a p-value of 1 in 101."""

ENOUGH = 10
"""Permutations that do as well after which no more are drawn: the fact tells nothing (Besag and Clifford, "Sequential
Monte Carlo p-values", Biometrika 1991)."""

REPLICATES = 1000
MOST_PATIENTS = 3000
"""Patients that are looked at, drawn where there are more: the interval of 3000 is about 2 % wide."""

CHANCE = 0.01
"""Share of permutations that may do as well. With some 17 facts, one in six clean cohorts would pass by this alone."""

SKILL = 0.5
"""Part of the way from guessing (0) to knowing (1) that the lower end of the interval has to reach to be a leak.

The size of a JPEG file follows what it shows, and so predicts labels a little in honest data: LC25000's three kinds of
tissue with a skill of .08. What lies between chance and this is said, not raised. The Shenzhen radiographs in the test
data are raised, at .53: the size of the file alone tells tuberculosis with a balanced accuracy of .81, better than a
thumbnail does with 20 patients a class.
"""


@dataclass(frozen=True)
class Shortcut:
    """How well facts about the file alone tell the label.

    Attributes:
        fact: column of the manifest, or `TOGETHER`.
        accuracy: balanced accuracy over the patients, cross-validated.
        low: lower end of its 95 % interval over patients.
        high: upper end.
        by_chance: mean balanced accuracy with permuted labels.
        p_value: share of permutations that did as well, the cohort itself counted as one.
        patients: how many patients.
        classes: how many labels.
        leak: whether this is too good to go on.
    """

    fact: str
    accuracy: float
    low: float
    high: float
    by_chance: float
    p_value: float
    patients: int
    classes: int
    leak: bool

    @property
    def told(self) -> bool:
        """Whether it tells the label better than chance."""
        return self.p_value <= CHANCE

    @property
    def skill(self) -> float:
        """Part of the way from guessing to knowing, by the lower end of the interval."""
        guess = 1 / self.classes
        return (self.low - guess) / (1 - guess)


def find_shortcuts(manifest: Manifest, *, seed: int = 0, skill: float = SKILL) -> list[Shortcut]:
    """Try each fact alone and all together.

    Args:
        manifest: the images; those without a label take no part.
        seed: draws folds, permutations and, in large cohorts, patients.
        skill: from which on a fact that tells the label is a leak.

    Returns:
        One for each fact that differs among the patients, the most telling first; empty where fewer than two labels
        have `LEAST_PATIENTS` patients.
    """
    labels, facts = _cases(manifest, seed)
    if len(set(labels)) < 2:
        return []
    classes, targets = np.unique(labels, return_inverse=True)
    found = []
    trials = dict(facts)
    if len(facts) > 1:
        trials[TOGETHER] = np.concatenate(list(facts.values()), axis=1)
    # A thousand small trees: checking what they are given takes longer than growing them.
    with threadpool_limits(1), config_context(skip_parameter_validation=True, assume_finite=True):
        for fact, values in track(list(trials.items()), "looking for shortcuts to the labels"):
            found.append(_tried(fact, values, targets, len(classes), seed, skill))
    return sorted(found, key=lambda shortcut: -shortcut.accuracy)


def _cases(manifest: Manifest, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(P,) labels and for each fact (P, D) numbers, a row a patient."""
    label = manifest.column("label")
    labelled = np.array([value is not None for value in label], bool)
    part = manifest.select(labelled)
    patients: dict[str, list[int]] = {}
    for row, patient in enumerate(part.column("patient")):
        patients.setdefault(patient, []).append(row)
    label = label[labelled]
    of_patient = np.array([_most_frequent([label[row] for row in rows]) for rows in patients.values()], dtype=object)
    enough = {name for name, count in Counter(of_patient.tolist()).items() if count >= LEAST_PATIENTS}
    chosen = np.flatnonzero([name in enough for name in of_patient])
    if len(chosen) > MOST_PATIENTS:
        chosen = np.sort(numpy_generator(seed, "shortcut patients").permutation(chosen)[:MOST_PATIENTS])
    rows_of = [list(patients.values())[place] for place in chosen]
    facts = {}
    for name in (*NAMES, *NUMBERS):
        values = part.column(name)
        encoded = _names(values, rows_of) if name in NAMES else _numbers(values, rows_of)
        if len(encoded) and (encoded != encoded[0]).any():
            facts[name] = encoded
    return of_patient[chosen].astype(str), facts


def _names(values: np.ndarray, rows_of: list[list[int]]) -> np.ndarray:
    """(P, K) 1 in the column of the patient's most frequent name."""
    names = [_most_frequent(["" if values[row] is None else values[row] for row in rows]) for rows in rows_of]
    known, place = np.unique(names, return_inverse=True)
    return np.eye(len(known), dtype=np.float32)[place.reshape(-1)]


def _numbers(values: np.ndarray, rows_of: list[list[int]]) -> np.ndarray:
    """(P, 1) the patient's median; -1 where nothing is said, which no length or count is."""
    medians = []
    for rows in rows_of:
        said = [float(values[row]) for row in rows if values[row] is not None]
        medians.append(float(np.median(said)) if said else -1.0)
    return np.array(medians, np.float32)[:, None]


def _most_frequent(values: list[str]) -> str:
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _tried(fact: str, values: np.ndarray, targets: np.ndarray, classes: int, seed: int, skill: float) -> Shortcut:
    """One fact, or all of them."""
    predicted = _predicted(values, targets, seed)
    accuracy = float(balanced_accuracy_score(targets, predicted))
    counts = patient_counts(len(targets), REPLICATES, derive_seed(seed, "shortcut interval"))
    low, high = percentile_interval(balanced_accuracy_replicates(targets, predicted[None], counts))
    null: list[float] = []
    as_good = 0
    while len(null) < PERMUTATIONS and as_good < ENOUGH:
        dealt = numpy_generator(seed, "shortcut permutation", len(null)).permutation(targets)
        null.append(float(balanced_accuracy_score(dealt, _predicted(values, dealt, seed))))
        as_good += null[-1] >= accuracy
    p_value = as_good / len(null) if as_good == ENOUGH else (1 + as_good) / (1 + len(null))
    by_chance = float(np.mean(null))
    shortcut = Shortcut(fact, accuracy, low, high, by_chance, p_value, len(targets), classes, leak=False)
    leak = shortcut.told and shortcut.skill >= skill
    return Shortcut(**{**vars(shortcut), "leak": leak})


def _predicted(values: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """(P,) what a tree that has not seen the patient takes its label for."""
    random_state = derive_seed(seed, "shortcut folds") % 2**32
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=random_state)
    tree = DecisionTreeClassifier(
        max_depth=DEPTH, min_samples_leaf=LEAF, class_weight="balanced", random_state=random_state
    )
    predicted = np.empty_like(targets)
    # Without the checks of `cross_val_predict`, which take ten times as long as these trees.
    for seen, unseen in folds.split(values, targets):
        predicted[unseen] = tree.fit(values[seen], targets[seen]).predict(values[unseen])
    return predicted
