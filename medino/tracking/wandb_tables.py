"""The numbers of a study as W&B tables: scores and paired differences, under the headings of the spreadsheet."""

from pathlib import Path

import pyarrow as pa

from medino.core import RunFolder
from medino.probes import HEADINGS, EvidenceRow, differences, summaries
from medino.tracking.wandb_run import wandb_logger


def log_evidence(run: RunFolder | str | Path, evidence: pa.Table, *, online: bool = False) -> None:
    """Log the summaries to `RUN/wandb` as a W&B run of its own; no outcome, no hash of a patient and no image.

    Args:
        run: the run's folder.
        evidence: its evidence.
        online: send to the W&B server; nothing leaves the folder otherwise.
    """
    tables = {"scores": summaries(evidence), "differences": differences(evidence)}
    logger = wandb_logger(run, online=online)
    experiment = logger.experiment
    import wandb

    for name, rows in tables.items():
        if rows:
            table = wandb.Table(columns=list(HEADINGS.values()), data=[_line(row) for row in rows])
            # Bound by hand: W&B would otherwise leave copies of the table in the user's home, for artifacts.
            table.bind_to_run(experiment, f"evidence/{name}", 0)
            experiment.log({f"evidence/{name}": table})
    logger.finalize("success")


def _line(row: EvidenceRow) -> list[object]:
    return [getattr(row, column) for column in HEADINGS]
