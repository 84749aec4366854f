"""Which rows make up each training step: the same for any number of workers and processes, resumable at any step."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from torch.utils.data import Sampler

from medino.core import InputError, numpy_generator
from medino.data.draws import Groups, Names, numbered, spread_over_batches, systematic_counts


class SampleAddress(NamedTuple):
    """One place in a run's stream of samples, and the row that fills it.

    With the run's seed, `step` and `position` are the address of every random draw for this sample.
    """

    step: int
    position: int
    row: int


class StepBatchSampler(Sampler[list[SampleAddress]]):
    """Yields, for each optimiser step, this process's part of the global batch.

    What is drawn evenly is passed through in a fresh random order each time. By default that is the rows, and a batch
    that reaches the end of one pass goes on into the next. With any of the other choices a pass is a whole number of
    batches, in which everything comes as often as it should, or once more where that fills the last batch; and a batch
    holds one row of a series at most (of a patient, where patients are drawn), as long as there are enough of them.

    Place `position` of step `step` depends on the seed alone, and rank r takes a contiguous part of the positions, so
    that any number of processes see together what one would.

    Args:
        patients: the patient of each row of the manifest (its column `patient`); also says how many rows there are.
        batch_size: samples of one step over all processes.
        total_steps: steps of the whole run.
        seed: the run's seed.
        uniform_over: "rows": each row once a pass. "series": each series once a pass, by one row drawn at random.
            "patients": each patient once a pass, by one of its series and then one of this one's rows, so that a
            patient with a thousand slices counts as much as one with ten.
        rank: this process.
        world_size: number of processes; must divide `batch_size`.
        start_step: the first step to yield, when a run is resumed.
        series: the series of each row; None: a patient's rows are one series.
        slices_per_series: rows of each series in a pass, drawn anew for each; None: all of them where rows are drawn
            evenly, else one. A series with fewer rows gives them all where rows are drawn evenly, and repeats some
            where series are.
        weights: how often each row is drawn, compared with what it would be by the above; None: all the same.

    Raises:
        InputError: no rows, a batch that can't be divided among the processes, or choices that don't go together.
    """

    def __init__(
        self,
        patients: Names,
        batch_size: int,
        total_steps: int,
        seed: int,
        uniform_over: Literal["rows", "series", "patients"] = "rows",
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
        series: Names | None = None,
        slices_per_series: int | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        if len(patients) == 0:
            raise InputError("there are no images to train on; check the manifest and its splits")
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} can't be divided among {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        if uniform_over not in ("rows", "series", "patients"):
            raise InputError(f"uniform_over is {uniform_over!r}; it can be 'rows', 'series' or 'patients'")
        if slices_per_series is not None and (slices_per_series < 1 or uniform_over == "patients"):
            raise InputError(
                f"slices_per_series is {slices_per_series} with uniform_over {uniform_over!r}; give 1 or more, with "
                "'rows' or 'series'; where patients are drawn evenly, each gives one slice a pass"
            )
        self.batch_size = batch_size
        self.total_steps = total_steps
        self.rank = rank
        self.world_size = world_size
        self.start_step = start_step
        self._order: _Order
        if uniform_over == "rows" and slices_per_series is None and weights is None:
            self._order = _RowOrder(len(patients), batch_size, seed)
        else:
            names = patients if series is None else series
            once = slices_per_series or (None if uniform_over == "rows" else 1)
            self._order = _SpreadOrder(patients, names, uniform_over, once, weights, batch_size, seed)

    def __len__(self) -> int:
        """Steps of the whole run, wherever it starts: Lightning counts the steps done before a resume as well."""
        return self.total_steps

    def __iter__(self) -> Iterator[list[SampleAddress]]:
        share = self.batch_size // self.world_size
        positions = range(self.rank * share, (self.rank + 1) * share)
        for step in range(self.start_step, self.total_steps):
            yield [SampleAddress(step, position, self._order.row(step, position)) for position in positions]


class _Order(Protocol):
    def row(self, step: int, position: int) -> int:
        """The row at a place of the stream."""


class _RowOrder:
    """Each row once a pass; the end of one pass and the start of the next share a batch."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self._passes: dict[int, np.ndarray] = {}

    def row(self, step: int, position: int) -> int:
        number, place = divmod(step * self.batch_size + position, self.rows)
        return int(self._pass(number)[place])

    def _pass(self, number: int) -> np.ndarray:
        """The order of pass `number`; the last two are kept, for batches that reach from one into the next."""
        if number not in self._passes:
            self._passes = {key: order for key, order in self._passes.items() if key == number - 1}
            self._passes[number] = numpy_generator(self.seed, "sampler", number).permutation(self.rows)
        return self._passes[number]


