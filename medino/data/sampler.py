"""Which rows make up each training step: the same for any number of workers and processes, resumable at any step."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from torch.utils.data import Sampler

from medino.core import InputError, numpy_generator


class SampleAddress(NamedTuple):
    """One place in a run's stream of samples, and the row that fills it.

    With the run's seed, `step` and `position` are the address of every random draw for this sample.
    """

    step: int
    position: int
    row: int


class StepBatchSampler(Sampler[list[SampleAddress]]):
    """Yields, for each optimiser step, this process's part of the global batch.

    The rows (or patients) are passed through in a fresh random order each time; a batch that reaches the end of one
    pass goes on into the next. Place `position` of step `step` depends on the seed alone, and rank r takes a contiguous
    part of the positions, so that any number of processes see together what one would.

    Args:
        patients: the patient of each row of the manifest (its column `patient`); also says how many rows there are.
        batch_size: samples of one step over all processes.
        total_steps: steps of the whole run.
        seed: the run's seed.
        uniform_over: "rows": each row once a pass. "patients": each patient once a pass, by one row drawn at random, so
            that a patient with a thousand slices counts as much as one with ten.
        rank: this process.
        world_size: number of processes; must divide `batch_size`.
        start_step: the first step to yield, when a run is resumed.

    Raises:
        InputError: no rows, or a batch that can't be divided among the processes.
    """

    def __init__(
        self,
        patients: Sequence[str] | np.ndarray,
        batch_size: int,
        total_steps: int,
        seed: int,
        uniform_over: Literal["rows", "patients"] = "rows",
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        if len(patients) == 0:
            raise InputError("there are no images to train on; check the manifest and its splits")
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} can't be divided among {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        if uniform_over not in ("rows", "patients"):
            raise InputError(f"uniform_over is {uniform_over!r}; it can be 'rows' or 'patients'")
        self.batch_size = batch_size
        self.total_steps = total_steps
        self.seed = seed
        self.uniform_over = uniform_over
        self.rank = rank
        self.world_size = world_size
        self.start_step = start_step
        self._groups = _rows_by_patient(patients) if uniform_over == "patients" else None
        self._pass_length = len(self._groups) if self._groups is not None else len(patients)
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Steps of the whole run, wherever it starts: Lightning counts the steps done before a resume as well."""
        return self.total_steps

    def __iter__(self) -> Iterator[list[SampleAddress]]:
        share = self.batch_size // self.world_size
        positions = range(self.rank * share, (self.rank + 1) * share)
        for step in range(self.start_step, self.total_steps):
            yield [SampleAddress(step, position, self._row(step, position)) for position in positions]

    def _row(self, step: int, position: int) -> int:
        number, place = divmod(step * self.batch_size + position, self._pass_length)
        drawn = int(self._order(number)[place])
        if self._groups is None:
            return drawn
        rows = self._groups[drawn]
        return int(rows[numpy_generator(self.seed, "sampler", "row", step, position).integers(len(rows))])

    def _order(self, number: int) -> np.ndarray:
        """The order of pass `number`; the last two are kept, for batches that reach from one into the next."""
        if number not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key == number - 1}
            self._orders[number] = numpy_generator(self.seed, "sampler", number).permutation(self._pass_length)
        return self._orders[number]


def _rows_by_patient(patients: Sequence[str] | np.ndarray) -> list[np.ndarray]:
    """The rows of each patient, patients by first appearance: their hashes' order changes with the key."""
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    return [np.asarray(group) for group in rows.values()]
