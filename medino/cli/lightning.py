"""`medino fit`, `validate`, `test` and `predict`: LightningCLI over any of medino's modules and datamodules."""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from medino.cli.messages import OneLineErrors, one_line, said_by_medino
from medino.cli.segmentation_results import keep_test_results
from medino.cli.trainer import TRAINER_DEFAULTS, ConfigFile, add_checkpoints, quiet_lightning, run_loggers
from medino.cli.trainer_checks import check_trainer, ended_early
from medino.core import InputError, InterruptedRunError, RunFolder, TrainingStoppedError, existing_file
from medino.core.files import DISK_FULL
from medino.segmentation import DenseData, DenseRegression, MaskedImages, Segmentation, SegmentationData
from medino.ssl import DINOv2, PretrainingData, latest_checkpoint
from medino.ssl.checkpointing import kept_in_words
from medino.tracking import ContinueMetrics, StepProgress

MODELS = (DINOv2, Segmentation, DenseRegression)
DATA = (PretrainingData, SegmentationData, DenseData)
"""Imported, they can be named on the command line without their module: `--model DINOv2`."""

LAST = "last"
"""Stands for the latest checkpoint in the run's folder."""

DESCRIPTIONS = {
    "fit": "Train. Pretraining is --model DINOv2 --data PretrainingData, segmentation --model Segmentation --data "
    "SegmentationData, maps of values --model DenseRegression --data DenseData; the files in experiments/ are settings "
    "to start from, and `medino fit --model.help DINOv2` "
    "(or --data.help PretrainingData, ...) explains each. A run that stopped goes on with --ckpt_path last.",
    "validate": "Evaluate a run's checkpoint on the validation patients, with the settings that it was trained with.",
    "test": "Evaluate a run's checkpoint on the test patients, with the settings that it was trained with; the results "
    "of a segmentation or a regression of maps are added to the run's evidence.",
    "predict": "Predict with a run's checkpoint, with the settings that it was trained with; a segmentation writes a "
    "mask for each image of the manifest to the run's folder masks, a regression of maps a map to the folder maps.",
}
"""What `medino VERB --help` says first."""

CHECKPOINT_HELP = {
    "fit": "checkpoint to go on from; 'last': the latest one in the run's folder, or from the start where it has none",
    "validate": "checkpoint to evaluate; if not given, the latest one in the run's folder",
    "test": "checkpoint to evaluate; if not given, the latest one in the run's folder",
    "predict": "checkpoint to predict with; if not given, the latest one in the run's folder",
}


class Parser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser with medino's errors."""


