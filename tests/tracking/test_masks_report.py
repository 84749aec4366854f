"""What the report says of a study of masks: a verdict, each class once, the extremes of one backbone."""

import re
from dataclasses import replace

import pyarrow as pa
import pytest

from medino.probes import EvidenceRow, evidence_table
from medino.tracking import Section, failures_section, segmentation_section, summary_section
from medino.tracking.names import learner_name


def words(section: Section) -> str:
    """The visible text of a section."""
    return re.sub(r"<[^>]*>", "", str(section.html))


@pytest.fixture(scope="module")
def lungs(few_masks: pa.Table) -> pa.Table:
    """A study of masks of one class: the mean over classes is that of the class."""
    left = [EvidenceRow(**row) for row in few_masks.to_pylist() if row["target"] == "left"]
    means = [replace(row, target=None) for row in left if row.kind in ("summary", "episode")]
    unknown = [replace(row, metric="hausdorff95_mm_undefined", low=None, high=None) for row in left[:1]]
    seen = [replace(row, patients_seen=3) if row.kind == "summary" else row for row in (*left, *means)]
    return evidence_table([*seen, *(replace(row, kind="summary") for row in unknown)])


def test_a_study_of_masks_has_a_verdict_and_its_cards(lungs: pa.Table) -> None:
    section = summary_section(lungs)
    assert section is not None
    text = words(section)
    assert "helped: Dice +0.040 [+0.140, +0.200] against start (linear head, 16 labelled patients" in text
    for card in ("Segmentation: start", "Segmentation: adapted", "Segmentation, paired difference"):
        assert card in text
    assert "linear head, u net head; 1, 4, 16 labelled patients" in text


def test_one_class_is_shown_once_and_p_says_over_what(lungs: pa.Table, few_masks: pa.Table) -> None:
    section, both = segmentation_section(lungs), segmentation_section(few_masks)
    assert section is not None
    assert both is not None
    assert "all classes" not in words(section)
    assert "linear: left" in words(section)
    assert "all classes" in words(both)
    scores = section.figures[0].figure
    assert [axes.get_title(loc="left") for axes in scores.axes if axes.get_visible()] == ["linear: left"]
    assert section.figures[1].caption.endswith("over all comparisons with the same reference (3 with start).")
    assert both.figures[1].caption.endswith("with the same reference in the same class (3 with start).")


def test_a_count_of_undefined_cases_does_not_make_seen_patients_unknown(lungs: pa.Table) -> None:
    section = segmentation_section(lungs)
    assert section is not None
    text = words(section)
    assert "3 of 40 test patients were seen" in text
    assert "Nobody can tell" not in text


def test_the_worst_and_best_masks_are_of_the_headlines_backbone_alone(few_masks: pa.Table) -> None:
    rows = [EvidenceRow(**row) for row in few_masks.to_pylist()]
    worse = {"start": -2.0, "adapted": 0.0, "unet": 3.0}
    apart = [
        replace(row, value=(row.value or 0.0) + worse[row.backbone]) if row.kind == "outcome" else row for row in rows
    ]
    section = failures_section(evidence_table(apart))
    assert section is not None
    text = words(section)
    assert "80 cases by Dice: adapted, linear head, 16 labelled patients, the mean over draws" in text
    shown = [float(value) for value in re.findall(r"(?:left|right)(\d\.\d{3})", text)]
    assert shown == sorted(shown)
    assert (min(shown), max(shown)) == (0.0, 0.975)


def test_what_is_trained_from_end_to_end_is_called_no_head() -> None:
    where = {"dataset": "lungs", "features": "pixels", "unit": "image", "patient_unit": "patient", "metric": "dice"}
    row = EvidenceRow(kind="summary", task="segmentation", backbone="unet", probe="end_to_end", value=0.9, **where)
    assert learner_name(row) == "trained end to end"
    assert learner_name(replace(row, probe="linear")) == "linear head"
    assert learner_name(replace(row, probe="linear", task="classification")) == "linear"
