"""A callback that watches the teacher on a few fixed images, keeps its best state, and stops a run that collapsed."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from medino.core import InputError, RunFolder, numpy_generator
from medino.data import Manifest
from medino.features import EvaluationTransform
from medino.models import merge_lora, save_backbone
from medino.ssl.checkpointing import is_trial, steps_done
from medino.ssl.datamodule import PretrainingData
from medino.ssl.distributed import all_processes_agree
from medino.ssl.monitors.collapse import LEAST_INFORMATION, LEAST_USE, PATIENCE, RANK_SHARE, CollapseDetector
from medino.ssl.monitors.measures import linear_cka
from medino.ssl.monitors.probe import Probe
from medino.ssl.monitors.sample import WatchedImages
from medino.ssl.monitors.shown import class_tokens, measures_of
from medino.ssl.sharding import gathered

if TYPE_CHECKING:
    from medino.ssl.module import DINOv2

IMAGES = 128
"""Images of the fixed sample. RankMe's authors take 25 600 to compare runs (section 3.1); within one run the same few
show a fall as well, at the price of a quarter of a step."""

CHECKS = 100
"""Checks in a run, unless told otherwise: enough to see a fall, and to stop before much is lost."""

MOST_COST = 0.02
"""Share of the training's time that checks may take, unless told otherwise."""

STEP_PASSES = 12
"""Forward passes at full size that a step costs an image: the teacher's two, and the student's two global and eight
local crops (a fifth of the patches each) forward and, twice as dear, backward."""


