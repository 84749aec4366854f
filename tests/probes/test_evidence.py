import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medino.core import InputError, write_table
from medino.probes import (
    EVIDENCE_VERSION,
    EvidenceRow,
    append_evidence,
    differences,
    evidence_block,
    evidence_table,
    read_evidence,
    summaries,
    write_evidence,
)

SUMMARY = EvidenceRow(
    kind="summary",
    task="classification",
    dataset="set",
    backbone="adapted",
    features="class",
    probe="knn",
    unit="image",
    patient_unit="patient",
    shots=5,
    metric="auroc",
    value=0.7,
    low=0.6,
    high=0.8,
    patients=10,
    patients_seen=0,
)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    outcome = dataclasses.replace(SUMMARY, kind="outcome", target="a", predicted="b", scores=[0.25, 0.75])
    write_evidence(tmp_path / "evidence.parquet", [SUMMARY, outcome])
    rows = [EvidenceRow(**row) for row in read_evidence(tmp_path / "evidence.parquet").to_pylist()]
    assert rows == [SUMMARY, outcome]


def test_no_rows_are_evidence_too(tmp_path: Path) -> None:
    write_evidence(tmp_path / "evidence.parquet", [])
    assert read_evidence(tmp_path / "evidence.parquet").num_rows == 0


def test_a_block_is_the_same_rows_made_one_by_one() -> None:
    shared = {"kind": "episode", "task": "classification", "dataset": "set", "backbone": "b", "features": "class"}
    shared |= {"probe": "knn", "unit": "image", "patient_unit": "file"}
    block = evidence_block(2, episode=pa.array([0, 1]), value=pa.array([0.5, 0.25]), **shared)
    rows = [EvidenceRow(**shared, episode=episode, value=value) for episode, value in ((0, 0.5), (1, 0.25))]
    assert block.equals(evidence_table(rows))
    with pytest.raises(ValueError, match="no columns colour"):
        evidence_block(1, colour="red", **shared)


def test_appending_keeps_what_was_there_and_replaces_what_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "evidence.parquet"
    append_evidence(path, [SUMMARY])
    append_evidence(path, [dataclasses.replace(SUMMARY, backbone="start", value=0.5)])
    append_evidence(path, [dataclasses.replace(SUMMARY, value=0.9)])
    append_evidence(path, [dataclasses.replace(SUMMARY, shots=20, value=0.95)])
    found = {(row.backbone, row.shots): row.value for row in summaries(read_evidence(path))}
    assert found == {("start", 5): 0.5, ("adapted", 5): 0.9, ("adapted", 20): 0.95}


def difference(**changes: Any) -> EvidenceRow:
    return dataclasses.replace(SUMMARY, **{"compared_with": "start", "draw": "patients", **changes})


@pytest.mark.parametrize(
    ("before", "now", "stays"),
    [
        # The start of both is measured anew, by another seed and on other support sets: not what was compared with.
        (difference(), difference(backbone="thumbnail"), False),
        (difference(), difference(backbone="thumbnail", draw="images"), True),
        (difference(), difference(backbone="thumbnail", shots=20), True),
        (difference(), difference(backbone="thumbnail", features="mean_patch"), True),
        (difference(), difference(backbone="thumbnail", probe="logistic"), True),
        (difference(compared_with="cnn"), difference(compared_with="cnn", backbone="thumbnail"), False),
        (
            difference(task="segmentation", probe="linear", features="last_1"),
            difference(task="segmentation", probe="linear", features="last_4", backbone="thumbnail"),
            False,
        ),
    ],
)
def test_a_difference_goes_with_what_it_was_compared_with(
    before: EvidenceRow, now: EvidenceRow, stays: bool, tmp_path: Path
) -> None:
    def study(row: EvidenceRow) -> list[EvidenceRow]:
        end_to_end = {"probe": "end_to_end"} if row.compared_with == "cnn" else {}
        features = {"features": "pixels"} if row.task == "segmentation" else {}
        reference = {"backbone": row.compared_with, "compared_with": None, **end_to_end, **features}
        return [row, dataclasses.replace(row, compared_with=None), dataclasses.replace(row, **reference)]

    path = tmp_path / "evidence.parquet"
    append_evidence(path, study(before))
    append_evidence(path, study(now))
    assert differences(read_evidence(path)) == [before] * stays + [now]
    # Its own number is measured as it was, and stays.
    found = [row.backbone for row in summaries(read_evidence(path))]
    assert found.count(before.backbone) == found.count("thumbnail") == 1
    assert found.count(before.compared_with) == 1 + stays


def test_shots_of_patients_and_of_images_stand_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "evidence.parquet"
    for draw, value in (("patients", 0.6), ("images", 0.7), ("images", 0.8)):
        append_evidence(path, [dataclasses.replace(SUMMARY, draw=draw, value=value)])
    assert [(row.draw, row.value) for row in summaries(read_evidence(path))] == [("patients", 0.6), ("images", 0.8)]


def test_what_may_be_null_and_was_not_written_before_is_null(tmp_path: Path) -> None:
    """The file of an earlier medino, without the seed and the number of resamples; rows are added to it as ever."""
    path = tmp_path / "evidence.parquet"
    row = dataclasses.replace(SUMMARY, seed=7, resamples=1000)
    before = evidence_table([row]).drop_columns(["seed", "resamples", "p_resamples"])
    write_table(path, before, "evidence", EVIDENCE_VERSION, {})
    assert summaries(read_evidence(path)) == [SUMMARY]
    append_evidence(path, [dataclasses.replace(row, shots=20)])
    assert [found.seed for found in summaries(read_evidence(path))] == [None, 7]


def test_summaries_and_differences_are_told_apart() -> None:
    difference = dataclasses.replace(SUMMARY, compared_with="start", value=0.1)
    table = evidence_table([SUMMARY, difference, dataclasses.replace(SUMMARY, metric="balanced_accuracy")])
    assert summaries(table, metric="auroc") == [SUMMARY]
    assert differences(table) == [difference]


def test_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_evidence(tmp_path / "none.parquet")
    write_table(tmp_path / "old.parquet", pa.table({"kind": ["summary"]}), "evidence", 1, {})
    with pytest.raises(InputError, match="has schema version 1, this medino reads 3; make the evidence again"):
        read_evidence(tmp_path / "old.parquet")
    write_table(tmp_path / "other.parquet", pa.table({"kind": ["summary"]}), "evidence", EVIDENCE_VERSION, {})
    with pytest.raises(InputError, match="does not fit the evidence's schema"):
        read_evidence(tmp_path / "other.parquet")
