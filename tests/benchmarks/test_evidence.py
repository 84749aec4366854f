"""The evidence page's own promises: each command keeps the other's part, and words follow the intervals."""

from pathlib import Path

import pytest

from medino.core import InputError
from tests.benchmarks.evidence_fewshot import OTHERS, PROBES, differences_table, in_words
from tests.benchmarks.evidence_page import read_parts, write_part
from tests.benchmarks.paired import Difference

SHOTS = (1, 4)
ABOVE, BELOW, ACROSS = (Difference(value, value - 0.02, value + 0.02, (value,)) for value in (0.1, -0.1, 0.01))


def all_alike(found: Difference) -> dict[tuple[str, str, int], Difference]:
    return {(other, probe, number): found for other in OTHERS for probe in PROBES for number in SHOTS}


def test_each_command_keeps_the_other_part(tmp_path: Path) -> None:
    page = tmp_path / "evidence.md"
    write_part("masks", "## Masks\n\nof lungs", page)
    write_part("few-shot", "## Few-shot\n\nat 1", page)
    write_part("few-shot", "## Few-shot\n\nat 2", page)
    assert read_parts(page) == {"few-shot": "## Few-shot\n\nat 2", "masks": "## Masks\n\nof lungs"}
    text = page.read_text()
    assert text.startswith("# ")
    assert text.index("at 2") < text.index("of lungs")
    assert "at 1" not in text


def test_a_page_that_lost_its_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evidence.md").write_text("# Evidence\n")
    with pytest.raises(InputError, match="lost the marks"):
        write_part("masks", "## Masks", tmp_path / "evidence.md")


@pytest.mark.parametrize("found", [BELOW, ACROSS])
def test_features_that_never_beat_the_floor_are_said_not_to(found: Difference) -> None:
    said = " ".join(in_words(all_alike(found), SHOTS))
    assert "**By logistic regression the learned features don't beat the floor at any number of shots**" in said
    assert "don't beat" not in " ".join(in_words(all_alike(found) | {("thumbnail", "logistic", 4): ABOVE}, SHOTS))


def test_what_differs_from_the_floor_is_counted_over_all_probes() -> None:
    found = all_alike(ACROSS) | {("thumbnail", "knn", 4): ABOVE, ("thumbnail", "logistic", 1): BELOW}
    said = in_words(found, SHOTS)
    assert "- against thumbnail: worse at 1; no difference shown at 4 a class" in said
    assert said[-1].endswith("6 comparisons: better in 1, worse in 1, no difference shown in 4")


def test_a_difference_is_bold_where_its_interval_leaves_zero_out() -> None:
    lines = differences_table(all_alike(ACROSS) | {("start", "knn", 4): BELOW}, SHOTS)
    bold = [line for line in lines if "**" in line]
    assert bold == ["| untrained | nearest neighbours | +0.010 [-0.010, +0.030] | **-0.100 [-0.120, -0.080]** |"]
