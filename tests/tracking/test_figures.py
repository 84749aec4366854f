"""Figures: told apart by the colour-blind and in grey print, nothing hidden behind something else."""

import dataclasses
import itertools
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from medino.core import InputError
from medino.probes import EvidenceRow, differences, evidence_table, of_kind, summaries
from medino.tracking.figures import (
    draw_confusion,
    draw_fewshot,
    draw_forest,
    draw_pretraining,
    draw_reliability,
    draw_segmentation,
    draw_values,
    to_svg,
)
from medino.tracking.figures.confusion import COLOURS, MOST_CLASSES
from medino.tracking.figures.pretraining import thinned
from medino.tracking.figures.style import look
from medino.tracking.outcomes import Outcomes, Values, outcomes
from tests.tracking.conftest import few_mask_rows

Eye = Callable[[Any], np.ndarray]


def grey(colour: Any) -> np.ndarray:
    """As a grey print shows it."""
    return np.full(3, np.dot(colour, (0.299, 0.587, 0.114)))


def deuteranope(colour: Any) -> np.ndarray:
    """As those see it who lack the green receptor (Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB)."""
    seen_of = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
    value = np.asarray(colour)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(seen_of) @ linear, 0, 1)
    return np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


def fewshot(evidence: pa.Table) -> Figure:
    return draw_fewshot(summaries(evidence, task="classification"), evidence, "balanced_accuracy")


def segmentation(evidence: pa.Table) -> Figure:
    cases = [EvidenceRow(**row) for row in of_kind(evidence, "outcome", task="segmentation").to_pylist()]
    return draw_segmentation(summaries(evidence, task="segmentation"), cases)


def pretraining(evidence: pa.Table) -> Figure:
    steps = np.arange(50.0)
    names = ("loss/total", "loss/dino", "loss/ibot", "loss/koleo", "teacher/rankme", "schedule/learning_rate")
    return draw_pretraining({"step": steps, **dict.fromkeys(names, 1 / (steps + 1))})


def forest(evidence: pa.Table) -> Figure:
    return draw_forest(differences(evidence), "balanced_accuracy", ("start", "adapted", "thumbnail"))


def compared(evidence: pa.Table) -> list[tuple[str, Outcomes]]:
    rows = summaries(evidence, task="classification", probe="knn", shots=15, metric="balanced_accuracy")
    return [(row.backbone, found) for row in rows if (found := outcomes(evidence, row)) is not None]


def confusion(evidence: pa.Table) -> Figure:
    return draw_confusion(compared(evidence)[:2])


def many_classes(evidence: pa.Table) -> Figure:
    """As many classes as a matrix may have, with names as people give them."""
    names = [f"{place} lymphocytic infiltrate" for place in range(MOST_CLASSES)]
    shares = np.full((MOST_CLASSES, MOST_CLASSES), 1 / MOST_CLASSES)
    one = compared(evidence)[0][1]
    places = np.arange(MOST_CLASSES)
    found = dataclasses.replace(one, classes=names, targets=np.array(names), shares=shares, patients=places)
    return draw_confusion([("the backbone", found)])


def reliable(evidence: pa.Table) -> Figure:
    return draw_reliability(compared(evidence))


