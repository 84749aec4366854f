"""Figures: told apart by the colour-blind and in grey print, nothing hidden behind something else."""

import itertools
import re
from collections.abc import Callable

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
from medino.probes import EvidenceRow, differences, of_kind, summaries
from medino.tracking import draw_fewshot, draw_pretraining, draw_segmentation, to_svg
from medino.tracking.figures.pretraining import thinned
from medino.tracking.figures.style import look


def fewshot(evidence: pa.Table) -> Figure:
    return draw_fewshot(
        summaries(evidence, task="classification"), differences(evidence, task="classification"), "balanced_accuracy"
    )


def segmentation(evidence: pa.Table) -> Figure:
    cases = [EvidenceRow(**row) for row in of_kind(evidence, "outcome", task="segmentation").to_pylist()]
    return draw_segmentation(summaries(evidence, task="segmentation"), cases)


def pretraining(evidence: pa.Table) -> Figure:
    steps = np.arange(50.0)
    names = ("loss/total", "loss/dino", "loss/ibot", "loss/koleo", "teacher/rankme", "schedule/learning_rate")
    return draw_pretraining({"step": steps, **dict.fromkeys(names, 1 / (steps + 1))})


@pytest.mark.parametrize("draw", [fewshot, segmentation, pretraining])
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


def test_before_and_after_differ_in_grey() -> None:
    before, after = (np.dot(to_rgb(look(index).color), (0.299, 0.587, 0.114)) for index in (0, 1))
    assert abs(before - after) > 0.25


def test_the_points_of_the_figure_are_the_values_of_the_evidence(evidence: pa.Table) -> None:
    axes = fewshot(evidence).axes
    drawn = {
        (one.get_title(loc="left"), line.get_label(), round(float(value), 9))
        for one in axes[: len(axes) // 2]
        for line in one.lines
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
