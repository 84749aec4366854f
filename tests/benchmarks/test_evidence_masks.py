"""What the page on masks says in words is what the intervals say."""

import numpy as np
from PIL import Image

from medino.probes import EvidenceRow, evidence_table
from tests.benchmarks.evidence_masks import nuclei
from tests.benchmarks.evidence_masks_page import section, verdict


def row(shots: int, backbone: str, low: float, high: float, **more: object) -> EvidenceRow:
    facts = {"kind": "summary", "task": "segmentation", "dataset": "toy", "features": "blocks 5", "probe": "linear"}
    facts |= {"unit": "image", "patient_unit": "file", "metric": "dice", "patients": 12, "p_holm": 0.02}
    return EvidenceRow(**{**facts, **more}, shots=shots, backbone=backbone, value=(low + high) / 2, low=low, high=high)


def test_the_verdict_follows_the_intervals() -> None:
    rows = [
        row(1, "learned", -0.2, -0.1, compared_with="unet"),
        row(5, "learned", -0.1, 0.1, compared_with="unet"),
        row(20, "learned", 0.01, 0.2, compared_with="unet"),
        row(1, "learned", 0.1, 0.2, compared_with="pixels"),
        row(5, "learned", 0.1, 0.2, compared_with="pixels"),
    ]
    assert verdict(rows) == (
        "The learned features fall below `unet` with 1 and are not told from `unet` with 5 and beat `unet` with 20 "
        "labelled patients. The learned features beat `pixels` with 1, 5 labelled patients."
    )


def test_the_section_shows_scores_and_differences_and_names_what_was_not_run() -> None:
    scores = [
        row(1, "learned", 0.6, 0.7, metric=metric, target=target)
        for metric in ("dice", "surface_dice_2px", "hausdorff95_px")
        for target in (None, "lung")
    ]
    undefined = row(1, "learned", 0, 0, metric="hausdorff95_px_undefined", target="lung")
    compared = row(1, "learned", -0.05, 0.05, compared_with="pixels")
    known = {
        "lungs": (
            "lungs in radiographs",
            evidence_table([*scores, undefined, compared]),
            {"pretraining_steps": 100, "pretraining_seconds": 120.0, "study_seconds": 60.0},
        )
    }
    text = section(known, ["lungs", "cells"])
    assert "| 1 | learned | 0.650 [0.600, 0.700] | 0.650 [0.600, 0.700] |" in text
    assert "| 1 | pixels | +0.000 [-0.050, +0.050] | 0.020 | not told apart |" in text
    assert "12 test patients (file); a case is one image; NSD at 2px; pretraining of 100 steps in 2.0 min" in text
    assert text.endswith("Not run: cells.")


def test_instances_of_nuclei_become_one_mask(tmp_path) -> None:
    labels = tmp_path / "data" / "dsb2018_nuclei" / "labels"
    labels.mkdir(parents=True)
    Image.fromarray(np.array([[0, 1], [2, 300]], dtype=np.uint16)).save(labels / "a.png")
    _, masks = nuclei(tmp_path / "data", tmp_path / "work")
    assert np.asarray(Image.open(masks / "a.png")).tolist() == [[0, 1], [1, 1]]
