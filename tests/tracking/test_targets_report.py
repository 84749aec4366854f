"""The report of studies of labels, ordered classes and numbers: each is shown by what it was measured by."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medino.core import RunFolder
from medino.data import Manifest
from medino.probes import FewShotStudy, write_evidence
from medino.tracking import headline, run_sections
from tests.tracking.conftest import CLASSES, invented_features

STUDIES: dict[str, dict[str, Any]] = {
    "multilabel": {"target": "multilabel", "probes": ("logistic",)},
    "ordinal": {"target": "ordinal", "order": CLASSES, "probes": ("knn",)},
    "continuous": {"target": "continuous"},
}


def labelled(manifest: Manifest, target: str) -> Manifest:
    """The same images with labels of another kind."""
    classes = manifest.column("label").tolist()
    if target == "continuous":
        noise = np.random.default_rng(0).normal(size=len(classes))
        return manifest.with_column(
            "label",
            [f"{50 + 10 * CLASSES.index(label) + extra:.2f}" for label, extra in zip(classes, noise, strict=True)],
        )
    if target == "multilabel":
        also = ["|nodule" if place % 5 == 0 and label != "nodule" else "" for place, label in enumerate(classes)]
        return manifest.with_column("label", [label + more for label, more in zip(classes, also, strict=True)])
    return manifest


@pytest.mark.parametrize("target", STUDIES)
def test_a_study_of_any_target_is_reported_from_end_to_end(
    target: str, make_manifest: Callable[..., Manifest], tmp_path: Any
) -> None:
    manifest = make_manifest(60)
    features = {
        name: invented_features(manifest, *how) for name, how in {"start": (0.4, 1), "adapted": (1.5, 2)}.items()
    }
    manifest = labelled(manifest, target)
    features = {name: dataclasses.replace(table, manifest=manifest.fingerprint) for name, table in features.items()}
    study = FewShotStudy(shots=(2, 5), episodes=3, replicates=50, **STUDIES[target])
    run = RunFolder(tmp_path)
    evidence = study.run(features, manifest)
    write_evidence(run.evidence, evidence)
    sections = {section.title: section for section in run_sections(run)}
    assert list(sections)[:3] == ["What was compared", "On whom", "How sure: few labels"]
    main = {"multilabel": "AUROC", "ordinal": "quadratic kappa", "continuous": "mean absolute error"}[target]
    found = headline(evidence)
    assert found.difference is not None
    assert main in sections["What was compared"].html
    figures = [one for section in sections.values() for one in section.figures]
    assert all("30 test patients" in one.caption for one in figures)
    kinds = {one.name.split()[0] for one in figures}
    shown = {"multilabel": set(), "ordinal": {"confusion"}, "continuous": {"values"}}[target]
    assert kinds - {"reliability"} == {"shots", "differences"} | shown
