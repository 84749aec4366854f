"""What became of each test unit: the outcomes behind a summary row, averaged over episodes."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medino.probes import EvidenceRow, of_kind, patient_counts, percentile_interval

REPLICATES = 1000

ONE_CLASS = ("classification", "ordinal")
"""Tasks in which each unit has one class."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """One backbone's outcomes.

    Attributes:
        units: (N,) keyed hashes of the test units, in the order of the study.
        patients: (N,) place of each unit's patient among the P test patients.
        targets: (N,) true classes.
        shares: (N, C) in which share of the episodes each class was predicted.
        classes: the C classes.
        confidence: (E N,) the highest score of each episode and unit, or None where no scores were kept.
        hit: (E N,) whether that class was the true one.
        owner: (E N,) place of its patient.
        truth: (N,) mean score of the true class; the share of right predictions where no scores were kept.
        patient_unit: what stands for the patient.
    """

    units: np.ndarray
    patients: np.ndarray
    targets: np.ndarray
    shares: np.ndarray
    classes: list[str]
    confidence: np.ndarray | None
    hit: np.ndarray
    owner: np.ndarray
    truth: np.ndarray
    patient_unit: str = "patient"

    @property
    def right(self) -> np.ndarray:
        """(N,) share of the episodes in which the unit was classified rightly."""
        column = {label: place for place, label in enumerate(self.classes)}
        return self.shares[np.arange(len(self.units)), [column[label] for label in self.targets]]

    @property
    def order(self) -> np.ndarray:
        """(N,) the units, those most often wrong first; of equals, those of least score for their true class."""
        return np.lexsort((self.truth, self.right))


@dataclass(frozen=True, eq=False)
class Values:
    """One backbone's predictions of a number.

    Attributes:
        units: (N,) keyed hashes of the test units, in the order of the study.
        patients: (N,) place of each unit's patient among the P test patients.
        true: (N,) true values.
        predicted: (N,) predicted ones, the mean over episodes.
        patient_unit: what stands for the patient.
    """

    units: np.ndarray
    patients: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    patient_unit: str = "patient"


def outcomes(evidence: pa.Table, of: EvidenceRow) -> Outcomes | None:
    """The outcomes behind a summary row; None where they were not kept, or are not of one class each."""
    rows = _behind(evidence, of)
    if of.task not in ONE_CLASS or not rows.num_rows:
        return None
    # As the study lists them: the order of hashes changes with the key, and with it what the resamples draw.
    unit, units = _coded(rows["unit_id"])
    patient, _ = _coded(rows["patient"])
    named = {name for side in ("target", "predicted") for name in rows[side].unique().to_pylist()}
    classes = of.classes or sorted(named)
    true, said = (pc.index_in(rows[name], pa.array(classes)).to_numpy() for name in ("target", "predicted"))
    shares = np.zeros((len(units), len(classes)))
    np.add.at(shares, (unit, said), 1.0)
    drawn = shares.sum(axis=1)
    first = np.unique(unit, return_index=True)[1]
    scores = _scores(rows, len(classes))
    hit = true == said
    own = hit.astype(float) if scores is None else scores[np.arange(len(scores)), true]
    return Outcomes(
        units=units,
        patients=patient[first],
        targets=np.array(classes)[true[first]],
        shares=shares / drawn[:, None],
        classes=list(classes),
        confidence=None if scores is None else scores.max(axis=1),
        hit=hit,
        owner=patient,
        truth=np.bincount(unit, weights=own) / drawn,
        patient_unit=of.patient_unit,
    )


def values(evidence: pa.Table, of: EvidenceRow) -> Values | None:
    """The predicted numbers behind a summary row; None where they were not kept."""
    rows = _behind(evidence, of)
    if not rows.num_rows or rows["predicted_value"].null_count:
        return None
    unit, units = _coded(rows["unit_id"])
    patient, _ = _coded(rows["patient"])
    first = np.unique(unit, return_index=True)[1]
    mean = np.bincount(unit, weights=rows["predicted_value"].to_numpy()) / np.bincount(unit)
    return Values(units, patient[first], rows["target_value"].to_numpy()[first], mean, of.patient_unit)


def recall(found: Outcomes, label: str, other: Outcomes | None = None) -> tuple[float, float, float, int]:
    """Recall of a class (less that of `other`), with its 95 % interval over patients.

    Returns:
        Value, lower and upper end, and the number of patients that have the class.
    """
    own = found.targets == label
    right = found.right[own] - (other.right[own] if other is not None else 0)
    of_class, patients = np.unique(found.patients[own], return_inverse=True)
    total = np.bincount(patients)
    hits = np.bincount(patients, weights=right)
    counts = patient_counts(len(of_class), REPLICATES, seed=0).astype(np.float64)
    low, high = percentile_interval((counts @ hits) / (counts @ total))
    return float(right.mean()), float(low), float(high), len(of_class)


def same_units(one: Outcomes, other: Outcomes | None) -> bool:
    """Whether two backbones were tested on the same units, so that unit by unit they compare."""
    return other is not None and one.units.shape == other.units.shape and bool((one.units == other.units).all())


def _behind(evidence: pa.Table, of: EvidenceRow) -> pa.Table:
    """The outcome rows behind a summary row."""
    where = {
        name: getattr(of, name)
        for name in ("task", "dataset", "backbone", "features", "probe", "unit", "shots", "draw")
    }
    return of_kind(evidence, "outcome", **{name: value for name, value in where.items() if value is not None})


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A column as integers by first appearance, and what they stand for."""
    found = column.combine_chunks().dictionary_encode()
    return found.indices.to_numpy(zero_copy_only=False), np.array(found.dictionary.to_pylist())


def _scores(rows: pa.Table, classes: int) -> np.ndarray | None:
    """(rows, C) the scores; None where not every row has one for each class."""
    column = rows["scores"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, classes).astype(float) if len(flat) == len(column) * classes else None
