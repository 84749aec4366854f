"""`medino embed`: features of a manifest's images: by weights, an untrained backbone, any network or thumbnails."""

from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from medino.cli.backbone_options import add_backbone, chosen_backbone
from medino.cli.outputs import output_file
from medino.core import InputError, patients_seen_by

if TYPE_CHECKING:
    from medino.data import Manifest
    from medino.features import EvaluationTransform, FeatureTable
    from medino.models import VisionTransformer


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino embed`."""
    from medino.data import Intensity

    parser.add_argument("--manifest", type=str, required=True, help="the manifest that medino scan wrote")
    parser.add_argument("-o", "--output", type=str, required=True, help="the table to write, a .parquet file")
    add_backbone(parser)
    parser.add_argument(
        "--module",
        type=str | None,
        help="any network instead: package.module:factory, imported (the current folder's files, too) and called; "
        "from (B, 3, size, size), normalised by ImageNet's mean and standard deviation, to (B, D)",
    )
    parser.add_argument(
        "--thumbnail", action="store_true", help="no backbone: a 12 x 12 thumbnail and histograms, the floor to beat"
    )
    parser.add_argument(
        "--size",
        type=int | None,
        help="side of the images shown, pixels [the backbone's, at most 224; a module's: 224]",
    )
    parser.add_argument("--fit", type=str | None, help="crop: the centre is shown; pad: all of it [crop]")
    parser.add_class_arguments(Intensity, "intensity", help="how physical units become the backbone's three channels")
    parser.add_argument(
        "--maps",
        type=str | None,
        help="a folder to keep the last block's patch tokens in, too, for the probe attentive: in fp16, the size is "
        "said before",
    )
    parser.add_argument("--batch_size", type=int, default=32, help="images at once")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode; the result is the same")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")


def run(config: Namespace) -> None:
    """Embed, write the table, move what could not be decoded to the manifest's rejects."""
    from medino.data import Manifest, record_rejects
    from medino.features import without_rejects

    output = output_file(config.output, ".parquet")
    if config.batch_size < 1 or config.workers < 0:
        raise InputError("batch-size has to be at least 1 and workers at least 0; change them")
    makers = {"weights": tokens, "backbone": tokens, "module": by_module, "thumbnail": thumbnails}
    given = [name for name in makers if config[name]]
    if len(given) != 1:
        raise InputError(
            f"{' and '.join(given) or 'nothing'} given to embed with; give one of --weights, --backbone, --module and "
            "--thumbnail"
        )
    if config.interpolation and not config.weights:
        raise InputError("interpolation is the weights'; leave --interpolation out, or give --weights")
    if config.maps and makers[given[0]] is not tokens:
        raise InputError(f"{given[0]} has no patch tokens to keep; leave --maps out")
    manifest = Manifest.read(config.manifest)
    table = makers[given[0]](config, manifest)
    failures = table.failures
    if failures:
        manifest = record_rejects(config.manifest, failures)
        table = without_rejects(table, manifest)
    table.write(output)
    vectors = ", ".join(f"{pooling} of layer -{layer}" if layer else pooling for layer, pooling in table.blocks)
    print(f"features  {output}\n          {len(table)} images by {table.facts['backbone']}: {vectors}")
    if failures:
        print(f"          {len(failures)} images could not be decoded and are among the manifest's rejects now")
    if config.maps:
        patch_tokens(config, manifest)
        print(f"maps      {config.maps}")


def thumbnails(config: Namespace, manifest: "Manifest") -> "FeatureTable":
    """The baseline's features."""
    from medino.data import Intensity
    from medino.features import thumbnail_features

    if config.size is not None or config.fit is not None:
        raise InputError("thumbnails have a size and a fit of their own; leave --size and --fit out")
    intensity = Intensity(**vars(config.intensity))
    return thumbnail_features(manifest, intensity, batch_size=config.batch_size, num_workers=config.workers)


def by_module(config: Namespace, manifest: "Manifest") -> "FeatureTable":
    """The features of a network of the user's."""
    from medino.data import Intensity
    from medino.features import EvaluationTransform, embed_network, import_network

    given = {name: config[name] for name in ("size", "fit") if config[name] is not None}
    return embed_network(
        import_network(config.module),
        manifest,
        EvaluationTransform(**given, intensity=Intensity(**vars(config.intensity))),
        name=config.module,
        batch_size=config.batch_size,
        device=chosen_device(config.device),
        num_workers=config.workers,
        # Nobody but its makers can tell whose images it was trained on.
        facts={"pretraining_patients": None},
    )


def tokens(config: Namespace, manifest: "Manifest") -> "FeatureTable":
    """A backbone's features."""
    from medino.features import embed

    backbone, transform = backbone_and_transform(config)
    return embed(
        backbone,
        manifest,
        transform,
        batch_size=config.batch_size,
        device=chosen_device(config.device),
        num_workers=config.workers,
        facts=backbone_facts(config, manifest),
    )


def patch_tokens(config: Namespace, manifest: "Manifest") -> None:
    """Keep a backbone's patch tokens."""
    from medino.features import BackboneMaps, keep_maps

    backbone, transform = backbone_and_transform(config)
    keep_maps(
        config.maps,
        BackboneMaps(backbone, device=chosen_device(config.device)),
        manifest,
        transform,
        batch_size=config.batch_size,
        num_workers=config.workers,
        facts=backbone_facts(config, manifest),
    )


def backbone_and_transform(config: Namespace) -> "tuple[VisionTransformer, EvaluationTransform]":
    """The backbone, with given weights or untrained, and what it is shown."""
    from medino.data import Intensity
    from medino.features import EvaluationTransform

    backbone = chosen_backbone(config)
    return backbone, EvaluationTransform.for_backbone(
        backbone.config, size=config.size, fit=config.fit, intensity=Intensity(**vars(config.intensity))
    )


def backbone_facts(config: Namespace, manifest: "Manifest") -> dict[str, Any]:
    """What is kept with a backbone's features."""
    if not config.weights:
        return {"untrained": True, "seed": config.seed}
    # So that a study can count them among its test patients, or say that nobody can.
    seen = patients_seen_by(config.weights, manifest.settings.get("key_id"))
    return {} if seen == [] else {"pretraining_patients": seen}


def chosen_device(name: str) -> str:
    """A device that is there.

    Raises:
        InputError: it is not.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the device {name!r} can't be used ({reason}); give --device cpu") from error
    return name
