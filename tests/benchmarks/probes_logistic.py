"""Logistic regression for all episodes, shots and regularisations at once, beside scikit-learn's, fit by fit."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from medino.probes.logistic import episodes_at_once, fit_logistic
from medino.probes.span import Span

CLASSES, WIDTH, QUERIES = 10, 768, 5000
SHOTS = (1, 2, 4, 8, 16, 32)
EPISODES = 100
STRENGTHS = 10 ** np.linspace(-6, 5, 10)
"""Ten values of C over the range of DINOv2's evaluation, on class tokens as they come out of the backbone."""

LENGTH, OFFSET = 30.0, 30.0
"""Root mean square distance of the features from their mean, and length of that mean: their own lengths are then some
42, as those of DINOv2's class tokens are."""

TIMED = 10
"""scikit-learn fits each tenth episode; its time is ten times that of these."""

COMPARED = 1
"""Episodes for each number of shots whose fits are compared with scikit-learn's own optimum."""

TOLERANCE, DEFAULT_TOLERANCE, EXACT_TOLERANCE = 1e-8, 1e-4, 1e-12
"""scikit-learn's for the yardstick, which brings its objective to its optimum; its default; and for the comparison."""


@dataclass(frozen=True)
class Timing:
    """What one number of shots took, seconds, and how the results compare.

    Attributes:
        shots: support vectors a class.
        ours: all episodes and strengths: fits and predictions.
        peer: the same by scikit-learn, extrapolated from each tenth episode.
        peer_default: the same with its default tolerance.
        excess: how far our objective lies above scikit-learn's at its optimum, at most, as a share of it.
        excess_default: the same of scikit-learn with its default tolerance.
        agreement: share of equal predictions, at least.
    """

    shots: int
    ours: float
    peer: float
    peer_default: float
    excess: float
    excess_default: float
    agreement: float


def measure() -> list[Timing]:
    """Run the study with both."""
    return [_timing(shots, support, classes, queries) for shots, support, classes, queries in _problems()]


def _problems() -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Features with a falling spectrum, as backbones have them, in a random basis; the classes overlap."""
    generator = np.random.default_rng(0)
    spectrum = (1 + np.arange(WIDTH)) ** -0.5
    basis = np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]
    means = generator.normal(size=(CLASSES, WIDTH)) * spectrum * 0.6

    length = np.sqrt((spectrum**2).sum() + (means**2).sum() / CLASSES)
    offset = generator.normal(size=WIDTH)
    offset *= OFFSET / np.linalg.norm(offset)

    def draw(classes: np.ndarray) -> np.ndarray:
        noise = generator.normal(size=(len(classes), WIDTH)) * spectrum
        return ((means[classes] + noise) @ basis * (LENGTH / length) + offset).astype(np.float32)

    queries = draw(generator.integers(CLASSES, size=QUERIES))
    for shots in SHOTS:
        classes = np.repeat(np.arange(CLASSES), shots)
        yield shots, np.stack([draw(classes) for _ in range(EPISODES)]), classes, queries


def _timing(shots: int, support: np.ndarray, classes: np.ndarray, queries: np.ndarray) -> Timing:
    begun = time.perf_counter()
    predicted = _predicted_by_medino(support, classes, queries)
    ours = time.perf_counter() - begun
    peers = {}
    for tolerance in (TOLERANCE, DEFAULT_TOLERANCE):
        begun = time.perf_counter()
        for vectors in support[::TIMED]:
            for fit in _peers(vectors, classes, tolerance):
                fit.predict(queries)
        peers[tolerance] = (time.perf_counter() - begun) * len(support) / len(support[::TIMED])
    found = [
        _compare(vectors, classes, queries, said) for vectors, said in zip(support[:COMPARED], predicted, strict=False)
    ]
    excess, excess_default, disagreement = np.max(found, axis=0)
    return Timing(shots, ours, peers[TOLERANCE], peers[DEFAULT_TOLERANCE], excess, excess_default, 1 - disagreement)


def _fits(span: Span, classes: np.ndarray) -> torch.Tensor:
    """Our weights (E, M, K, P); the span is scaled, and what scales the vectors scales C by its square."""
    targets = F.one_hot(torch.from_numpy(classes), CLASSES).double()
    everything = torch.ones(len(STRENGTHS), len(classes), dtype=torch.float64)
    return fit_logistic(span.coordinates, targets, torch.from_numpy(STRENGTHS) * span.scale[:, :, 0] ** 2, everything)


def _predicted_by_medino(support: np.ndarray, classes: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(E, M, Q) predicted classes."""
    at_once = episodes_at_once(support.shape, len(STRENGTHS) * CLASSES)
    unknown = torch.as_tensor(queries, dtype=torch.float64)
    parts = []
    for start in range(0, len(support), at_once):
        span = Span.of(support[start : start + at_once])
        parts.append(span.outputs(unknown, _fits(span, classes)).argmax(dim=2).numpy())
    return np.concatenate(parts)


