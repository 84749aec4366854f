"""`medino fit`, `validate`, `test` and `predict`: LightningCLI over any of medino's modules and datamodules."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from medino.cli.trainer import TRAINER_DEFAULTS, ConfigFile, quiet_lightning, run_loggers
from medino.core import InputError, RunFolder, existing_file

# Imported, they can be named in a configuration without their module: `model: DINOv2`.
from medino.segmentation import Segmentation, SegmentationData
from medino.ssl import DINOv2, PretrainingData, RunCheckpoint, latest_checkpoint
from medino.tracking import ContinueMetrics, StepProgress

MODELS = (DINOv2, Segmentation)
DATA = (PretrainingData, SegmentationData)
LAST = "last"
"""Stands for the latest checkpoint of the run's folder."""


class MedinoCLI(LightningCLI):
    """LightningCLI that writes medino's run folder: its loggers, checkpoints, `config.yaml` without private paths."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder and whether W&B may talk to its server."""
        parser.add_argument("-o", "--output", type=str, required=True, help="the run's folder; made if it is not there")
        parser.add_argument("--online", type=bool, default=False, help="send metrics to W&B's server (numbers only)")
        parser.link_arguments("output", "trainer.default_root_dir")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's verbs and the arguments that are not for the user: no checkpoint is ever unpickled."""
        return {verb: skipped | {"weights_only"} for verb, skipped in LightningCLI.subcommands().items()}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the words given, whatever those of the process are."""
        assert isinstance(args, list)
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Nothing: the settings come from the configuration, and a checkpoint holds no path to take up."""

    @property
    def run_folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(Path(self._get(self.config, "output")))

    @property
    def is_trial(self) -> bool:
        """Whether this is a trial (`fast_dev_run`), which writes nothing."""
        return bool(self._get(self.config, "trainer.fast_dev_run"))

    def before_instantiate_classes(self) -> None:
        """Find the checkpoint before anything is built or written."""
        self.checkpoint = self._find_checkpoint(self._get(self.config, "ckpt_path"))

    def _find_checkpoint(self, given: str | None) -> Path | None:
        if given not in (None, LAST):
            return existing_file(given, "checkpoint")
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

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Give the trainer the run folder's loggers, and a checkpoint where the model brings none."""
        kwargs["logger"] = False if self.is_trial else run_loggers(self.run_folder, self._get(self.config, "online"))
        callbacks = [StepProgress(), ContinueMetrics()]
        if not isinstance(self.model, DINOv2):
            callbacks.append(RunCheckpoint())
        self.trainer_defaults = {**self.trainer_defaults, "callbacks": callbacks}
        return super().instantiate_trainer(**kwargs)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        found = super()._prepare_subcommand_kwargs(subcommand)
        return {**found, "ckpt_path": self.checkpoint, "weights_only": True}


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
        trainer_defaults=TRAINER_DEFAULTS,
        auto_configure_optimizers=False,
        # It would store the settings as they were parsed, paths included, in each checkpoint.
        load_from_checkpoint_support=False,
        parser_kwargs={"prog": "medino"},
        args=[verb, *words],
    )