class MedinoCLI(LightningCLI):
    """LightningCLI that writes medino's run folder: its loggers, checkpoints, `config.yaml` without private paths."""

    checkpoint: Path | None = None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's verbs, and which of their arguments are not taken from the user as they are."""
        return {verb: skipped | {"ckpt_path", "weights_only"} for verb, skipped in LightningCLI.subcommands().items()}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=CHECKPOINT_HELP[subcommand])
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder and whether W&B may talk to its server."""
        parser.add_argument("-o", "--output", type=str | None, help="the run's folder; made if it is not there")
        parser.add_argument("--online", type=bool, default=False, help="send metrics to W&B's server (numbers only)")
        parser.link_arguments("output", "trainer.default_root_dir")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the words given, whatever those of the process are."""
        assert isinstance(args, list)
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Nothing: the settings come from the configuration alone; a checkpoint holds no paths to complete them."""

    @property
    def run_folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(Path(self._get(self.config, "output")))

    @property
    def is_trial(self) -> bool:
        """Whether this is a trial (`fast_dev_run`), which writes nothing."""
        return bool(self._get(self.config, "trainer.fast_dev_run"))

    def before_instantiate_classes(self) -> None:
        """Check what can be checked before anything is built or written.

        Raises:
            InputError: run folder, model or checkpoint are missing, or the folder holds another run.
        """
        for key, way_out in (("output", "-o RUN"), ("model", "--config FILE"), ("data", "--config FILE")):
            if self._get(self.config, key) is None:
                raise InputError(f"no {key} is given; add {way_out}")
        self.checkpoint = self._find_checkpoint(self._get(self.config, "ckpt_path"))

    def _find_checkpoint(self, given: str | None) -> Path | None:
        if given is not None and given != LAST:
            return readable_checkpoint(given)
        run, latest = self.run_folder, latest_checkpoint(self.run_folder)
        if self.subcommand == "fit":
            if given is None and latest is not None and not self.is_trial:
                raise InputError(
                    f"{run.path} already holds {latest.name} of an earlier run; go on with it by "
                    f"--ckpt_path {LAST}, or choose another folder"
                )
            return latest if given == LAST else None
        if latest is None and (given == LAST or not self.is_trial):
            raise InputError(f"{run.path} holds no checkpoint; train with `medino fit` first, or give --ckpt_path FILE")
        return latest

    def instantiate_classes(self) -> None:
        """Build model, data and trainer.

        Raises:
            MedinoError: as a constructor says it, without jsonargparse's report around it.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise said_by_medino(error) or error from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Give the trainer the run folder's loggers, and a checkpoint where the model brings none.

        Raises:
            InputError: there is no such accelerator, its settings contradict each other, or the model has its own.
        """
        if self._get(self.config, "trainer.logger") is None:
            online = self._get(self.config, "online")
            kwargs["logger"] = False if self.is_trial else run_loggers(self.run_folder, online)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
            raise InputError(f"{one_line(str(error)).rstrip('.!')}; change the trainer's settings") from error
        check_trainer(trainer, self.model)
        if not isinstance(self.model, DINOv2):
            add_checkpoints(trainer)
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        # weights_only: no checkpoint is ever unpickled.
        given = super()._prepare_subcommand_kwargs(subcommand)
        return {**given, "ckpt_path": self.checkpoint, "weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        folder_is_new = not self.run_folder.path.exists()
        try:
            self._run_in_words(subcommand)
        except InputError:
            if folder_is_new:
                discard_unless_begun(self.run_folder)
            raise

    def _run_in_words(self, subcommand: str) -> None:
        if subcommand != "fit" and self.checkpoint is not None:
            self._log_at_last_step(self.checkpoint)
        if subcommand == "fit" and self._is_finished:
            print(
                f"the run in {self.run_folder.path} is finished: its {self.trainer.max_steps} steps are done, nothing "
                "is left to do (to train on, raise trainer.max_steps)"
            )
            return
        try:
            super()._run_subcommand(subcommand)
        except InterruptedRunError as stopped:
            if not self.trainer.is_global_zero:
                raise SystemExit(0) from stopped  # the first process says it, and gives the status
            if subcommand != "fit" or latest_checkpoint(self.run_folder) is None:
                raise
            words = f"{stopped}; to go on, give the same command with --ckpt_path {LAST}"
            raise InterruptedRunError(words, stopped.number) from stopped
        except (InputError, OSError) as error:
            full = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(full, OSError) or full.errno not in DISK_FULL:
                raise
            raise TrainingStoppedError(
                f"the run can't write to {self.run_folder.path} ({full.strerror}); {kept_in_words(self.run_folder)}; "
                f"free some space, then give the same command with --ckpt_path {LAST}"
            ) from error
        except RuntimeError as error:
            if "Error(s) in loading state_dict" not in str(error):
                raise
            first = str(error).splitlines()[1].strip()
            raise InputError(
                f"the checkpoint {self.checkpoint} does not fit the model: {first} "
                "Give the settings that it was trained with"
            ) from None

    @property
    def _is_finished(self) -> bool:
        """Whether all steps are done; the checkpoint of the last one is written when all else is."""
        if self.checkpoint is None or self.is_trial:
            return False
        content = read_checkpoint(self.checkpoint)
        done = content.get("medino", {}).get("next_step", content["global_step"])
        return 0 < self.trainer.max_steps <= int(done)

    def _log_at_last_step(self, checkpoint: Path) -> None:
        """Log an evaluation to the row of the last step that was trained; Lightning would count from 0."""
        state = read_checkpoint(checkpoint)["loops"]["fit_loop"]
        state["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
        self.trainer.fit_loop.load_state_dict(state)

    def after_fit(self) -> None:
        """Say so where the run ended before its last step and nothing else has said why."""
        early = None if self.is_trial or not self.trainer.is_global_zero else ended_early(self.trainer, self.model)
        if early is not None:
            print(f"{early}; to go on, lift it and give the same command with --ckpt_path {LAST}", file=sys.stderr)

    def after_test(self) -> None:
        """Keep the results of a segmentation or a regression of maps."""
        model, data = self.model, self.datamodule
        writes = self.trainer.is_global_zero and not self.is_trial
        if writes and isinstance(model, Segmentation | DenseRegression) and isinstance(data, MaskedImages):
            keep_test_results(self.run_folder, model, data, self._get(self.config, "model.init_args.weights"))


def readable_checkpoint(path: str) -> Path:
    """A checkpoint file.

    Raises:
        InputError: it is missing, or no checkpoint.
    """
    found = existing_file(path, "checkpoint")
    read_checkpoint(found)
    return found


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; its tensors stay on the disk until they are used.

    Raises:
        InputError: it is no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # A file that is something else makes the reader fail in any of a dozen ways.
        content = None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path} is not a checkpoint of a medino run; give a file from a run's folder checkpoints/")
    return content


def discard_unless_begun(run: RunFolder) -> None:
    """Remove the folder of a run that was refused in its first checks, when loggers had already begun to write."""
    if not run.checkpoints.exists() and not run.metrics.exists():
        shutil.rmtree(run.path, ignore_errors=True)


def run(verb: str, words: list[str]) -> None:
    """Run one of Lightning's four verbs.

    Args:
        verb: fit, validate, test or predict.
        words: the arguments after it.
    """
    quiet_lightning()
    MedinoCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=ConfigFile,
        save_config_kwargs={"save_to_log_dir": False},
        seed_everything_default=0,
        trainer_defaults={**TRAINER_DEFAULTS, "callbacks": [StepProgress(), ContinueMetrics()]},
        auto_configure_optimizers=False,
        # It would store the settings as they were parsed, paths included, in each checkpoint.
        load_from_checkpoint_support=False,
        parser_class=Parser,
        parser_kwargs={"prog": "medino"} | {name: {"description": text} for name, text in DESCRIPTIONS.items()},
        args=[verb, *words],
    )
