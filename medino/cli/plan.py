"""`medino plan`: what a pretraining will take, before it runs. A few real steps are measured, and nothing is left."""

import tempfile
from typing import Any

import yaml
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from rich.console import Console
from rich.table import Column, Table

from medino.cli.lightning import MedinoCLI, Parser
from medino.cli.measuring import STEPS, measure
from medino.cli.planning import Rows, compared, data_rows, departures, disk_rows, model_rows, plain_value, time_rows
from medino.cli.trainer import TRAINER_DEFAULTS, quiet_lightning
from medino.core import InputError
from medino.ssl import DINOv2, PretrainingData, Setting

DESCRIPTION = (
    "Say what a pretraining will take, before it runs. Reads the YAML and options of `medino fit`; a few steps are "
    "taken, measured and forgotten, and nothing is written. Where other settings suit the number of images, the batch "
    "and the steps, they are printed with the reason, and as YAML that can be given by a second --config."
)


class PlanTrainer(Trainer):
    """Lightning's trainer with one more verb, so that its arguments are read as those of the others."""

    def plan(self, model: LightningModule, datamodule: LightningDataModule) -> None:
        """Nothing: `PlanCLI` plans."""


class PlanCLI(MedinoCLI):
    """Reads what `medino fit` reads, and plans instead of training."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The one verb."""
        return {"plan": {"model", "datamodule"}}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = LightningCLI._prepare_subcommand_parser(self, klass, subcommand, **kwargs)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="read as `medino fit` does; not used")
        return parser

    def before_instantiate_classes(self) -> None:
        """See how many steps are planned.

        Raises:
            InputError: their number is not set.
        """
        self.steps = int(self._get(self.config, "trainer.max_steps"))
        if self.steps < 1:
            raise InputError("the number of training steps is not set; set trainer.max_steps")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer for a few steps of one process, that leaves nothing."""
        alone = {"devices": 1, "num_nodes": 1, "strategy": "auto", "logger": False, "fast_dev_run": STEPS}
        with tempfile.TemporaryDirectory() as nowhere:
            return super().instantiate_trainer(**kwargs, **alone, default_root_dir=nowhere)

    @property
    def is_trial(self) -> bool:
        """It is: nothing is written."""
        return True

    @property
    def processes(self) -> int:
        """The processes that the run will divide a batch between, as far as the settings say."""
        devices, nodes = (self._get(self.config, f"trainer.{name}") for name in ("devices", "num_nodes"))
        if isinstance(devices, str):
            devices = int(devices) if devices.isdecimal() else len(devices.split(",")) if "," in devices else 1
        return int(nodes or 1) * max(len(devices) if isinstance(devices, list) else int(devices or 1), 1)

    def _run_subcommand(self, subcommand: str) -> None:
        model, data = self.model, self.datamodule
        if not isinstance(model, DINOv2) or not isinstance(data, PretrainingData):
            raise InputError(
                "plan is for pretraining (DINOv2 with PretrainingData); a segmentation is short enough to try"
            )
        if len(data.manifest) < 2:
            raise InputError(
                f"the manifest has {len(data.manifest)} training image: there is nothing to tell apart; scan a folder "
                "with more, better some hundred"
            )
        weights, heads = (self._get(self.config, f"model.init_args.{name}") for name in ("weights", "heads"))
        pairs, rate = compared(model, data, self.steps, weights is not None, heads is None)
        disk = disk_rows(model)
        pace = measure(model, data, self.trainer, self.steps, self.processes)
        console = Console(highlight=False)
        rows = [
            *data_rows(data, self.steps),
            *model_rows(model, pace),
            *time_rows(pace, self.steps, data.batch_size),
            *disk,
        ]
        show_plan(console, rows, self.processes)
        if model.is_dino_v1:
            console.print("There is no advice for DINO v1's objective: nothing was measured with it on small data.")
            return
        show_settings(console, pairs, rate)


def show_plan(console: Console, rows: Rows, processes: int) -> None:
    """Print what the run takes."""
    table = Table("what", "how much", "of which", title="plan", title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if processes > 1:
        console.print(f"Measured as one of {processes} processes, without what they tell each other.")


def show_settings(console: Console, pairs: list[tuple[Setting, Any]], rate: Setting) -> None:
    """Print the settings that suit the run beside those given, and as YAML where they differ."""
    table = Table(Column("setting", no_wrap=True), "given", "suits", "why", title="settings for small data")
    table.title_justify = "left"
    for setting, given in pairs:
        suits = "" if given == setting.value else plain_value(setting.value)
        table.add_row(setting.name, plain_value(given), suits, setting.why)
    table.add_row(rate.name, str(rate.value), "", rate.why)
    console.print(table)
    advised = departures(pairs)
    if not advised:
        console.print("All of these settings suit the run.")
        return
    console.print("What suits the run and is not given, to be saved and added by a second --config:\n")
    print(yaml.safe_dump(advised, sort_keys=False))


def run(verb: str, words: list[str]) -> None:
    """Plan.

    Args:
        verb: "plan".
        words: the arguments after it.
    """
    quiet_lightning()
    PlanCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        trainer_class=PlanTrainer,
        save_config_callback=None,
        seed_everything_default=0,
        trainer_defaults=TRAINER_DEFAULTS,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        parser_class=Parser,
        parser_kwargs={"prog": "medino", "plan": {"description": DESCRIPTION}},
        args=[verb, *words],
    )
