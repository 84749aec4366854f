"""The figures of studies show what the evidence holds: its numbers, its intervals, its patients."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from medino.core import InputError
from medino.probes import EvidenceRow, differences, of_kind, summaries
from medino.tracking import failures_section, fewshot_section, segmentation_section
from medino.tracking.figures import (
    Drawn,
    confidence_bins,
    draw_confusion,
    draw_fewshot,
    draw_forest,
    draw_reliability,
    draw_values,
    write_figures,
)
from medino.tracking.figures.fewshot import episode_values
from medino.tracking.outcomes import Outcomes, Values, outcomes


def words(figure: Figure) -> str:
    """All that is written in a figure."""
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    ticks = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    labels = [axes.get_xlabel() for axes in figure.axes]
    return "\n".join([*texts, *ticks, *labels, figure.get_supxlabel()])


def found(evidence: pa.Table, backbone: str = "adapted") -> Outcomes:
    (row,) = summaries(evidence, backbone=backbone, probe="knn", shots=15, metric="balanced_accuracy")
    one = outcomes(evidence, row)
    assert one is not None
    return one


def test_each_episode_stands_faint_behind_its_mean(evidence: pa.Table) -> None:
    rows = summaries(evidence, task="classification", probe="knn", metric="auroc")
    (axes,) = draw_fewshot(rows, evidence, "auroc").axes
    ticks = [line for line in axes.lines if line.get_marker() == "_"]
    kept = of_kind(evidence, "episode", task="classification", probe="knn", metric="auroc")["value"].to_pylist()
    assert sorted(value for line in ticks for value in line.get_ydata()) == pytest.approx(sorted(kept))
    assert all(line.get_alpha() < 0.5 for line in ticks)
    bands = [band.get_paths()[0].get_extents() for band in axes.collections if band.get_alpha()]
    assert {round(band.ymin, 6) for band in bands} == {
        round(min(row.low or 0 for row in rows if row.backbone == name), 6) for name in {row.backbone for row in rows}
    }


def test_shots_of_patients_and_of_images_in_one_evidence_are_two_studies(evidence: pa.Table) -> None:
    place = evidence.schema.get_field_index("draw")
    images = pa.repeat(pa.scalar("images"), evidence.num_rows)
    other = evidence.set_column(place, evidence.schema.field(place), images)
    both = pa.concat_tables([evidence, other])
    (row,) = summaries(evidence, backbone="adapted", probe="knn", shots=15, metric="balanced_accuracy")
    np.testing.assert_array_equal(episode_values(both, row), episode_values(evidence, row))
    of_both, of_one = outcomes(both, row), outcomes(evidence, row)
    assert of_both is not None
    assert of_one is not None
    np.testing.assert_array_equal(of_both.right, of_one.right)
    section = fewshot_section(both)
    assert section is not None
    assert str(section.html).count("unit: image, shots: images of any patient</h") == 1


def test_masks_are_drawn_over_labelled_patients_with_the_network_of_its_own_in_every_panel(few_masks: pa.Table) -> None:
    figure = draw_fewshot(summaries(few_masks), few_masks, "dice")
    shown = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_visible()}
    assert list(shown) == ["linear: all classes", "linear: left", "linear: right"]
    for axes in shown.values():
        named = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
        assert named == ["start", "adapted", "unet"]
        assert axes.get_xlabel() == "labelled patients"
    assert "n = 40 test patients" in figure.get_supxlabel()


def test_the_forest_has_a_line_a_comparison_and_hollow_ones_where_nothing_is_shown(evidence: pa.Table) -> None:
    rows = [row for row in differences(evidence) if row.metric == "balanced_accuracy"]
    figure = draw_forest(rows, "balanced_accuracy", ("start", "adapted", "thumbnail"))
    markers = [line for line in figure.axes[0].lines if line.get_marker() in ("s", "^")]
    assert len(markers) == len(rows) == 12
    for line in markers:
        (row,) = [row for row in rows if row.value == line.get_xdata()[0]]
        hollow = to_hex(line.get_markerfacecolor()) == "#ffffff"
        assert hollow == (row.low <= 0 <= row.high)  # type: ignore[operator]
    written = words(figure).replace("\N{MINUS SIGN}", "-")
    for row in rows:
        assert f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}], {row.p_holm:.3f}" in written
    assert "n = 60 test patients" in written
    assert "right of zero is better" in written


def test_where_less_is_better_the_forest_says_so(evidence: pa.Table) -> None:
    rows = [row for row in differences(evidence) if row.metric == "brier"]
    assert "left of zero is better" in words(draw_forest(rows, "brier"))
    with pytest.raises(InputError, match="compare at least two backbones"):
        draw_forest(rows, "dice")


def test_the_matrix_holds_the_shares_of_the_outcomes_and_the_patients_of_each_class(evidence: pa.Table) -> None:
    figure = draw_confusion([("adapted", found(evidence))])
    where = {"backbone": "adapted", "probe": "knn", "shots": 15}
    rows = of_kind(evidence, "outcome", task="classification", **where).to_pylist()
    classes = sorted({row["target"] for row in rows})
    expected = []
    for label in classes:
        own = [row["predicted"] for row in rows if row["target"] == label]
        expected += [f"{100 * own.count(other) / len(own):.0f}" for other in classes]
    assert [text.get_text() for text in figure.axes[0].texts] == expected
    assert "effusion (n = 20)" in words(figure)
    assert "60 test patients in all" in words(figure)


def test_the_bins_of_the_diagram_come_to_the_calibration_error_of_the_study(
    evidence: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medino.tracking.figures.reliability.BINS", 15)
    monkeypatch.setattr("medino.tracking.figures.reliability.FEWEST_PATIENTS", 1)
    where = {"backbone": "adapted", "probe": "knn", "shots": 15, "episode": 2}
    kept = evidence.filter(pa.compute.equal(evidence["episode"], 2))
    (row,) = summaries(evidence, backbone="adapted", probe="knn", shots=15, metric="balanced_accuracy")
    one = outcomes(kept, row)
    assert one is not None
    bins = confidence_bins(one)
    filled = bins.share > 0
    drawn = float((bins.share[filled] * np.abs(bins.confidence - bins.right)).sum())
    (episode,) = of_kind(evidence, "episode", metric="calibration_error", **where)["value"].to_pylist()
    assert drawn == pytest.approx(episode, abs=1e-6)
    assert ((bins.low <= bins.right) & (bins.right <= bins.high)).all()


def test_a_probe_that_is_as_often_right_as_it_says_lies_on_the_line() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.35, 1.0, 60_000)
    hit = generator.random(60_000) < confidence
    one = outcomes_of(confidence, hit, patients=600)
    bins = confidence_bins(one)
    np.testing.assert_allclose(bins.right, bins.confidence, atol=0.03)
    assert ((bins.low < bins.confidence) & (bins.confidence < bins.high)).mean() > 0.7
    figure = draw_reliability([("adapted", one)])
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), bins.right)
    assert "n = 600 test patients" in figure.get_supxlabel()


def outcomes_of(confidence: np.ndarray, hit: np.ndarray, patients: int) -> Outcomes:
    """Outcomes of which only confidence and hits matter."""
    nothing = np.empty(0)
    owner = np.arange(len(hit)) % patients
    return Outcomes(nothing, nothing, nothing, nothing, [], confidence, hit, owner, nothing)


def test_each_unit_is_a_point_at_its_true_and_predicted_value() -> None:
    true, predicted = np.array([30.0, 50.0, 70.0]), np.array([35.0, 49.0, 60.0])
    figure = draw_values([("adapted", Values(np.arange(3), np.array([0, 1, 1]), true, predicted))])
    line, points = figure.axes[0].lines
    np.testing.assert_array_equal(points.get_xydata(), np.column_stack([true, predicted]))
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert "n = 3 units of 2 test patients" in figure.get_supxlabel()


def test_figures_and_their_captions_say_what_stands_for_the_patient(evidence: pa.Table, few_masks: pa.Table) -> None:
    def drawn(unit: str) -> list[Drawn]:
        told = [of_unit(table, unit) for table in (evidence, few_masks)]
        made = [make(table) for table in told for make in (fewshot_section, segmentation_section, failures_section)]
        return [one for section in made if section is not None for one in section.figures]

    for unit, said in (("file", "test patients (files)"), ("file+study", "test patients (files or studies)")):
        figures = drawn(unit)
        assert len(figures) == 7
        for one in figures:
            assert said in one.figure.get_supxlabel()
            assert said in one.caption
    assert all("(" not in one.figure.get_supxlabel() for one in drawn("patient"))
    numbers = draw_values([("adapted", Values(np.arange(2), np.arange(2), np.arange(2), np.arange(2), "file"))])
    assert "2 test patients (files)" in numbers.get_supxlabel()


def of_unit(table: pa.Table, unit: str) -> pa.Table:
    """The evidence, with something else standing for the patient."""
    column = table.schema.get_field_index("patient_unit")
    return table.set_column(column, table.schema.field(column), pa.array([unit] * len(table), pa.string()))


def test_files_are_whole_tell_their_caption_and_are_the_same_twice(evidence: pa.Table, tmp_path: Path) -> None:
    def drawn(caption: str) -> Drawn:
        rows = [row for row in differences(evidence) if row.metric == "auroc"]
        return Drawn("Differences: AUROC / phantom", draw_forest(rows, "auroc"), "forest", caption)

    for folder in ("once", "twice"):
        write_figures(tmp_path / folder, [drawn("Over 60 test patients."), drawn("The same <again>.")])
    names = sorted(path.name for path in (tmp_path / "once").iterdir())
    stem = "differences_auroc_phantom"
    assert names == ["captions.txt", f"{stem}.png", f"{stem}.svg", f"{stem}_2.png", f"{stem}_2.svg"]
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    text = "".join(ET.parse(tmp_path / "once" / f"{stem}.svg").getroot().itertext())
    assert "Over 60 test patients." in text
    assert "n = 60 test patients" in text
    with Image.open(tmp_path / "once" / f"{stem}_2.png") as image:
        assert image.text["Description"] == "The same <again>."  # type: ignore[attr-defined]
        assert image.width > 1000
    assert "The same <again>." in (tmp_path / "once" / "captions.txt").read_text(encoding="utf-8")


def test_a_summary_without_a_value_or_an_interval_is_no_reason_to_stop(evidence: pa.Table) -> None:
    (row,) = summaries(evidence, backbone="adapted", probe="knn", shots=15, metric="auroc")
    bare = EvidenceRow(**{**vars(row), "low": None, "high": None})
    draw_fewshot([bare, EvidenceRow(**{**vars(row), "shots": 1, "value": None})], None, "auroc")
    draw_forest([EvidenceRow(**{**vars(bare), "compared_with": "start", "p_holm": None})], "auroc")
