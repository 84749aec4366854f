"""The metrics of a run as one CSV: one row a step, columns as they come, appended to when a run is resumed."""

import csv
import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from medino.core import InputError, RunFolder, existing_file, whole_file
from medino.ssl import steps_done

STEP = "step"
"""The column that every row has."""


class RunMetricsLogger(Logger):
    """Write what Lightning logs to `RUN/metrics.csv`.

    Lightning's own CSVLogger deletes the file of the run that it continues. This one appends: everything logged at one
    step is one row, a column that is new is added to the whole file, and `resume_at` drops what lies at or after the
    step that training goes on from, so that no step appears twice.

    Args:
        run: the run's folder.
        flush_every: rows that are kept in memory before they are written. A killed run loses at most these.
    """

    def __init__(self, run: str | Path | RunFolder, flush_every: int = 10) -> None:
        super().__init__()
        if flush_every < 1:
            raise InputError(f"flush_every is {flush_every}, at least 1 row is needed; set it to 1 or more")
        self._run = run if isinstance(run, RunFolder) else RunFolder(Path(run))
        self._flush_every = flush_every
        self._pending: dict[int, dict[str, str]] = {}
        self._columns: list[str] | None = None
        self._last_step = -1

    @property
    def name(self) -> str:
        """Empty: Lightning joins it to the folder, and the run's folder is the folder."""
        return ""

    @property
    def version(self) -> str:
        """Empty, as `name`."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder; Lightning puts `checkpoints/` into the first logger's."""
        return str(self._run.path)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the settings of a run are in its `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add `metrics` to the row of `step`; without a step, to the row of the latest one."""
        latest = max(self._pending, default=self._last_step)
        step = max(latest, 0) if step is None else step
        if step not in self._pending and len(self._pending) >= self._flush_every:
            self.save()
        row = self._pending.setdefault(step, {})
        row.update({name: _cell(value) for name, value in metrics.items()})

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Drop every row at or after `step`, the first one that will be trained (again); 0 starts anew.

        Raises:
            InputError: the file that is there is no `metrics.csv`.
        """
        self._pending = {key: row for key, row in self._pending.items() if key < step}
        if not self._run.metrics.is_file():
            return
        columns, rows = _read(self._run.metrics)
        kept = {key: row for key, row in rows.items() if key < step}
        if kept:
            self._write_whole(columns, kept)
        else:
            self._run.metrics.unlink()
            self._columns, self._last_step = None, -1

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that are in memory."""
        if not self._pending:
            return
        if self._columns is None and self._run.metrics.is_file():
            # Read even where rows are only appended: a killed run may have left half a line.
            self._write_whole(*_read(self._run.metrics))
        known = self._columns or []
        names = [*known, *dict.fromkeys(name for row in self._pending.values() for name in row if name not in known)]
        if self._columns is None or len(names) > len(known) or min(self._pending) <= self._last_step:
            rows = _read(self._run.metrics)[1] if self._columns is not None else {}
            for step, row in self._pending.items():
                rows[step] = rows.get(step, {}) | row
            self._write_whole(names, rows)
        else:
            with self._run.metrics.open("a", encoding="utf-8", newline="") as file:
                _write_rows(file, names, self._pending)
            self._last_step = max(self._pending)
        self._pending = {}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()

    def _write_whole(self, columns: list[str], rows: dict[int, dict[str, str]]) -> None:
        with whole_file(self._run.metrics) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([STEP, *columns])
            _write_rows(file, columns, rows)
        self._columns, self._last_step = columns, max(rows, default=-1)


class ContinueMetrics(pl.Callback):
    """Tell the run's `RunMetricsLogger` from which step training goes on; from step 0 the file starts anew."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called once the checkpoint's state is restored and before anything is logged."""
        for logger in trainer.loggers:
            if isinstance(logger, RunMetricsLogger):
                # Not the trainer's count of optimizer steps: rows of skipped steps count, too.
                logger.resume_at(steps_done(pl_module))


def read_metrics(path: str | Path) -> dict[str, np.ndarray]:
    """Read a `metrics.csv`.

    Returns:
        For each column, "step" among them, a float64 array with NaN where nothing was logged.

    Raises:
        InputError: the file is missing or is no `metrics.csv`.
    """
    columns, rows = _read(existing_file(path, "metrics"))
    try:
        table = {name: np.array([float(row.get(name, "nan")) for row in rows.values()]) for name in columns}
    except ValueError as error:
        raise InputError(
            f"{path} holds a value that is no number ({error}); give the file that medino wrote"
        ) from error
    return {STEP: np.array(list(rows), dtype=np.float64), **table}


def _cell(value: Any) -> str:
    number = float(value)
    return "nan" if math.isnan(number) else repr(number)


def _write_rows(file: Any, columns: list[str], rows: dict[int, dict[str, str]]) -> None:
    lines = [[str(step), *(rows[step].get(name, "") for name in columns)] for step in sorted(rows)]
    csv.writer(file, lineterminator="\n").writerows(lines)


def _read(path: Path) -> tuple[list[str], dict[int, dict[str, str]]]:
    """Columns and rows by step, without the line that a killed run may have left unfinished."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    if not lines or lines[0][:1] != [STEP]:
        raise InputError(f"{path} is not a metrics.csv (its first column is not {STEP!r}); move it away")
    columns = lines[0][1:]
    rows: dict[int, dict[str, str]] = {}
    for line in lines[1:]:
        if len(line) != len(columns) + 1 or not line[0].isdecimal():
            raise InputError(f"{path} has a row that does not fit its header (step {line[:1]}); move it away")
        rows[int(line[0])] = {name: cell for name, cell in zip(columns, line[1:], strict=True) if cell}
    return columns, rows
