"""The options of the verbs that look at images by a frozen backbone: which one, and what it is shown."""

from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from medino.cli.messages import INTERPOLATION_HELP, WEIGHTS_HELP
from medino.core import InputError

if TYPE_CHECKING:
    from medino.features import EvaluationTransform
    from medino.models import VisionTransformer

PATCHES_ACROSS = 32
"""Patches along a side of the images, where no size is given: what a mask is made of has to be small."""


def add_backbone(parser: ArgumentParser) -> None:
    """Add --weights, --interpolation, --backbone and --seed."""
    parser.add_argument("--weights", type=str | None, help=WEIGHTS_HELP)
    parser.add_argument("--interpolation", type=str | None, help=INTERPOLATION_HELP)
    parser.add_argument(
        "--backbone", type=str | None, help="an untrained backbone of this preset instead: mini, tiny, small, ..."
    )
    parser.add_argument("--seed", type=int, default=0, help="of the untrained backbone's weights")


def add_backbone_options(parser: ArgumentParser) -> None:
    """Add the options of `add_backbone`, --size and --intensity."""
    from medino.data import Intensity

    add_backbone(parser)
    parser.add_argument(
        "--size",
        type=int | None,
        help=f"side of the images shown, pixels; more is finer and slower [{PATCHES_ACROSS} patches]",
    )
    parser.add_class_arguments(Intensity, "intensity", help="how physical units become the backbone's three channels")


def chosen_backbone(config: Namespace) -> "VisionTransformer":
    """The backbone that the options name.

    Raises:
        InputError: none or two are named, or it can't be had.
    """
    from medino.models import build_backbone, load_backbone

    if (config.weights is None) == (config.backbone is None):
        raise InputError("give one of --weights and --backbone: what is to look at the images")
    if config.interpolation and not config.weights:
        raise InputError("interpolation is the weights'; leave --interpolation out, or give --weights")
    if config.weights is not None:
        return load_backbone(config.weights, config.interpolation)
    return build_backbone(config.backbone, seed=config.seed)


def whole_image_transform(config: Namespace, backbone: "VisionTransformer") -> "EvaluationTransform":
    """What the backbone is shown: all of each image, with black around where it is not square.

    Raises:
        InputError: the size does not fit the patch.
    """
    from medino.data import Intensity
    from medino.features import EvaluationTransform

    patch = backbone.config.patch_size
    size = PATCHES_ACROSS * patch if config.size is None else config.size
    if size < patch or size % patch:
        raise InputError(f"the size {size} is no multiple of the backbone's patch of {patch} pixels; change --size")
    settings: dict[str, Any] = {"fit": "pad", "intensity": Intensity(**vars(config.intensity))}
    return EvaluationTransform.for_backbone(backbone.config, size=size, **settings)
