"""What `adapt` is asked to do, and how it settles what it was not told: every choice has a reason that is printed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from medino.core import InputError
from medino.data import Manifest
from medino.models import PRESETS, BackboneConfig, Interpolation, VisionTransformer, build_backbone, load_backbone
from medino.ssl import Precision, Probe, Setting, peak_learning_rate, recommended_steps, small_data_settings
from medino.ssl.starting_heads import check_width, starting_heads

Kind = Literal["natural", "radiology", "histology"]

LARGEST_CROP = 224
"""Side of the recipe's global crops, pixels."""

LOCAL_SIDE = 0.4375
"""Side of the local crops over that of the global ones, as the long recipe's 98 / 224."""

SHOTS = (5, 20)
"""Labelled units a class, where the cohort has them: a first look, and what a small study can label."""


@dataclass(frozen=True)
class Plan:
    """How to adapt and how to measure.

    Args:
        weights: backbone to start from: a name that `medino weights list` shows, a file in the layout of medino, Meta,
            Hugging Face or timm, a folder of Hugging Face's, or a run's folder; without one, training starts from
            scratch.
        heads: projection heads to start from, where some were published: a name, a file (RAD-DINO's, a full checkpoint
            of DINO) or a run's folder.
        interpolation: whose way to resize the position embedding of the weights: meta, hf or timm; the family's own if
            not given.
        backbone: preset to train from scratch: mini, tiny, small, base, large, giant2.
        probe: manifest of labelled images of other patients, scanned with the same `--key`, by which the best state of
            the training is chosen; without one, the last state is what is measured.
        views: kind of image, which says how crops are augmented.
        steps: training steps.
        batch_size: images of a training step.
        shots: labelled units a class in the few-shot study, each from another patient, such as [5,20].
        episodes: support sets drawn for each number of shots.
        unit: what the few-shot study classifies.
        baselines: what stands beside the two backbones in the few-shot study: thumbnail (12 x 12 pixels and
            histograms), random (the same network, untrained) and cnn (a small network trained on the shots alone).
        segmentation_steps: training steps of the segmentation head.
        overlays: how many images to keep as figures, with their PCA maps or masks, and to show in the report; these are
            patients' images.
        precision: what the pretraining and the segmentation heads are computed in: bf16-mixed (products in bfloat16,
            weights and losses in float32) or 32-true; None: bf16-mixed on a GPU that computes in bfloat16, else
            32-true. Features are always computed in float32.
        num_workers: processes that read and augment.
        online: send metrics (numbers only) to W&B's server.
        seed: of everything random.
    """

    weights: str | None = None
    heads: str | None = None
    interpolation: Interpolation | None = None
    backbone: str | None = None
    probe: str | None = None
    views: Kind | None = None
    steps: int | None = None
    batch_size: int | None = None
    shots: list[int] | None = None
    episodes: int = 50
    unit: Literal["image", "series", "study", "patient"] = "image"
    baselines: list[Literal["thumbnail", "random", "cnn"]] = field(
        default_factory=lambda: ["thumbnail", "random", "cnn"]
    )
    segmentation_steps: int = 300
    overlays: int = 0
    precision: Precision | None = None
    num_workers: int = 1
    online: bool = False
    seed: int = 0


class Settled:
    """The settings of a run, each given by the user or chosen with a reason."""

    def __init__(self) -> None:
        self.choices: list[Setting] = []

    def settle(self, name: str, given: Any, choose: Callable[[], tuple[Any, str]]) -> Any:
        """Take what was given, or else choose; remember which."""
        value, reason = (given, "as asked") if given is not None else choose()
        self.choices.append(Setting(name, value, reason))
        return value

    @property
    def plain(self) -> dict[str, Any]:
        """Values and reasons as the run's `config.yaml` keeps them."""
        return {each.name: {"value": each.value, "reason": each.reason} for each in self.choices}


def settle_start(settled: Settled, plan: Plan) -> tuple[BackboneConfig, VisionTransformer | None]:
    """What the backbone to start from is like, and itself where weights were given.

    Args:
        settled: where choices are noted.
        plan: what the user asked for.

    Raises:
        InputError: the weights can't be read, or there is no such preset.
    """
    if plan.weights is not None:
        backbone = load_backbone(plan.weights, plan.interpolation)
        settled.settle("start", None, lambda: (backbone.config.name, "weights were given"))
        if not backbone.config.mask_token:
            reason = "the weights have none, and masked patches need one: it is learnt from zeros"
            settled.settle("mask_token", None, lambda: ("zeros", reason))
            backbone = load_backbone(plan.weights, plan.interpolation, mask_token=True)
        if plan.heads is not None:
            check_width(starting_heads(plan.heads), backbone.config.embed_dim)
        return backbone.config, backbone
    for name, value in (("heads", plan.heads), ("interpolation", plan.interpolation)):
        if value is not None:
            raise InputError(f"{name} was given without weights to go with it; add --weights, or leave {name} out")
    choice = ("small", "there is a GPU") if torch.cuda.is_available() else ("mini", "no GPU: what two cores can train")
    preset = settled.settle("backbone", plan.backbone, lambda: choice)
    if preset not in PRESETS:
        raise InputError(f"there is no backbone preset {preset!r}; use one of {', '.join(PRESETS)}")
    return PRESETS[preset], None


