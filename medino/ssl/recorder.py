"""What a pretraining run leaves besides checkpoints: rejected samples, skipped steps, the backbone, provenance."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_warn

from medino.core import RunFolder, whole_file, write_provenance
from medino.models import merge_lora, save_backbone
from medino.ssl.batch import PretrainingBatch
from medino.ssl.checkpointing import is_trial, steps_done
from medino.ssl.datamodule import PretrainingData
from medino.ssl.distributed import gather_objects
from medino.ssl.monitors import Watch
from medino.ssl.sharding import gathered

if TYPE_CHECKING:
    from medino.ssl.module import DINOv2

REJECT_COLUMNS = ("sample_id", "reason")
SKIPPED_COLUMNS = ("step", "reason", "sample_ids")


class RunRecorder(Callback):
    """Writes into the run folder (`trainer.default_root_dir`) what happened and, at the end, what came of it.

    Samples are named by their ids, never by path. A trial (`fast_dev_run`) leaves nothing.
    """

    def __init__(self) -> None:
        self.rejects: dict[str, str] = {}
        self.skipped: list[tuple[str, ...]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the lists of the run that is resumed; begin new ones otherwise."""
        run = RunFolder(Path(trainer.default_root_dir))
        steps = steps_done(pl_module)
        self.rejects, self.skipped = {}, []
        if steps > 0:
            self.rejects = dict(_read_rows(run.rejects))
            self.skipped = [row for row in _read_rows(run.skipped_steps) if int(row[0]) < steps]
        elif trainer.is_global_zero and not is_trial(trainer):
            for left_over in (run.rejects, run.skipped_steps):
                left_over.unlink(missing_ok=True)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: PretrainingBatch,
        batch_idx: int,
    ) -> None:
        """Note the batch's rejects, and the step if it was skipped."""
        run = RunFolder(Path(trainer.default_root_dir))
        writes = trainer.is_global_zero and not is_trial(trainer)
        data = _pretraining_data(trainer)
        new = {} if data is None else {data.sample_id(row): reason for row, reason in batch.rejects}
        new = {sample_id: reason for sample_id, reason in new.items() if sample_id not in self.rejects}
        if new:
            self.rejects |= new
            for sample_id, reason in new.items():
                rank_zero_warn(f"sample {sample_id} can't be decoded and is left out: {reason}")
            if writes:
                self._write_rejects(trainer)
        if reason := outputs.get("skipped"):
            self.skipped.append((str(batch.step), reason, " ".join(outputs["sample_ids"])))
            if writes:
                _write_rows(run.skipped_steps, SKIPPED_COLUMNS, self.skipped)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write down what other processes rejected: a run resumed from here does not meet it again."""
        known = len(self.rejects)
        self._gather_rejects()
        if trainer.is_global_zero and not is_trial(trainer) and len(self.rejects) > known:
            self._write_rejects(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the teacher's backbone and the provenance."""
        self._gather_rejects()
        if is_trial(trainer):
            return
        module = cast("DINOv2", pl_module)
        backbone = gathered(module.core.teacher.backbone)
        if backbone is None or not trainer.is_global_zero:
            return
        run = RunFolder(Path(trainer.default_root_dir))
        steps = steps_done(pl_module)
        data = _pretraining_data(trainer)
        facts = {"steps": steps, "skipped_steps": len(self.skipped), "objective": module.hparams["objective"]}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            facts |= callback.facts if isinstance(callback, Watch) else {}
        fingerprints = dict(module.start_fingerprints)
        patients: list[str] = []
        unit = "unknown"
        if data is not None:
            facts |= {"images_seen": steps * data.batch_size, "rejected_samples": len(self.rejects)}
            fingerprints["manifest"] = data.fingerprint
            if key := data.manifest.settings.get("key_id"):
                fingerprints["key"] = key
            patients, unit = data.patients, data.manifest.patient_unit
        save_backbone(merge_lora(backbone), run.backbone, facts)
        write_provenance(
            run,
            seed=module.hparams["seed"],
            fingerprints=fingerprints,
            pretraining_patients=patients,
            patient_unit=unit,
            notes=facts,
        )
        if self.rejects:
            self._write_rejects(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the rejects of a finished run in the manifest.

        Not before the last checkpoint is written: other rows would be other draws, and a resumed run another one.
        """
        data = _pretraining_data(trainer)
        writes = trainer.is_global_zero and not is_trial(trainer)
        if writes and data is not None and self.rejects and steps_done(pl_module) >= trainer.max_steps:
            data.record_rejects(self.rejects)

    def _gather_rejects(self) -> None:
        """Bring together what the processes rejected, each by itself."""
        self.rejects = {key: reason for part in gather_objects(self.rejects) for key, reason in part.items()}

    def _write_rejects(self, trainer: pl.Trainer) -> None:
        run = RunFolder(Path(trainer.default_root_dir))
        _write_rows(run.rejects, REJECT_COLUMNS, list(self.rejects.items()))


def _pretraining_data(trainer: pl.Trainer) -> PretrainingData | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, PretrainingData) else None


def _read_rows(path: Path) -> list[Any]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def _write_rows(path: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
