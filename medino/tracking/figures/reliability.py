"""Reliability diagrams: how often a probe is right when it says that it is so sure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from medino.core import InputError
from medino.probes import patient_counts
from medino.tracking.figures.style import RULES, SOFT, footnote, look
from medino.tracking.names import patients_named
from medino.tracking.outcomes import REPLICATES, Outcomes

BINS = 10
"""Bins of confidence of equal width; fewer than the calibration error's 15, so that each holds enough patients."""

FEWEST_PATIENTS = 5
"""A bin with outcomes of fewer has no point: its share of right ones says nothing."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of confidence of one backbone, those with enough patients.

    Attributes:
        confidence: (K,) mean confidence.
        right: (K,) share of right predictions.
        low: (K,) lower end of its 95 % interval over patients.
        high: (K,) upper end of it.
        share: (BINS,) share of all outcomes in each bin, those without a point too.
    """

    confidence: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray
    share: np.ndarray


def confidence_bins(found: Outcomes) -> Reliability:
    """Bin the outcomes of all episodes by confidence; bins hold their upper end (Guo et al. 2017, equation 3).

    Raises:
        InputError: no scores were kept.
    """
    if found.confidence is None:
        raise InputError("the evidence holds no scores of these outcomes; run the study again")
    place = np.clip(np.ceil(found.confidence * BINS).astype(int) - 1, 0, BINS - 1)
    patients = int(found.owner.max()) + 1
    cell = found.owner * BINS + place
    size = patients * BINS
    count = np.bincount(cell, minlength=size).reshape(patients, BINS)
    hits = np.bincount(cell, weights=found.hit, minlength=size).reshape(patients, BINS)
    sure = np.bincount(cell, weights=found.confidence, minlength=size).reshape(patients, BINS)
    kept = (count > 0).sum(axis=0) >= min(FEWEST_PATIENTS, patients)
    weights = patient_counts(patients, REPLICATES, seed=0).astype(float)
    totals = weights @ count[:, kept]
    resampled = np.divide(weights @ hits[:, kept], totals, out=np.full(totals.shape, np.nan), where=totals > 0)
    # With few patients no bin may be full enough, and of nothing numpy gives no percentiles.
    low, high = np.nanpercentile(resampled, [2.5, 97.5], axis=0) if kept.any() else np.empty((2, 0))
    total = count[:, kept].sum(axis=0)
    share = count.sum(axis=0) / count.sum()
    return Reliability(sure[:, kept].sum(axis=0) / total, hits[:, kept].sum(axis=0) / total, low, high, share)


def draw_reliability(found: Sequence[tuple[str, Outcomes]]) -> Figure:
    """Confidence against the share of right predictions, and below it how often each confidence is given.

    Args:
        found: name and outcomes of each backbone.

    Raises:
        InputError: no scores were kept.
    """
    first = found[0][1]
    with rc_context(RULES):
        figure = Figure(figsize=(5.0, 5.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1.0))
        upper.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 3)), zorder=0.5)
        edges = np.linspace(0, 1, BINS + 1)
        shift = 0.008
        for index, (name, one) in enumerate(found):
            style, bins = look(index), confidence_bins(one)
            at = bins.confidence + shift * (index - (len(found) - 1) / 2)
            upper.vlines(at, bins.low, bins.high, color=style.color, linewidth=1.6, zorder=2)
            upper.plot(
                at,
                bins.right,
                color=style.color,
                marker=style.marker,
                linestyle=style.dashes,
                markeredgecolor="white",
                markeredgewidth=0.6,
                label=name,
                zorder=3,
            )
            lower.stairs(100 * bins.share, edges, color=style.color, linestyle=style.dashes, linewidth=1.6)
        upper.set_ylim(-0.03, 1.03)
        upper.set_xlim(-0.02, 1.02)
        upper.set_ylabel("share of right predictions")
        lower.set_ylabel("outcomes, %")
        lower.set_ylim(bottom=0)
        lower.set_xlabel("confidence: the highest of the probabilities")
        figure.legend(loc="outside upper left", ncols=len(found))
        patients = patients_named(len(np.unique(first.owner)), first.patient_unit)
        footnote(figure, f"n = {patients}; bars: 95 % intervals over them; dotted: as sure as right")
    return figure