def settle_training(
    settled: Settled,
    plan: Plan,
    start: VisionTransformer | None,
    config: BackboneConfig,
    data: dict[str, Any],
    images: int,
    steps: int,
) -> tuple[VisionTransformer, dict[str, Any]]:
    """The backbone to start from, and the arguments of `DINOv2` that suit the run.

    Args:
        settled: where choices are noted, each with its reason.
        plan: what the user asked for.
        start: the backbone of the weights that were given; None: from scratch.
        config: what the backbone is like.
        data: the arguments of `PretrainingData`.
        images: that are trained on.
        steps: training steps.

    Raises:
        InputError: there is too little to train on.
    """
    settings = small_data_settings(
        images,
        data["batch_size"],
        steps,
        from_weights=start is not None,
        embed_dim=config.embed_dim,
        new_heads=plan.heads is None,
    )
    if plan.heads is not None:
        settled.settle("heads", None, lambda: ("published", "heads were given: their widths are those of their file"))
    settled.choices += settings
    module = {setting.name: setting.value for setting in settings}
    if plan.heads is not None:
        module["heads"] = plan.heads
    settled.choices.append(peak_learning_rate(module["base_lr"], module["lr_scaling"], data["batch_size"]))
    # What the backbone is, its own file says from here on.
    changes = module.pop("backbone_settings", {})
    return start or build_backbone(config.replace(**changes), seed=plan.seed), module


def settle_probe(settled: Settled, plan: Plan, cohort: Manifest) -> None:
    """Which state of the training is measured.

    Args:
        settled: where the choice is noted.
        plan: what the user asked for.
        cohort: the images that are trained on and studied, whose patients the probe must not know.

    Raises:
        InputError: the probe can't be used.
    """
    if plan.probe is None:
        reason = "no probe was given to choose another (--probe); after a collapse, the best one by RankMe"
        settled.choices.append(Setting("measured state", "last", reason))
        return
    probe = Probe.of(Manifest.read(plan.probe), {"the cohort": cohort})
    reason = f"chosen by the k-NN probe on {len(probe.patients)} patients outside of training and study"
    settled.choices.append(Setting("measured state", "best", reason))


def settle_data(
    settled: Settled, plan: Plan, manifest: Manifest, backbone: BackboneConfig
) -> tuple[dict[str, Any], int]:
    """The arguments of `PretrainingData`, and the number of training steps.

    Args:
        settled: where choices are noted.
        plan: what the user asked for.
        manifest: the images.
        backbone: what is trained.
    """
    images = int((manifest.column("split") == "train").sum())
    views = settled.settle("views", plan.views, lambda: _views(manifest))
    batch = settled.settle("batch_size", plan.batch_size, lambda: _batch_size(images))
    advised = recommended_steps(images, batch)
    steps = settled.settle("steps", plan.steps, lambda: (advised.value, advised.reason))
    patch = backbone.patch_size
    large = max(min(backbone.image_size, LARGEST_CROP) // patch, 1) * patch
    small = max(int(large * LOCAL_SIDE) // patch, 1) * patch
    settled.settle("crops", None, lambda: (f"{large} and {small} px", f"the backbone's grid, patch {patch}"))
    data = {
        "views": views,
        "batch_size": batch,
        "global_size": large,
        "local_size": small,
        # Eight, as the recipe, on a GPU; on two cores half of them leaves time for more images.
        "num_local_crops": 8 if torch.cuda.is_available() else 4,
        # A GPU makes the views itself, and the processes that read send it one copy of each image.
        "views_on": "device" if torch.cuda.is_available() else "worker",
        "num_workers": plan.num_workers,
        "seed": plan.seed,
    }
    return data, steps


def settle_precision(settled: Settled, plan: Plan) -> Precision:
    """What products are computed in while backbone and heads are trained.

    Args:
        settled: where the choice is noted.
        plan: what the user asked for.
    """
    return settled.settle("precision", plan.precision, _precision)


def settle_shots(settled: Settled, plan: Plan, labelled: Manifest) -> list[int]:
    """The shots of the few-shot study: what the training patients of the smallest class allow.

    Args:
        settled: where choices are noted.
        plan: what the user asked for.
        labelled: the rows that have a label.
    """
    training = labelled.select(labelled.column("split") == "train")
    of_class = {
        label: len(set(training.column("patient")[training.column("label") == label])) for label in labelled.labels
    }
    fewest = min(of_class.values())
    allowed = [shots for shots in SHOTS if shots <= fewest] or [max(fewest, 1)]
    return settled.settle("shots", plan.shots, lambda: (allowed, f"the smallest class has {fewest} training patients"))


def _views(manifest: Manifest) -> tuple[Kind, str]:
    """The kind of image: slides are histology, other colour images natural unless told so, grey ones radiology."""
    if (manifest.column("format") == "slide").mean() > 0.5:
        return "histology", "tiles of slides"
    colour = float((manifest.column("samples_per_pixel").astype(int) == 3).mean())
    if colour > 0.5:
        return "natural", "colour images; ask for histology where they are stained tissue"
    return "radiology", "grey images"


def _precision() -> tuple[Precision, str]:
    """What products are computed in where nothing was asked for, and why."""
    if not torch.cuda.is_available():
        return "32-true", "no GPU"
    # Without the units for it bfloat16 is emulated, which is slower than float32.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed", "the GPU computes in bfloat16; weights and losses stay in float32"
    return "32-true", "the GPU has no units for bfloat16, and these losses overflow in float16"


def _batch_size(images: int) -> tuple[int, str]:
    """Images of a training step."""
    wanted, reason = (64, "as") if torch.cuda.is_available() else (32, "no GPU: half of")
    if images < wanted:
        return max(images, 2), f"all of the {images} training images"
    return wanted, f"{reason} the short recipe's batch for one GPU"
