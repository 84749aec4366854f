"""What stands beside backbones in every few-shot table: thumbnails, a random network, one trained on the shots."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from medino.core import InputError
from medino.data import Intensity, Manifest
from medino.features import EvaluationTransform, FeatureTable, embed, pixel_features, thumbnail_features
from medino.models import PRESETS, BackboneConfig, build_backbone

BASELINES = ("thumbnail", "random", "cnn")

FLOOR = ("thumbnail", "random")
"""Those that stand in a few-shot table unless told otherwise: no network has to be trained for them."""

NONE = "none"
"""Asked for in place of baselines, leaves them out."""

USUAL_NETWORK = "small"
"""The preset that the random network has where nothing says what the backbones are like."""


def baseline_features(
    names: Sequence[str],
    manifest: Manifest,
    network: BackboneConfig,
    transform: EvaluationTransform,
    *,
    seed: int = 0,
    num_workers: int = 0,
    device: str = "cpu",
) -> dict[str, FeatureTable]:
    """The features of some baselines, of a manifest's labelled images.

    Args:
        names: of `BASELINES`: "thumbnail" is 12 x 12 pixels and histograms; "random" is an untrained network; "cnn" is
            the pixels of small images, for a small network that is trained on each support set.
        manifest: with labels.
        network: what the random network is like. Its LayerScale is 1: at the recipe's 1e-5 an untrained network's
            blocks do nothing.
        transform: what backbones are shown.
        seed: of the random network's weights.
        num_workers: processes that decode.
        device: where the random network runs.

    Raises:
        InputError: a name is unknown, or no image could be decoded.
    """
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise InputError(f"there is no baseline {', '.join(map(repr, unknown))}; choose from {', '.join(BASELINES)}")
    labelled = manifest.select([label is not None for label in manifest.column("label")])
    makers: dict[str, Callable[[], FeatureTable]] = {
        "thumbnail": partial(thumbnail_features, labelled, transform.intensity, num_workers=num_workers),
        "random": lambda: embed(
            build_backbone(network.replace(layerscale_init=1.0), seed=seed),
            labelled,
            transform,
            device=device,
            num_workers=num_workers,
            facts={"untrained": True, "seed": seed},
        ),
        "cnn": partial(pixel_features, labelled, transform, num_workers=num_workers),
    }
    # Images without a label are in no study, and need no features.
    return {name: dataclasses.replace(makers[name](), manifest=manifest.fingerprint) for name in dict.fromkeys(names)}


def with_baselines(
    asked: Sequence[str] | None, tables: Mapping[str, FeatureTable], manifest: Manifest, *, seed: int = 0
) -> dict[str, FeatureTable]:
    """Put baselines beside features, where no features have their name.

    Args:
        asked: names of `BASELINES`, "none" alone for none, or None for `FLOOR`. The floor is left out with a printed
            sentence where it can't be made of all images that the features are of: features may have been carried to
            where the images are not.
        tables: features by name.
        manifest: what they are of.
        seed: of the random network's weights.

    Raises:
        InputError: baselines that were asked for can't be made.
    """
    names = FLOOR if asked is None else () if list(asked) == [NONE] else asked
    missing = [name for name in names if name not in tables]
    if not missing:
        return dict(tables)
    told = " and ".join(missing)
    if asked is None:
        print(f"{told} are computed from the images, as a floor of the tables (--baselines none leaves them out)")
    try:
        made = baseline_features(missing, manifest, *shown_as(tables), seed=seed)
    except InputError as error:
        if asked is not None:
            raise
        print(f"the tables have no floor of {told}: {error}")
        return dict(tables)
    # What a baseline lacks is left out of the whole study: nobody asked for that.
    known = {sample for table in tables.values() for sample in table.rejects}
    lacking = {sample for table in made.values() for sample in table.rejects} - known
    if asked is None and lacking:
        print(f"the tables have no floor of {told}: {len(lacking)} of the images can't be read here")
        return dict(tables)
    return {**tables, **made}


def shown_as(tables: Mapping[str, FeatureTable]) -> tuple[BackboneConfig, EvaluationTransform]:
    """A network and a transform for baselines beside features that are there already.

    They are those of the first features by a network of a preset's name; a ViT-S/14 at 224 pixels where there are none.
    """
    intensity = Intensity()
    for table in tables.values():
        settings = dict(table.facts.get("transform", {}))
        intensity = Intensity(**settings.pop("intensity", {}))
        if table.facts.get("backbone") in PRESETS:
            return PRESETS[table.facts["backbone"]], EvaluationTransform(**settings, intensity=intensity)
    network = PRESETS[USUAL_NETWORK]
    return network, EvaluationTransform.for_backbone(network, intensity=intensity)
