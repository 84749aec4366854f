"""Tables and curves of `make bench-adaptation`, from the results that were kept."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medino.core import whole_file
from medino.tracking.figures.style import RULES, look
from tests.benchmarks.adaptation_arms import ARMS, DEFAULT, NAIVE, Hop, continued, start
from tests.benchmarks.adaptation_cost import Cost, cost_table
from tests.benchmarks.adaptation_runs import BATCH, PROBES, SIDE, Result
from tests.benchmarks.paired import EPISODES, Difference, Outcomes, accuracy, difference
from tests.benchmarks.real_images import SETS

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEADLINE = ("knn", 20)
"""The probe and the shots of the first table and the curves: others report forgetting by k-NN, too (dinov2 #204)."""


@dataclass(frozen=True)
class Measured:
    """All results of one hop over the seeds."""

    hop: Hop
    starts: list[Result]
    arms: dict[str, list[Result]]

    @classmethod
    def read(cls, hop: Hop, seeds: Sequence[int], work: Path) -> "Measured":
        """Read them from where they are kept."""
        return cls(
            hop,
            [Result.read(start(hop, seed), work) for seed in seeds],
            {arm: [Result.read(continued(hop, arm, seed), work) for seed in seeds] for arm in hop.arms},
        )

    def untrained(self, images: str, probe: str, shots: int) -> list[Outcomes]:
        """Before the start was trained."""
        return [one.outcomes(0, images, probe, shots) for one in self.starts]

    def before(self, images: str, probe: str, shots: int) -> list[Outcomes]:
        """Of the start."""
        return [one.outcomes(self.hop.start_steps, images, probe, shots) for one in self.starts]

    def after(self, arm: str, images: str, probe: str, shots: int, step: int | None = None) -> list[Outcomes]:
        """After the last step of an arm, or after another."""
        return [one.outcomes(self.hop.steps if step is None else step, images, probe, shots) for one in self.arms[arm]]


def write_page(page: Path, hops: Sequence[Hop], seeds: Sequence[int], work: Path, costs: dict[str, Cost]) -> None:
    """Write the measured part of the page between its marks; what stands around it is kept."""
    head, rest = page.read_text(encoding="utf-8").split(BEGIN)
    tail = rest.split(END)[1]
    parts = [_opening(seeds), *(_section(Measured.read(hop, seeds, work)) for hop in hops), _costs(costs)]
    text = "\n\n".join(parts)
    with whole_file(page) as temporary:
        temporary.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
    print(text)


def _opening(seeds: Sequence[int]) -> str:
    return (
        f"Made by `make bench-adaptation` on {os.cpu_count()} CPU cores, {platform.machine()}, torch "
        f"{torch.__version__}: a backbone 128 wide, 4 blocks, patch 12, {SIDE} px, {BATCH} images a step, {len(seeds)} "
        f"seeds, {EPISODES} support sets. Balanced accuracy on patients that no training saw; an interval resamples "
        "them, the same resamples for all arms and seeds."
    )


def _section(measured: Measured) -> str:
    hop = measured.hop
    first, second = SETS[hop.first], SETS[hop.second]
    probe, shots = HEADLINE
    sizes = {name: measured.before(name, probe, shots)[0].test_patients for name in (hop.first, hop.second)}
    gained = difference(measured.before(hop.first, probe, shots), measured.untrained(hop.first, probe, shots))
    lost = difference(measured.after(NAIVE, hop.first, probe, shots), measured.before(hop.first, probe, shots))
    power = (
        "Naive loses on A, and the interval lies below zero: this setting can show forgetting."
        if lost.high < 0
        else "Naive's loss on A can't be told from none: **this setting has no power to show forgetting.**"
    )
    return "\n\n".join(
        [
            f"### From {SETS[hop.first].title} to {SETS[hop.second].title}",
            f"A: {first.title} ({hop.start_steps} steps from scratch; {sizes[hop.first]} test patients, {first.unit}). "
            f"B: {second.title} ({hop.steps} steps; {sizes[hop.second]} test patients, {second.unit}). The start is "
            f"{gained} better on A than the untrained network. {power}",
            f"![curves](figures/adaptation_{hop.name}.png)",
            f"k-NN, {shots} labelled images a class:",
            _headline_table(measured),
            "The other probes: difference to the start / to naive.",
            _all_probes(measured),
            _verdict(measured),
        ]
    )


def _costs(costs: dict[str, Cost]) -> str:
    return (
        "### Memory and time\n\nOne step of ViT-S/14, 224 px, ten crops, 8 images, float32, one CPU core; measured, "
        f"each in a process of its own.\n\n{cost_table(costs)}"
    )


def _headline_table(measured: Measured) -> str:
    hop, (probe, shots) = measured.hop, HEADLINE
    lines = [
        "| what | A | A: to the start | A: to naive | B | B: to the start | B: to naive | B by seed, to naive "
        "| learns | s a step |",
        "|---|---|---|---|---|---|---|---|---|---|",
        "| untrained | "
        f"{_value(measured.untrained(hop.first, probe, shots))} | | | "
        f"{_value(measured.untrained(hop.second, probe, shots))} | | | | | |",
        "| start | "
        f"{_value(measured.before(hop.first, probe, shots))} | | | "
        f"{_value(measured.before(hop.second, probe, shots))} | | | | | "
        f"{np.mean([one.facts['seconds'] for one in measured.starts]) / hop.start_steps:.2f} |",
    ]
    for arm, results in measured.arms.items():
        cells = [f"**{ARMS[arm].title}** (default)" if arm == DEFAULT else ARMS[arm].title]
        for images in (hop.first, hop.second):
            after = measured.after(arm, images, probe, shots)
            cells += [_value(after), str(difference(after, measured.before(images, probe, shots)))]
            naive = difference(after, measured.after(NAIVE, images, probe, shots))
            cells.append("" if arm == NAIVE else str(naive))
        cells.append("" if arm == NAIVE else ", ".join(f"{value:+.3f}" for value in naive.by_seed))
        cells.append(f"{results[0].facts['learning_parameters']:,}")
        cells.append(f"{np.mean([one.facts['seconds'] for one in results]) / hop.steps:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _all_probes(measured: Measured) -> str:
    hop = measured.hop
    lines = [
        "| what | images | " + " | ".join(f"{probe.replace('_', ' ')} {shots}" for probe, shots in _all(hop)) + " |"
    ]
    lines.append("|---" * (2 + len(_all(hop))) + "|")
    for arm in measured.arms:
        for letter, images in (("A", hop.first), ("B", hop.second)):
            cells = []
            for probe, shots in _all(hop):
                after = measured.after(arm, images, probe, shots)
                cell = _short(difference(after, measured.before(images, probe, shots)))
                if arm != NAIVE:
                    cell += f" / {_short(difference(after, measured.after(NAIVE, images, probe, shots)))}"
                cells.append(cell)
            lines.append(f"| {ARMS[arm].title} | {letter} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nBold: the interval does not hold zero."


def _all(hop: Hop) -> list[tuple[str, int]]:
    shots = [number for number in SETS[hop.first].shots if number in SETS[hop.second].shots]
    return [(probe, number) for probe in PROBES for number in shots if (probe, number) != HEADLINE]


def _verdict(measured: Measured) -> str:
    hop, (probe, shots) = measured.hop, HEADLINE
    kept, gained = (
        difference(measured.after(DEFAULT, images, probe, shots), measured.after(NAIVE, images, probe, shots))
        for images in (hop.first, hop.second)
    )
    keeps = "keeps more of A than naive" if kept.low > 0 else "does **not** demonstrably keep more of A than naive"
    gains = "gains no less on B" if gained.value >= 0 else "gains less on B"
    sure = "the interval holds zero" if gained.low <= 0 <= gained.high else "the interval does not hold zero"
    return f"The default {keeps} ({kept}) and {gains} ({gained}; {sure})."


def _value(seeds: list[Outcomes]) -> str:
    return f"{accuracy(seeds)[0]:.3f}"


def _short(found: Difference) -> str:
    return f"**{found.value:+.3f}**" if found.low > 0 or found.high < 0 else f"{found.value:+.3f}"


def draw_curves(hop: Hop, seeds: Sequence[int], work: Path, folder: Path) -> None:
    """Draw k-NN accuracy over steps: A and B side by side, without anchoring above, with it below."""
    measured = Measured.read(hop, seeds, work)
    rows: dict[str, Callable[[str], bool]] = {
        "without anchoring": lambda arm: not ARMS[arm].anchored,
        "with anchoring": lambda arm: ARMS[arm].anchored or arm == NAIVE,
    }
    with rc_context(RULES):
        figure = Figure(figsize=(9, 7), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, sharey="col")
        for row, (title, belongs) in enumerate(rows.items()):
            for column, (letter, images) in enumerate((("A", hop.first), ("B", hop.second))):
                _draw_panel(axes[row, column], measured, images, [arm for arm in hop.arms if belongs(arm)])
                axes[row, column].set_title(f"{letter}: {SETS[images].title}, {title}")
        for panel in axes[-1]:
            panel.set_xlabel("steps on B")
        for panel in axes[:, 0]:
            panel.set_ylabel("balanced accuracy, k-NN, 20 shots")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"adaptation_{hop.name}.{suffix}", dpi=110)


def _draw_panel(axes: Axes, measured: Measured, images: str, arms: list[str]) -> None:
    hop, (probe, shots) = measured.hop, HEADLINE
    families = list(dict.fromkeys(arm.family for arm in ARMS.values()))
    steps = [0, *hop.looks, hop.steps]
    before = measured.before(images, probe, shots)
    axes.axhline(float(accuracy(before)[0]), color="#57606a", linewidth=0.8)
    for arm in arms:
        by_step = [before, *(measured.after(arm, images, probe, shots, step) for step in steps[1:])]
        style = look(families.index(ARMS[arm].family))
        line = {"color": style.color, "linestyle": style.dashes}
        for place in range(len(before)):
            axes.plot(steps, [accuracy([of[place]])[0] for of in by_step], alpha=0.3, linewidth=0.7, **line)
        means = [accuracy(of)[0] for of in by_step]
        axes.plot(steps, means, marker=style.marker, linewidth=2, label=ARMS[arm].family, **line)
