from typing import Literal

import numpy as np
import pytest

from medino.probes import EvidenceRow, append_evidence, patient_counts, read_evidence, summaries
from medino.segmentation import CaseResult, segmentation_evidence

FACTS = {
    "dataset": "toy",
    "backbone": "mini",
    "features": "last_1",
    "head": "linear",
    "patient_unit": "patient",
}


def case(
    sample: str,
    patient: str,
    dice: float,
    distance: float | None = 1.0,
    unit: Literal["mm", "px"] = "px",
    name: str = "cyst",
) -> CaseResult:
    """A case whose surface Dice is its Dice."""
    return CaseResult(sample, patient, name, dice, distance, unit, surface_dice=dice, tolerance=2.0)


def results_of(patients: int, cases: int, seed: int = 0) -> list[CaseResult]:
    generator = np.random.default_rng(seed)
    return [
        CaseResult(
            f"s{p}-{c}",
            f"p{p}",
            name,
            float(generator.beta(5, 2)),
            float(generator.gamma(2)),
            "mm",
            float(generator.beta(5, 2)),
            2.0,
        )
        for p in range(patients)
        for c in range(cases)
        for name in ("cyst", "tumour")
    ]


def summary(rows: list[EvidenceRow], metric: str, target: str | None) -> EvidenceRow:
    (found,) = [row for row in rows if (row.kind, row.metric, row.target) == ("summary", metric, target)]
    return found


def test_every_outcome_is_there_and_the_summary_is_their_mean() -> None:
    results = results_of(6, 3)
    rows = segmentation_evidence(results, **FACTS)
    outcomes = [row for row in rows if row.kind == "outcome"]
    assert len(outcomes) == 6 * 3 * 2 * 3
    expected = np.mean([result.dice for result in results if result.class_name == "cyst"])
    found = summary(rows, "dice", "cyst")
    assert found.value == pytest.approx(expected)
    assert found.low is not None
    assert found.high is not None
    assert found.low < expected < found.high
    assert found.patients == 6
    assert summary(rows, "dice", None).value == pytest.approx(np.mean([result.dice for result in results]))


def test_the_interval_resamples_patients_and_not_cases() -> None:
    # Twenty equal cases a patient say no more than one: the interval is that of four patients.
    few = [
        CaseResult(f"s{p}", f"p{p}", "cyst", dice, 1.0, "px", 1.0, 2.0) for p, dice in enumerate((0.2, 0.4, 0.6, 0.8))
    ]
    many = [
        CaseResult(f"{r.sample_id}-{c}", r.patient, "cyst", r.dice, 1.0, "px", 1.0, 2.0) for r in few for c in range(20)
    ]
    first = summary(segmentation_evidence(few, **FACTS), "dice", "cyst")
    second = summary(segmentation_evidence(many, **FACTS), "dice", "cyst")
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_the_interval_can_be_recomputed_from_the_row_and_its_outcomes() -> None:
    rows = segmentation_evidence(results_of(6, 1), **FACTS, seed=3)
    found = summary(rows, "dice", "cyst")
    values = [row.value for row in rows if (row.kind, row.metric, row.target) == ("outcome", "dice", "cyst")]
    means = patient_counts(found.patients, found.resamples, found.seed) @ np.array(values) / found.patients
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_the_interval_is_close_to_the_normal_one_for_many_patients() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, 200).clip(0, 1)
    results = [case(f"s{i}", f"p{i}", float(v)) for i, v in enumerate(values)]
    found = summary(segmentation_evidence(results, **FACTS), "dice", "cyst")
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.low == pytest.approx(values.mean() - half, abs=0.004)
    assert found.high == pytest.approx(values.mean() + half, abs=0.004)


def test_undefined_distances_are_null_and_counted() -> None:
    results = [
        case("a", "p1", 0.0, None, "mm"),
        case("b", "p2", 0.9, 3.0, "mm"),
        case("c", "p3", 0.8, 5.0, "mm"),
    ]
    rows = segmentation_evidence(results, **FACTS)
    outcome = [row for row in rows if row.kind == "outcome" and row.metric == "hausdorff95_mm"]
    assert [row.value for row in outcome] == [None, 3.0, 5.0]
    assert summary(rows, "hausdorff95_mm", "cyst").value == pytest.approx(4.0)
    assert summary(rows, "hausdorff95_mm", "cyst").patients == 2
    assert summary(rows, "hausdorff95_mm_undefined", "cyst").value == 1
    assert summary(rows, "surface_dice_2mm", "cyst").value == pytest.approx(1.7 / 3)


def test_patients_seen_in_pretraining_are_counted() -> None:
    rows = segmentation_evidence(results_of(5, 1), **FACTS, pretraining_patients=["p0", "p3", "elsewhere"])
    assert {row.patients_seen for row in rows if row.kind == "summary"} == {2}


def test_rows_fit_the_evidence_file(tmp_path) -> None:
    rows = segmentation_evidence(results_of(4, 2), **FACTS)
    append_evidence(tmp_path / "evidence.parquet", rows)
    append_evidence(tmp_path / "evidence.parquet", rows)
    table = read_evidence(tmp_path / "evidence.parquet")
    assert table.num_rows == len(rows)
    assert len(summaries(table, task="segmentation", metric="dice")) == 3