def numbers(evidence: pa.Table) -> Figure:
    true = np.linspace(20, 90, 60)
    of = Values(np.arange(60).astype(str), np.arange(60) // 2, true, true + 5 * np.sin(true))
    return draw_values([("start", of), ("adapted", of)])


def masks_over_shots(evidence: pa.Table) -> Figure:
    rows = evidence_table(few_mask_rows())
    return draw_fewshot(summaries(rows), rows, "dice")


def masks_forest(evidence: pa.Table) -> Figure:
    return draw_forest(differences(evidence_table(few_mask_rows())), "hausdorff95_mm")


DRAWN = [
    fewshot,
    forest,
    confusion,
    many_classes,
    reliable,
    numbers,
    segmentation,
    masks_over_shots,
    masks_forest,
    pretraining,
]


@pytest.mark.parametrize("draw", DRAWN)
def test_no_two_labels_overlap_and_none_is_cut_off(draw: Callable[[pa.Table], Figure], evidence: pa.Table) -> None:
    figure = draw(evidence)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    shown = {id(tick.label1) for axes in figure.axes for tick in _ticks_in_view(axes)}
    ticks = {id(tick.label1) for axes in figure.axes for tick in _all_ticks(axes)}
    texts = [text for text in texts if id(text) not in ticks or id(text) in shown]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    width, height = canvas.get_width_height()
    for name, box in boxes:
        assert box.x0 >= -1, name
        assert box.y0 >= -1, name
        assert box.x1 <= width + 1, name
        assert box.y1 <= height + 1, name
    for (one, box), (other, other_box) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(other_box.padded(-1)), f"{one!r} overlaps {other!r}"


def _all_ticks(axes: Axes) -> list[Tick]:
    return [*axes.xaxis.get_major_ticks(), *axes.yaxis.get_major_ticks()]


def _ticks_in_view(axes: Axes) -> list[Tick]:
    found = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        in_view = (tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
        found += [tick for tick in in_view if tick.label1.get_visible()]
    return found


def test_the_first_looks_differ_in_marker_and_dashes_as_well_as_in_colour() -> None:
    looks = [look(index) for index in range(6)]
    for one, other in itertools.combinations(looks, 2):
        assert one.color != other.color
        assert one.marker != other.marker
        assert one.dashes != other.dashes


@pytest.mark.parametrize("sees", [grey, deuteranope])
def test_the_shares_of_a_confusion_matrix_fall_in_one_order_for_every_eye(sees: Eye, evidence: pa.Table) -> None:
    colours = mpl.colormaps[COLOURS](np.linspace(0, 1, 11))[:, :3]
    brightness = [float(grey(sees(colour)).mean()) for colour in colours]
    assert (np.diff(brightness) < -0.02).all()


def test_the_looks_of_a_study_with_its_baselines_differ_for_the_colour_blind() -> None:
    seen = [deuteranope(to_rgb(look(index).color)) for index in range(5)]
    for (index, one), (place, other) in itertools.combinations(enumerate(seen), 2):
        apart = np.abs(one - other).max() > 0.1
        assert apart or look(index).marker != look(place).marker
    assert np.abs(seen[0] - seen[1]).max() > 0.4


def test_before_and_after_differ_in_grey() -> None:
    before, after = (np.dot(to_rgb(look(index).color), (0.299, 0.587, 0.114)) for index in (0, 1))
    assert abs(before - after) > 0.25


def test_the_points_of_the_figure_are_the_values_of_the_evidence(evidence: pa.Table) -> None:
    drawn = {
        (one.get_title(loc="left"), line.get_label(), round(float(value), 9))
        for one in fewshot(evidence).axes
        for line in one.lines
        if not line.get_label().startswith("_")
        for value in line.get_ydata()
    }
    names = {"nearest_mean": "nearest class mean", "knn": "nearest neighbours"}
    assert drawn == {
        (names[row.probe], row.backbone, round(row.value or 0, 9))
        for row in summaries(evidence, task="classification")
        if row.metric == "balanced_accuracy"
    }


def test_an_svg_holds_no_date_no_address_and_is_the_same_twice(evidence: pa.Table) -> None:
    one, two = (to_svg(segmentation(evidence), "Dice & more") for _ in range(2))
    assert one == two
    assert one.startswith("<svg ")
    for word in ("http", "date", "matplotlib", "metadata"):
        assert word not in one.lower()
    assert 'aria-label="Dice and more"' in one


def test_two_figures_in_one_page_share_no_id(evidence: pa.Table) -> None:
    ids = [set(re.findall(r' id="([^"]*)"', to_svg(segmentation(evidence), name))) for name in ("first", "second")]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])


def test_a_long_curve_is_drawn_as_means_and_its_gaps_are_left_out() -> None:
    steps = np.arange(10_000.0)
    values = np.where(steps % 2 == 0, 1.0, 3.0)
    values[5000] = np.nan
    x, y = thinned(steps, values, most=100)
    assert len(x) == len(y) == 100
    np.testing.assert_allclose(y, 2.0, atol=0.02)
    np.testing.assert_array_equal(thinned(steps[:5], np.array([1, np.inf, 2, np.nan, 3]))[0], [0, 2, 4])


def test_nothing_to_draw_is_said_in_words(evidence: pa.Table) -> None:
    with pytest.raises(InputError, match="few-shot study"):
        draw_fewshot(summaries(evidence, task="segmentation"), [], "auroc")
    with pytest.raises(InputError, match="segmentation head"):
        draw_segmentation(summaries(evidence, task="classification"), [])
    with pytest.raises(InputError, match=r"metrics\.csv"):
        draw_pretraining({"step": np.arange(3.0), "epoch": np.zeros(3)})