class _SpreadOrder:
    """Passes of whole batches over units (series or patients), a unit once in a batch; rows are drawn within units."""

    def __init__(
        self,
        patients: Names,
        series: Names,
        uniform_over: str,
        once: int | None,
        weights: np.ndarray | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        patient_codes, patient_count = numbered(patients)
        series_codes, series_count = numbered(series)
        # Should two patients share a series, each has one of their own.
        pairs = patient_codes.astype(np.int64) * series_count + series_codes
        codes, count = numbered(pa.array(pairs))
        self.weights = _checked(weights, len(codes))
        self.rows_of = Groups.of(codes, count)
        self.series_weights = None if self.weights is None else self.rows_of.means(self.weights)
        unit_weights = self.series_weights
        self.series_of: Groups | None = None
        if uniform_over == "patients":
            first_rows = self.rows_of.members[self.rows_of.starts[:-1]]
            self.series_of = Groups.of(patient_codes[first_rows], patient_count)
            expected = np.ones(patient_count)
            unit_weights = None if unit_weights is None else self.series_of.means(unit_weights)
        elif uniform_over == "series":
            expected = np.full(count, float(once or 1))
        else:
            expected = np.minimum(self.rows_of.sizes(), once or len(codes)).astype(np.float64)
        # Weights share a pass out anew and leave its length.
        self.batches = max(-(-int(expected.sum()) // batch_size), 1)
        self.expected = expected if unit_weights is None else expected * unit_weights
        self._pass: tuple[int, np.ndarray, np.ndarray] | None = None

    def row(self, step: int, position: int) -> int:
        number, batch = divmod(step, self.batches)
        units, turns = self._units_of(number)
        unit, turn = int(units[batch, position]), int(turns[batch, position])
        if self.series_of is not None:
            generator = numpy_generator(self.seed, "sampler", "series", number, unit, turn)
            unit = _pick(self.series_of.group(unit), self.series_weights, generator)
        return self._slice(unit, number, turn)

    def _slice(self, series: int, number: int, turn: int) -> int:
        """The row for one turn of a series in a pass: none comes twice before all have come."""
        rows = self.rows_of.group(series)
        if self.weights is not None:
            rows = rows[self.weights[rows] > 0]
        if len(rows) == 1:
            return int(rows[0])
        cycle, place = divmod(turn, len(rows))
        generator = numpy_generator(self.seed, "sampler", "slice", number, series, cycle)
        waits = generator.exponential(size=len(rows))
        if self.weights is not None:
            # The smallest of exponential waits over weights: drawing in proportion to these, without putting back
            # (Efraimidis and Spirakis 2006).
            waits = waits / self.weights[rows]
        return int(rows[np.argsort(waits)[place]])

    def _units_of(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Units and their turns in the batches of pass `number`: (batches, batch size) each. The last pass is kept."""
        if self._pass is None or self._pass[0] != number:
            generator = numpy_generator(self.seed, "sampler", "pass", number)
            order = generator.permutation(len(self.expected))
            counts = systematic_counts(self.expected[order], self.batches * self.batch_size, generator)
            units = np.repeat(order, counts)
            turns = np.arange(len(units)) - np.repeat(np.cumsum(counts) - counts, counts)
            self._pass = (number, *spread_over_batches(units, turns, self.batches, generator))
        return self._pass[1:]


def _pick(members: np.ndarray, weights: np.ndarray | None, generator: np.random.Generator) -> int:
    """One of the members, in proportion to its weight."""
    if weights is None:
        return int(members[generator.integers(len(members))])
    ends = np.cumsum(weights[members])
    return int(members[np.searchsorted(ends, generator.random() * ends[-1], side="right")])


def _checked(weights: np.ndarray | None, rows: int) -> np.ndarray | None:
    if weights is None:
        return None
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (rows,):
        raise ValueError(f"{rows} rows and weights of shape {weights.shape}")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise InputError("the weights must be numbers of zero and more, and one of them above zero")
    return weights
