"""`medino fewshot_masks`: backbones compared by the masks that a handful of labelled patients teach a small head."""

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.embed import chosen_device
from medino.cli.fewshot import evidence_path, named_paths
from medino.core import InputError, RunFolder, patients_seen_by

if TYPE_CHECKING:
    import pyarrow as pa

    from medino.data import Manifest
    from medino.features import EvaluationTransform, MapMaker
    from medino.models import VisionTransformer
    from medino.segmentation.case_overlays import CaseOverlays

OVERLAYS_FOLDER = "fewshot_masks"
"""Where among a run's figures the pictures of test cases are."""

PIXELS, RANDOM, UNET = "pixels", "random", "unet"
"""The baselines: the pixels of each patch, the first backbone's shape untrained, the U-Net from scratch."""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino fewshot_masks`."""
    from medino.data import Intensity
    from medino.segmentation.kept import HeadTraining

    parser.add_argument("--manifest", type=str, required=True, help="the manifest, scanned with --masks")
    parser.add_argument(
        "--weights", nargs="+", type=str, required=True, help="NAME=WEIGHTS of each backbone: a file, folder or name"
    )
    parser.add_argument(
        "--class_values",
        type=dict[str, int | list[int]],
        required=True,
        help="the value (or [values]) of each class in the masks, background first: '{background: 0, lung: 1}'",
    )
    parser.add_argument(
        "-o", "--output", type=str, required=True, help="a .parquet file of evidence, or a run's folder; added to it"
    )
    parser.add_argument("--maps", type=str, required=True, help="the folder where token maps are kept and found again")
    parser.add_argument(
        "--baselines",
        nargs="*",
        type=str,
        default=[PIXELS, RANDOM, UNET],
        help="pixels (of each patch, no backbone), random (the first backbone untrained), unet (from scratch)",
    )
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5, 20], help="labelled patients")
    parser.add_argument("--episodes", type=int, default=10, help="support sets drawn for each number of patients")
    parser.add_argument("--unit", type=str, default="image", help="what a case is: image, or series (a volume)")
    parser.add_argument("--layers", type=int, default=1, help="blocks whose tokens are looked at, the last ones")
    parser.add_argument("--variants", nargs="+", type=str, default=["as_is"], help=VARIANTS_HELP)
    parser.add_class_arguments(HeadTraining, "training", help="how heads are trained on the kept maps")
    parser.add_argument("--unet_steps", type=int, default=300, help="training steps of the U-Net, 8 images each")
    parser.add_argument("--tolerance", type=float, default=2.0, help="of the normalised surface distance, mm (or px)")
    parser.add_argument("--size", type=int | None, help="side of the images shown, pixels [the backbone's]")
    parser.add_argument("--fit", type=str | None, help="crop: the centre is shown; pad: all of it [crop]")
    parser.add_class_arguments(Intensity, "intensity", help="how physical units become the backbone's three channels")
    parser.add_argument("--dataset", type=str | None, help="what tables call the labelled set [the manifest's name]")
    parser.add_argument("--replicates", type=int, default=1000, help="resamples of the test patients for the intervals")
    parser.add_argument("--interval", type=str, default="percentile", help="shown: percentile or bca")
    parser.add_argument(
        "--seed", type=int, default=0, help="of support sets, trainings, resamples, and splits where there are none"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that decode; the result is the same")
    parser.add_argument("--device", type=str, default="auto", help="where backbones run: auto, cpu, cuda, ...")
    parser.add_argument(
        "--overlays",
        type=int,
        default=0,
        help="write so many test images, the worst, the middle and the best by Dice, with true masks and those of the "
        "last of --weights, to the run's folder, where the report finds them; they are images of patients",
    )
    parser.add_argument("--csv", type=str | None, help="write the summary rows to this CSV file, too")


VARIANTS_HELP = (
    "ways in which images are mirrored and turned in training, `as_is` first, each with maps of its own: left_right, "
    "top_bottom, quarter_turn, half_turn, three_quarter_turn"
)


def run(config: Namespace) -> None:
    """Keep the maps, run the study, add its evidence to the output and print its tables."""
    import dataclasses

    from medino.data import Manifest
    from medino.features import keep_maps
    from medino.models import load_backbone
    from medino.probes import append_evidence, export_csv
    from medino.segmentation import HeadTraining, MaskStudy
    from medino.segmentation.scratch import UNET_TRAINING

    unknown = [name for name in config.baselines if name not in (PIXELS, RANDOM, UNET)]
    if unknown:
        raise InputError(f"there is no baseline {unknown[0]!r}; choose from {PIXELS}, {RANDOM}, {UNET}")
    output, weights = evidence_path(Path(config.output)), named_paths(config.weights)
    taken = set(weights) & set(config.baselines)
    if taken:
        raise InputError(f"{taken.pop()!r} is the name of a baseline; give these weights another one, as NAME=WEIGHTS")
    given = [name for name in (PIXELS, RANDOM) if name in config.baselines]
    study = MaskStudy(
        class_values=config.class_values,
        shots=config.shots,
        episodes=config.episodes,
        unit=config.unit,
        training=HeadTraining(**vars(config.training)),
        unet=dataclasses.replace(UNET_TRAINING, steps=config.unet_steps) if UNET in config.baselines else None,
        tolerance=config.tolerance,
        seed=config.seed,
        replicates=config.replicates,
        interval=config.interval,
        dataset=config.dataset,
        references=given or None,
    )
    manifest = masked_and_split(Manifest.read(config.manifest), config.seed)
    overlays = case_overlays(config, list(weights)[-1])
    study.check(manifest)
    backbones = {name: load_backbone(path) for name, path in weights.items()}
    transform = shown_as(config, next(iter(backbones.values())))
    stores = {
        name: keep_maps(
            Path(config.maps) / name,
            maker,
            manifest,
            dataclasses.replace(transform, mean=mean_std[0], std=mean_std[1]),
            variants=config.variants,
            num_workers=config.workers,
        )
        for name, (maker, mean_std) in makers(config, backbones).items()
    }
    key = manifest.settings.get("key_id")
    seen = {name: patients_seen_by(path, key) for name, path in weights.items()}
    evidence = study.run(stores, manifest, seen, overlays)
    append_evidence(output, evidence)
    if config.csv:
        export_csv(config.csv, evidence)
    show(evidence)
    print(f"evidence  {output}")
    if overlays is not None:
        print(f"overlays  {overlays.folder}")


def case_overlays(config: Namespace, backbone: str) -> "CaseOverlays | None":
    """Which pictures to keep in the run's folder, where some were asked for.

    Raises:
        InputError: there is no run's folder, or fewer than none are asked for.
    """
    from medino.segmentation.case_overlays import CaseOverlays

    if not config.overlays:
        return None
    run = RunFolder(Path(config.output))
    if run.evidence != evidence_path(run.path):
        raise InputError(f"overlays are kept in a run's folder, and {run.path} is a file; give a folder by -o")
    return CaseOverlays(run.figures / OVERLAYS_FOLDER, backbone, config.overlays)


def makers(
    config: Namespace, backbones: "dict[str, VisionTransformer]"
) -> "dict[str, tuple[MapMaker, tuple[tuple[float, float, float], tuple[float, float, float]]]]":
    """What makes the maps that are compared, by name, the baselines first; with its mean and std."""
    from medino.features import BackboneMaps, PatchPixels
    from medino.models import build_backbone

    first = next(iter(backbones.values())).config
    networks = dict(backbones)
    if RANDOM in config.baselines:
        networks = {RANDOM: build_backbone(first, seed=config.seed), **networks}
    device = chosen_device(config.device)
    made: dict[str, tuple[MapMaker, tuple[tuple[float, float, float], tuple[float, float, float]]]] = {}
    if PIXELS in config.baselines:
        made[PIXELS] = (PatchPixels(first.patch_size), (first.mean, first.std))
    for name, network in networks.items():
        maker = BackboneMaps(network, min(config.layers, network.config.depth), device)
        made[name] = (maker, (network.config.mean, network.config.std))
    return made


def shown_as(config: Namespace, backbone: "VisionTransformer") -> "EvaluationTransform":
    """The transform of the first backbone, with what was asked for."""
    from medino.data import Intensity
    from medino.features import EvaluationTransform

    intensity = Intensity(**vars(config.intensity))
    return EvaluationTransform.for_backbone(backbone.config, size=config.size, fit=config.fit, intensity=intensity)


def masked_and_split(manifest: "Manifest", seed: int) -> "Manifest":
    """The rows with a mask, split by patient where the manifest has no splits at all.

    Raises:
        InputError: no row has a mask, or there are too few patients.
    """
    from medino.data import assign_splits

    has_mask = [path is not None for path in manifest.column("mask_path")]
    if not any(has_mask):
        raise InputError(f"none of the {len(manifest)} samples of {manifest.name} has a mask; scan again with --masks")
    masked = manifest.select(has_mask)
    if any(split is not None for split in masked.column("split")):
        return masked
    print(f"the manifest has no splits: its {len(set(masked.column('patient')))} patients are split by seed {seed}")
    return assign_splits(masked, {"train": 0.5, "test": 0.5}, seed=seed)


def show(evidence: "pa.Table") -> None:
    """Print the means over classes and the paired differences."""
    from medino.cli.fewshot_tables import DIFFERENCES, SCORES, scores_table, wide_console
    from medino.probes import differences, summaries

    console = wide_console()
    scores, compared = ([row for row in rows(evidence) if row.target is None] for rows in (summaries, differences))
    first = scores[0]
    console.print(
        f"few-shot study of masks of {first.dataset}: {first.patients} test patients (unit: {first.patient_unit}), "
        f"each case one {first.unit}; means over classes"
    )
    shown = list(dict.fromkeys(row.metric or "" for row in scores))
    console.print(scores_table(scores, SCORES, shown))
    if compared:
        console.print(scores_table(compared, DIFFERENCES, shown, signed=True))
    others = dict.fromkeys(row.metric or "" for row in summaries(evidence) if row.metric not in shown)
    console.print(f"also in the evidence and the CSV: each class, {', '.join(others).replace('_', ' ')}")