class Watch(Callback):
    """Measures the teacher every some steps on a fixed sample of the training images, and on a labelled probe.

    Logged under `watch/`: RankMe, mean cosine between samples, prototypes in use, their entropies and what they tell of
    an image, agreement of student and teacher, linear CKA to the features at the start, and the balanced accuracy of
    the probe where there is one. The training is the same with and without it: none of its random numbers is drawn.

    The best state so far is kept as `backbone_best.safetensors`, by the probe, or by RankMe where there is none; the
    start itself is no candidate. A run that collapsed (see `CollapseDetector`) is ended as a finished one, and says so.

    Every process does the same; the first one writes.

    Args:
        probe: manifest of labelled images whose patients are in no training and no study. A few hundred images.
        study: manifests of studies to come, whose patients the probe must not know.
        every_n_steps: how often; None: at most 100 times a run, and at most 2 % of its time.
        images: of the fixed sample, drawn from the training images; 0.6 MB of memory each at 224 pixels.
        rank_share: the run has collapsed where RankMe is below this share of its highest value so far, ...
        least_information: or the prototypes tell less than this of an image, nats, ...
        least_use: or fewer prototypes than this share of those that could be are some image's first choice, ...
        patience: in this many checks in a row.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self,
        probe: str | None = None,
        study: list[str] | None = None,
        every_n_steps: int | None = None,
        images: int = IMAGES,
        rank_share: float = RANK_SHARE,
        least_information: float = LEAST_INFORMATION,
        least_use: float = LEAST_USE,
        patience: int = PATIENCE,
    ) -> None:
        if images < 2 or (every_n_steps is not None and every_n_steps < 1):
            raise InputError(f"every_n_steps is {every_n_steps} and images {images}; give 1 or more, and 2 or more")
        self.probe_path, self.study_paths = probe, study or []
        self.every_n_steps = every_n_steps
        self.images = images
        self.detector = CollapseDetector(rank_share, least_information, least_use, patience)
        self.probe: Probe | None = None
        self.start_features: torch.Tensor | None = None
        self.start_images: list[str] = []
        self.start_score: float | None = None
        self.best: dict[str, Any] | None = None
        self.stopped: str | None = None
        self._last_check = -1
        self._sample: WatchedImages | None = None
        self._images: list[str] = []
        self._probed: WatchedImages | None = None

    @property
    def criterion(self) -> str:
        """What the best state is chosen by, as JSON has it."""
        return "probe_balanced_accuracy" if self.probe_path is not None else "rankme"

    # Lightning's hooks

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the probe before anything starts.

        Raises:
            InputError: it can't be used, or shares patients with the training or a study.
        """
        data = _data(trainer)
        if stage != "fit" or self.probe_path is None or data is None:
            return
        others = {"the pretraining": data.manifest}
        others |= {f"the study {place}": Manifest.read(path) for place, path in enumerate(self.study_paths, start=1)}
        self.probe = Probe.of(Manifest.read(self.probe_path), others)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the images; in a new run, measure what it starts from."""
        data = _data(trainer)
        self._sample, self._last_check, self.stopped = None, -1, None
        if data is None or is_trial(trainer):
            return
        module = cast("DINOv2", pl_module)
        transform = EvaluationTransform.for_backbone(module.backbone_config, intensity=data.intensity)
        drawn = self._draw(data, module)
        self._sample = WatchedImages.load(drawn, transform, "watching the run")
        self._images = drawn.select(self._sample.rows).column("sample_id").tolist()
        if self.probe is not None:
            self._probed = WatchedImages.load(self.probe.manifest, transform, "the probe")
            self.probe = self.probe.of_rows(self._probed.rows)
        if self.every_n_steps is None:
            shown = len(self._sample.rows) * 2 + (0 if self._probed is None else len(self._probed.rows))
            self.every_n_steps = default_interval(trainer.max_steps, data.batch_size, shown)
        if steps_done(module) == 0 or self.start_features is None:
            self._begin()
            if trainer.is_global_zero:
                _remove_best(RunFolder(Path(trainer.default_root_dir)))
            self._check(trainer, module, steps_done(module))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check where it is time."""
        steps = steps_done(pl_module)
        if self._sample is not None and self.every_n_steps and steps % self.every_n_steps == 0:
            self._check(trainer, cast("DINOv2", pl_module), steps)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the last state, and say why the run ended if it collapsed, and which state was best."""
        steps = steps_done(pl_module)
        if self._sample is None or steps == 0:
            return
        if steps != self._last_check:
            self._check(trainer, cast("DINOv2", pl_module), steps)
        if self.stopped is not None:
            rank_zero_warn(f"{self.stopped}; {self._best_in_words()}")
        else:
            rank_zero_info(self._best_in_words())

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the start's features, the best so far, the detector's counters."""
        return {
            "start_features": self.start_features,
            "start_images": self.start_images,
            "start_score": self.start_score,
            "best": self.best,
            "every_n_steps": self.every_n_steps,
            "detector": self.detector.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run was."""
        self.start_features, self.start_images = state_dict["start_features"], state_dict["start_images"]
        self.start_score = state_dict["start_score"]
        self.best = state_dict["best"]
        # Unless told otherwise now: a longer run goes on as often as it began.
        self.every_n_steps = self.every_n_steps or state_dict["every_n_steps"]
        self.detector.load_state_dict(state_dict["detector"])

    @property
    def facts(self) -> dict[str, Any]:
        """What the run's provenance says of it, JSON-plain."""
        facts: dict[str, Any] = {}
        if self.best is not None:
            facts["best_backbone"] = self.best
        if self.stopped is not None:
            facts["stopped"] = self.stopped
        if self.probe is not None:
            facts["probe_patients"] = self.probe.patients
        return facts

    # A check

    def _check(self, trainer: pl.Trainer, module: "DINOv2", steps: int) -> None:
        """Measure, log, keep the best, decide whether to go on."""
        self._last_check = steps
        is_start = self.start_features is None
        values = self._measure(module, steps)
        for logger in trainer.loggers:
            # Past Lightning's own logging, which keeps every tenth step alone.
            logger.log_metrics({f"watch/{name}": value for name, value in values.items()}, max(steps - 1, 0))
        score = values[self.criterion]
        if is_start:
            self.start_score = score
        # Rounding on different machines must not let one process go on alone, here and below.
        elif all_processes_agree(
            math.isfinite(score) and (self.best is None or score > self.best["value"]), module.device
        ):
            self.best = {"step": steps, "criterion": self.criterion, "value": score, "at_start": self.start_score}
            backbone = gathered(module.core.teacher.backbone)
            if backbone is not None and trainer.is_global_zero:
                path = RunFolder(Path(trainer.default_root_dir)).best_backbone
                save_backbone(merge_lora(backbone), path, self.best)
        possible = min(len(self._sample.rows) if self._sample else 0, module.hparams["prototypes"])
        reason = self.detector.update(
            values["rankme"],
            values["prototype_information"],
            values["prototypes_used"] / max(possible, 1),
            steps / max(trainer.max_steps, 1),
        )
        if not all_processes_agree(reason is None, module.device):
            self.stopped = f"stopped at step {steps}: {reason}, in {self.detector.patience} checks in a row"
            trainer.should_stop = True

    def _measure(self, module: "DINOv2", steps: int) -> dict[str, float]:
        """All measures of the teacher after `steps` steps."""
        assert self._sample is not None
        assert module.schedules is not None
        temperature = module.schedules.at(steps).teacher_temperature
        measured, teacher = measures_of(module.core, self._sample.pixels, module.device, temperature)
        if self.start_features is None:
            self.start_features, self.start_images = teacher.cpu(), self._images
        # Of a run that goes on with another manifest, nobody has the start's features of these images.
        is_known = self.start_images == self._images
        measured["cka_to_start"] = (
            linear_cka(self.start_features.to(teacher), teacher) if is_known else torch.tensor(math.nan)
        )
        if self.probe is not None and self._probed is not None:
            features = class_tokens(module.core.teacher, self._probed.pixels, module.device)
            measured["probe_balanced_accuracy"] = torch.tensor(self.probe.score(features.cpu().numpy()))
        return {name: float(value) for name, value in measured.items()}

    def _draw(self, data: PretrainingData, module: "DINOv2") -> Manifest:
        """The images of the fixed sample: the same for one seed and manifest."""
        generator = numpy_generator(module.hparams["seed"], "watched images")
        rows = generator.permutation(len(data.manifest))[: self.images]
        return data.manifest.select(sorted(rows.tolist()))

    def _begin(self) -> None:
        """Forget what an earlier run of the same object has seen."""
        self.start_features, self.start_score, self.best = None, None, None
        old = self.detector
        self.detector = CollapseDetector(old.rank_share, old.least_information, old.least_use, old.patience)

    def _best_in_words(self) -> str:
        if self.best is None:
            return "no state was kept as the best one, as no measure was finite"
        name = {"rankme": "RankMe", "probe_balanced_accuracy": "the probe's balanced accuracy"}[self.criterion]
        text = (
            f"the best backbone is that of step {self.best['step']} by {name} ({self.best['value']:.3g}; at the start "
            f"{self.best['at_start']:.3g}), kept as backbone_best.safetensors"
        )
        if self.criterion != "rankme" and self.best["value"] <= self.best["at_start"]:
            text += "; by the probe none is better than the backbone that the run started from"
        return text


def default_interval(total_steps: int, batch_size: int, passes: int) -> int:
    """Steps from check to check: at most 100 checks a run, which take at most 2 % of its time.

    Args:
        total_steps: of the run.
        batch_size: images of a step.
        passes: images that a check shows to a network.
    """
    check_in_steps = passes / (batch_size * STEP_PASSES)
    return max(1, math.ceil(total_steps / CHECKS), math.ceil(check_in_steps / MOST_COST))


def _data(trainer: pl.Trainer) -> PretrainingData | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, PretrainingData) else None


def _remove_best(run: RunFolder) -> None:
    for path in (run.best_backbone, run.best_backbone.with_suffix(".json")):
        path.unlink(missing_ok=True)
