"""The online probe: nearest neighbours on a small labelled set, whose patients are in no training and in no study."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medino.core import InputError
from medino.data import Manifest
from medino.features.neighbours import DECIMALS, unit
from medino.probes import balanced_accuracy
from medino.probes.classifiers import NEIGHBOURS, TEMPERATURE, softmax


@dataclass(frozen=True)
class Probe:
    """Labelled images by which states of a backbone are compared while it trains.

    What is chosen by these patients must not be reported on them, nor may they be trained on: either would flatter.

    Attributes:
        manifest: the rows that have a label.
    """

    manifest: Manifest

    @classmethod
    def of(cls, manifest: Manifest, others: Mapping[str, Manifest]) -> "Probe":
        """The probe that a manifest's labelled rows make.

        Args:
            manifest: the images; rows without a label are left out.
            others: images whose patients the probe must not know, by what they are for ("pretraining", "the study").

        Raises:
            InputError: fewer than two classes, or than two patients of a class; a patient is among the others, or
                nobody can tell, as other keys hashed them.
        """
        labelled = manifest.select([label is not None for label in manifest.column("label")])
        if len(labelled.labels) < 2:
            found = f"only the label {labelled.labels[0]!r}" if labelled.labels else "no label"
            raise InputError(f"the probe's manifest has {found}; give one with two classes or more (scan --labels)")
        labels, patients = labelled.column("label"), labelled.column("patient")
        for label in labelled.labels:
            if len(set(patients[labels == label])) < 2:
                raise InputError(
                    f"all of the probe's images of {label!r} are of one patient; give two patients or more of each "
                    "class: a patient's images are classified by those of others"
                )
        for purpose, other in others.items():
            _check_apart(labelled, purpose, other)
        return cls(labelled)

    def score(self, features: np.ndarray) -> float:
        """Balanced accuracy, leaving one patient out; NaN where a feature is not finite, which is no state to keep.

        Args:
            features: (N, D), one a row of the manifest.
        """
        if not np.isfinite(features).all():
            return math.nan
        classes, patients = np.searchsorted(self.manifest.labels, self.labels), self.manifest.column("patient")
        return balanced_accuracy(classes, leave_one_patient_out(features, classes, patients))

    def of_rows(self, rows: list[int]) -> "Probe":
        """The probe on some of its rows, such as those that could be decoded; checked again.

        Raises:
            InputError: too few are left.
        """
        return Probe.of(self.manifest.select(rows), {})

    @property
    def labels(self) -> list[str]:
        """The label of each row."""
        return list(self.manifest.column("label"))

    @property
    def patients(self) -> list[str]:
        """Keyed hashes of its patients."""
        return sorted(set(self.manifest.column("patient")))


def leave_one_patient_out(features: np.ndarray, classes: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Classify each image by the images of all other patients: DINOv2's k-NN (RECIPE section 9).

    Votes of the nearest by cosine, weighted softmax(similarity / 0.07) over those; k is 20, or the number of images of
    the rarest class where that is smaller.

    Args:
        features: (N, D).
        classes: (N,) integers from 0.
        patients: (N,) who the images belong to; two patients or more.

    Returns:
        (N,) predicted classes.
    """
    counts = np.bincount(classes)
    k = min(NEIGHBOURS, int(counts[counts > 0].min()))
    directions = unit(features)
    similarity = np.round(directions @ directions.T, DECIMALS)
    similarity[patients[:, None] == patients[None, :]] = -np.inf
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    shares = softmax(np.take_along_axis(similarity, nearest, axis=1) / TEMPERATURE)
    return np.einsum("qk,qkc->qc", shares, np.eye(len(counts))[classes][nearest]).argmax(axis=1)


def _check_apart(probe: Manifest, purpose: str, other: Manifest) -> None:
    """Refuse a probe that shares a patient with other images, or of which nobody can tell."""
    keys = probe.settings.get("key_id"), other.settings.get("key_id")
    if keys[0] != keys[1]:
        raise InputError(
            f"the patients of the probe and of {purpose} were hashed with different keys, so that nobody can tell "
            "whether they are the same people; scan both with the same --key"
        )
    shared = set(probe.column("patient")) & set(other.column("patient"))
    if shared:
        raise InputError(
            f"{len(shared)} of the probe's {len(set(probe.column('patient')))} patients are among those of {purpose}; "
            "give a probe of other patients"
        )