def _peers(support: np.ndarray, classes: np.ndarray, tolerance: float) -> list[LogisticRegression]:
    """scikit-learn's fits for one episode."""
    vectors = support.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            LogisticRegression(C=strength, tol=tolerance, max_iter=100_000).fit(vectors, classes)
            for strength in STRENGTHS
        ]


def _compare(
    support: np.ndarray, classes: np.ndarray, queries: np.ndarray, predicted: np.ndarray
) -> tuple[float, float, float]:
    """The largest excess of our objective and of scikit-learn's default, and of unequal predictions."""
    span = Span.of(support[None])
    found = []
    best, default = (_peers(support, classes, tolerance) for tolerance in (EXACT_TOLERANCE, DEFAULT_TOLERANCE))
    for strength, weights, said, optimum, usual in zip(
        STRENGTHS, _fits(span, classes)[0], predicted, best, default, strict=True
    ):
        least = _peer_objective(optimum, support, classes, strength)
        logits = (span.coordinates[0] @ weights.T).numpy()
        # The weights of the unscaled features are smaller by the scale.
        ours = _objective(logits, weights[:, :-1].numpy() / float(span.scale), classes, strength)
        unequal = float((said != optimum.predict(queries)).mean())
        found.append((ours / least - 1, _peer_objective(usual, support, classes, strength) / least - 1, unequal))
    excess, excess_default, disagreement = np.max(found, axis=0)
    return float(excess), float(excess_default), float(disagreement)


def _peer_objective(fit: LogisticRegression, support: np.ndarray, classes: np.ndarray, strength: float) -> float:
    logits = support.astype(np.float64) @ fit.coef_.T + fit.intercept_
    return _objective(logits, fit.coef_, classes, strength)


def _objective(logits: np.ndarray, weights: np.ndarray, classes: np.ndarray, strength: float) -> float:
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(classes), reduction="sum")
    return strength * float(loss) + 0.5 * float((weights**2).sum())


def tables(timings: list[Timing]) -> str:
    """The text and table for the page."""
    lines = [
        f"{CLASSES} classes, {WIDTH}-wide features, {EPISODES} episodes for each number of shots, {len(STRENGTHS)} "
        f"values of C from {STRENGTHS[0]:g} to {STRENGTHS[-1]:g} (the range of DINOv2's evaluation), {QUERIES} test "
        f"vectors predicted by each fit. The features are drawn: a falling spectrum, overlapping classes, a common "
        f"offset, lengths of some 42 as class tokens have before any normalisation. scikit-learn fits each {TIMED}th "
        f"episode and its time is {TIMED} times that; with a tolerance of {TOLERANCE:g} it comes to its optimum, with "
        f"its default of {DEFAULT_TOLERANCE:g} it does not. The objectives are compared with scikit-learn's at a "
        f"tolerance of {EXACT_TOLERANCE:g}, for {COMPARED} episode a row: how far above it ours and that of the "
        "default lie, as a share, and the share of equal predictions, each the worst over C.",
        "",
        "| shots | medino, s | scikit-learn, s | ratio | with its default, s | our objective above | its default above "
        "| equal predictions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in timings:
        lines.append(
            f"| {row.shots} | {row.ours:.1f} | {row.peer:.0f} | {row.peer / row.ours:.1f} | {row.peer_default:.0f} | "
            f"{row.excess:.1e} | {row.excess_default:.1e} | {row.agreement:.4f} |"
        )
    ours, peer, default = (sum(getattr(row, name) for row in timings) for name in ("ours", "peer", "peer_default"))
    lines.append(f"| all | {ours:.1f} | {peer:.0f} | **{peer / ours:.1f}** | {default:.0f} | | | |")
    return "\n".join(lines)
