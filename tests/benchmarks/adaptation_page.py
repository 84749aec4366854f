"""Tables and curves of `make bench-adaptation`, from the results that were kept."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medino.core import whole_file
from medino.tracking.figures.style import RULES, look
from tests.benchmarks.adaptation_arms import ARMS, DEFAULT, NAIVE, Hop, continued, start
from tests.benchmarks.adaptation_cost import Cost, cost_table
from tests.benchmarks.adaptation_runs import BATCH, PROBES, SIDE, WIDTH, Result, thumbnail
from tests.benchmarks.paired import EPISODES, Difference, Outcomes, accuracy, difference, together
from tests.benchmarks.real_images import SETS

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
Probe = tuple[str, int]
"""Name and labelled images a class."""


@dataclass(frozen=True)
class Measured:
    """All results of one hop over the seeds."""

    hop: Hop
    starts: list[Result]
    arms: dict[str, list[Result]]
    thumbnails: dict[str, Result]

    @classmethod
    def read(cls, hop: Hop, seeds: Sequence[int], work: Path) -> "Measured":
        """Read them from where they are kept."""
        return cls(
            hop,
            [Result.read(start(hop, seed), work) for seed in seeds],
            {arm: [Result.read(continued(hop, arm, seed), work) for seed in seeds] for arm in hop.arms},
            {name: thumbnail(name, work) for name in (hop.first, hop.second)},
        )

    @property
    def probes(self) -> list[Probe]:
        """All probes at all numbers of shots that both sets have."""
        shots = [number for number in SETS[self.hop.first].shots if number in SETS[self.hop.second].shots]
        return [(probe, number) for probe in PROBES for number in shots]

    def thumbnail(self, images: str, probes: Sequence[Probe]) -> list[Outcomes]:
        """A description without a backbone."""
        return [_outcomes(self.thumbnails[images], 0, images, probes)]

    def untrained(self, images: str, probes: Sequence[Probe]) -> list[Outcomes]:
        """Before the start was trained, seed by seed, all `probes` together."""
        return [_outcomes(one, 0, images, probes) for one in self.starts]

    def before(self, images: str, probes: Sequence[Probe]) -> list[Outcomes]:
        """The same of the start."""
        return [_outcomes(one, self.hop.start_steps, images, probes) for one in self.starts]

    def after(self, arm: str, images: str, probes: Sequence[Probe], step: int | None = None) -> list[Outcomes]:
        """The same after the last step of an arm, or after another."""
        return [_outcomes(one, step or self.hop.steps, images, probes) for one in self.arms[arm]]

    def to_start(self, arm: str, images: str, probes: Sequence[Probe]) -> Difference:
        """What an arm gained or lost."""
        return difference(self.after(arm, images, probes), self.before(images, probes))

    def to_naive(self, arm: str, images: str, probes: Sequence[Probe]) -> Difference:
        """How much better an arm is than naive."""
        return difference(self.after(arm, images, probes), self.after(NAIVE, images, probes))


def _outcomes(result: Result, step: int, images: str, probes: Sequence[Probe]) -> Outcomes:
    return together([result.outcomes(step, images, probe, shots) for probe, shots in probes])


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
        f"{torch.__version__}: a backbone {WIDTH} wide, 4 blocks, patch 12, {SIDE} px, {BATCH} images a step, "
        f"{len(seeds)} seeds, {EPISODES} support sets. Balanced accuracy on patients that no training saw; an interval "
        "resamples them, the same resamples for all arms and seeds."
    )


def _section(measured: Measured) -> str:
    hop, probes = measured.hop, measured.probes
    first, second = SETS[hop.first], SETS[hop.second]
    patients = {name: measured.before(name, probes)[0].test_patients for name in (hop.first, hop.second)}
    learnt = difference(measured.before(hop.first, probes), measured.untrained(hop.first, probes))
    parts = [
        f"### From {first.title} to {second.title}",
        f"A: {first.title}, {hop.start_steps} steps from scratch; {patients[hop.first]} test patients ({first.unit}). "
        f"B: {second.title}, {hop.steps} steps; {patients[hop.second]} test patients ({second.unit}).",
        f"![Accuracy on A and B over the steps on B](figures/adaptation_{hop.name}.png)",
        "*k-NN, mean of 5 and 20 labelled images a class. Thick: the mean of the seeds; thin: each seed; level: the "
        "start.*",
        "Mean of k-NN, nearest mean and logistic regression at 5 and 20 labelled images a class; bold is the mean, "
        "whatever its interval:",
        _main_table(measured),
        _verdict(measured, learnt),
        "Each probe: difference to the start / to naive. Bold: the interval does not hold zero.",
        _each_probe(measured),
    ]
    return "\n\n".join(parts)


def _costs(costs: dict[str, Cost]) -> str:
    return (
        "### Memory and time\n\nOne step of ViT-S/14, 224 px, ten crops, 8 images, float32, one CPU core; measured, "
        f"each in a process of its own, which gives memory back as soon as it is freed.\n\n{cost_table(costs)}"
    )


def _main_table(measured: Measured) -> str:
    hop, probes = measured.hop, measured.probes
    lines = [
        "| what | A | A, to the start | A, to naive | B | B, to the start | B, to naive | to naive by seed: A; B |",
        "|---|---|---|---|---|---|---|---|",
    ]
    references = {"thumbnail, 12 x 12 and histograms": measured.thumbnail, "untrained": measured.untrained}
    for name, of in {**references, "the start": measured.before}.items():
        first, second = (f"{accuracy(of(images, probes))[0]:.3f}" for images in (hop.first, hop.second))
        lines.append(f"| {name} | {first} | | | {second} | | | |")
    for arm in hop.arms:
        cells = [f"**{ARMS[arm].title}** (default)" if arm == DEFAULT else ARMS[arm].title]
        by_seed = []
        for images in (hop.first, hop.second):
            cells.append(f"{accuracy(measured.after(arm, images, probes))[0]:.3f}")
            cells.append(str(measured.to_start(arm, images, probes)))
            cells.append("" if arm == NAIVE else str(measured.to_naive(arm, images, probes)))
            by_seed.append(", ".join(f"{value:+.3f}" for value in measured.to_naive(arm, images, probes).by_seed))
        cells.append("" if arm == NAIVE else "; ".join(by_seed))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdict(measured: Measured, learnt: Difference) -> str:
    hop, probes = measured.hop, measured.probes
    lost, naive_gain = (measured.to_start(NAIVE, images, probes) for images in (hop.first, hop.second))
    kept, gained = (measured.to_naive(DEFAULT, images, probes) for images in (hop.first, hop.second))
    can_show = (
        f"Naive loses {lost} on A: the setting can show forgetting."
        if lost.high < 0
        else f"Naive's loss on A, {lost}, can't be told from none: **the setting has no power to show forgetting.**"
    )
    can_gain = (
        ""
        if naive_gain.low > 0 or measured.to_start(DEFAULT, hop.second, probes).low > 0
        else " Neither naive nor the default demonstrably gains on B: **no power to show a gain.**"
    )
    keeps = "keeps more of A than naive" if kept.low > 0 else "does **not** demonstrably keep more of A than naive"
    gains = "in the mean no less" if gained.value >= 0 else "less"
    return (
        f"The start is {learnt} better on A than the untrained network. {can_show}{can_gain} The default {keeps}, "
        f"{kept}, and gains {gains} on B, {gained} to naive."
    )


def _each_probe(measured: Measured) -> str:
    hop = measured.hop
    titles = [f"{probe.replace('_', ' ')} {shots}" for probe, shots in measured.probes]
    lines = [f"| what | | {' | '.join(titles)} |", f"|---|---|{'---|' * len(titles)}"]
    for arm in hop.arms:
        for letter, images in (("A", hop.first), ("B", hop.second)):
            cells = []
            for probe in measured.probes:
                cells.append(_short(measured.to_start(arm, images, [probe])))
                if arm != NAIVE:
                    cells[-1] += f" / {_short(measured.to_naive(arm, images, [probe]))}"
            lines.append(f"| {ARMS[arm].title} | {letter} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(found: Difference) -> str:
    return f"**{found.value:+.3f}**" if found.low > 0 or found.high < 0 else f"{found.value:+.3f}"


def draw_curves(hop: Hop, seeds: Sequence[int], work: Path, folder: Path) -> None:
    """Draw k-NN accuracy over steps: A and B side by side, without anchoring above, with it below."""
    measured = Measured.read(hop, seeds, work)
    rows = {"": [arm for arm in hop.arms if not ARMS[arm].anchored]}
    if anchored := [arm for arm in hop.arms if ARMS[arm].anchored]:
        rows[", anchored"] = [NAIVE, *anchored]
    with rc_context({**RULES, "svg.hashsalt": hop.name}):
        figure = Figure(figsize=(9.5, 1 + 3.3 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), 2, sharex=True, sharey="col", squeeze=False)
        for row, (suffix, arms) in enumerate(rows.items()):
            for column, (letter, images) in enumerate((("A", hop.first), ("B", hop.second))):
                _draw_panel(axes[row, column], measured, images, arms)
                axes[row, column].set_title(f"{letter}: {SETS[images].title}{suffix}")
            axes[row, 0].set_ylabel("balanced accuracy, k-NN")
        for panel in axes[-1]:
            panel.set_xlabel("steps on B")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"adaptation_{hop.name}.png", dpi=110)
        figure.savefig(folder / f"adaptation_{hop.name}.svg", metadata={"Date": None})


def _draw_panel(axes: Axes, measured: Measured, images: str, arms: list[str]) -> None:
    hop = measured.hop
    probes = [(probe, shots) for probe, shots in measured.probes if probe == PROBES[0]]
    families = list(dict.fromkeys(arm.family for arm in ARMS.values()))
    steps = [0, *hop.looks, hop.steps]
    before = measured.before(images, probes)
    axes.axhline(float(accuracy(before)[0]), color="#57606a", linewidth=0.8)
    for arm in arms:
        by_step = [before, *(measured.after(arm, images, probes, step) for step in steps[1:])]
        style = look(families.index(ARMS[arm].family))
        line = {"color": style.color, "linestyle": style.dashes}
        for place in range(len(before)):
            axes.plot(steps, [accuracy([of[place]])[0] for of in by_step], alpha=0.3, linewidth=0.7, **line)
        means = [accuracy(of)[0] for of in by_step]
        axes.plot(steps, means, marker=style.marker, linewidth=2, label=ARMS[arm].family, **line)
