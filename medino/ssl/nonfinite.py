"""What happens to a step with NaN or infinity: its samples are named, and after too many in a row the run stops."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn

from medino.core import RunFolder, TrainingStoppedError
from medino.ssl.checkpointing import kept_in_words
from medino.ssl.distributed import gather_objects


def report_skipped_step(step: int, reason: str, sample_ids: Sequence[str]) -> list[str]:
    """Warn, once for all processes, that a step is skipped.

    Args:
        step: the training step.
        reason: what is not finite.
        sample_ids: of this process's part of the batch.

    Returns:
        The sample ids of all processes.
    """
    everyones = [sample_id for part in gather_objects(list(sample_ids)) for sample_id in part]
    rank_zero_warn(f"step {step} is skipped: {reason}; its samples: {', '.join(everyones)}")
    return everyones


def stop_after_skipped_steps(
    trainer: pl.Trainer, step: int, reason: str, in_a_row: int, most: int, way_out: str
) -> None:
    """Stop the run where as many steps in a row as may be were skipped.

    Args:
        trainer: whose run folder holds the checkpoints.
        step: the training step.
        reason: what is not finite.
        in_a_row: skipped steps up to this one.
        most: how many may be.
        way_out: what the user can do.

    Raises:
        TrainingStoppedError: there were as many.
    """
    if in_a_row < most:
        return
    kept = kept_in_words(RunFolder(Path(trainer.default_root_dir)))
    raise TrainingStoppedError(
        f"training stopped at step {step}: {reason}, {in_a_row} steps in a row; {kept}. {way_out}"
    )
