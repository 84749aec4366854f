"""What happened while the backbone was adapted: losses, effective rank, prototype use, gradients, schedules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.core import InputError
from medino.tracking.figures.style import RULES, look
from medino.tracking.metrics_csv import STEP

MOST_POINTS = 400
"""A longer curve is drawn as means of neighbouring steps: more points than pixels only make the file large."""


@dataclass(frozen=True)
class _Panel:
    title: str
    label: str
    words: tuple[str, ...]
    logarithmic: bool = False
    limits: tuple[float, float] | None = None


PANELS = (
    _Panel("Losses", "loss", ("loss",)),
    _Panel("Online probe", "balanced accuracy", ("probe_balanced_accuracy",), limits=(0, 1)),
    _Panel("RankMe of the class tokens", "effective rank", ("rankme",)),
    _Panel("Likeness of features", "cosine or CKA", ("mean_cosine", "cka_to_start"), limits=(0, 1)),
    _Panel("Prototypes that are some image's first choice", "prototypes", ("prototypes_used",)),
    _Panel("Student and teacher on the same image", "agreement", ("agreement",), limits=(0, 1)),
    _Panel("Entropy of the teacher's targets", "nats", ("entropy",)),
    _Panel("What a prototype tells of its image", "nats", ("prototype_information",)),
    _Panel("Gradient norms before clipping", "norm", ("grad",), logarithmic=True),
    _Panel("Learning rate", "rate", ("lr", "learning_rate"), logarithmic=True),
)
"""Which columns go into which panel: those of whose name's parts one begins with a word."""

SAMPLES = {"teacher": "training batch", "watch": "fixed sample"}
"""What a measure is of, where the same one is taken of two sets of images: numbers of two sets don't compare."""

NAMES = {"cka_to_start": "CKA to the start", "mean_cosine": "cosine of two images", "rankme": "RankMe"}
"""Measures whose names are not words."""


def draw_pretraining(metrics: Mapping[str, np.ndarray]) -> Figure:
    """One panel for each kind of curve that was logged.

    Args:
        metrics: what `read_metrics` gives.

    Raises:
        InputError: none of the known curves is there.
    """
    filled = [(panel, columns) for panel in PANELS if (columns := panel_columns(metrics, panel.words))]
    if not filled:
        raise InputError("the metrics hold no curve of a training; give the metrics.csv of a training run")
    columns_of_panels = min(2, len(filled))
    lines = -(-len(filled) // columns_of_panels)
    with rc_context(RULES):
        figure = Figure(figsize=(4.6 * columns_of_panels, 3.2 * lines), layout="constrained")
        places = figure.subplots(lines, columns_of_panels, squeeze=False).ravel()
        for place, (panel, columns) in zip(places, filled, strict=False):
            _draw_panel(place, panel, columns, metrics)
        for place in places[len(filled) :]:
            place.set_visible(False)
    return figure


def panel_columns(metrics: Mapping[str, np.ndarray], words: Sequence[str]) -> list[str]:
    """The columns of a panel that hold at least one number."""
    found = [name for name in metrics if any(f"_{word}" in f"_{name.replace('/', '_')}" for word in words)]
    return [name for name in found if name != STEP and np.isfinite(metrics[name]).any()]


def thinned(steps: np.ndarray, values: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """The finite points of a curve; where they are more than `most`, means of equally many neighbours each."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if len(values) <= most:
        return steps, values
    groups = np.array_split(np.arange(len(values)), most)
    return np.array([steps[group].mean() for group in groups]), np.array([values[group].mean() for group in groups])


def _draw_panel(axes: Any, panel: _Panel, columns: Sequence[str], metrics: Mapping[str, np.ndarray]) -> None:
    positive = False
    names = [name.split("/")[-1] for name in columns]
    for index, name in enumerate(columns):
        steps, values = thinned(metrics[STEP], metrics[name])
        style = look(index)
        label = NAMES.get(names[index], names[index].replace("_", " "))
        if names.count(names[index]) > 1:
            label = f"{label}, {SAMPLES.get(name.split('/')[0], name.split('/')[0])}"
        axes.plot(
            steps,
            values,
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markevery=max(1, len(values) // 6),
            markersize=4.5,
            label=label,
        )
        positive |= bool((values > 0).any())
    axes.set_title(panel.title)
    axes.set_xlabel("step")
    axes.set_ylabel(panel.label)
    if panel.limits is not None:
        axes.set_ylim(panel.limits[0] - 0.03, panel.limits[1] + 0.03)
    if panel.logarithmic and positive:
        axes.set_yscale("log")
    if len(columns) > 1:
        ncols = 3 if max(map(len, names)) < 14 else 2
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=ncols, fontsize=8.5)
