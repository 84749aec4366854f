"""`medino fewshot`: backbones compared on a handful of labelled patients, as evidence and as a table."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.outputs import names_file
from medino.core import InputError, RunFolder

if TYPE_CHECKING:
    from medino.data import Manifest
    from medino.features import FeatureTable


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino fewshot`."""
    parser.add_argument("--manifest", type=str, required=True, help="the manifest, with labels")
    parser.add_argument(
        "--features",
        nargs="+",
        type=str,
        required=True,
        help="NAME=features.parquet for each backbone, as medino embed wrote them; the first is the one compared with",
    )
    parser.add_argument(
        "--baselines",
        nargs="+",
        type=str | None,
        help="computed from the images, where no features have the name: thumbnail (12 x 12 pixels and histograms), "
        "random (an untrained network) and cnn (a small network trained on each support set); none leaves them out "
        "[thumbnail random, where the images can be read]",
    )
    parser.add_argument(
        "--maps",
        nargs="+",
        type=str,
        default=[],
        help="NAME=FOLDER, the patch tokens that medino embed --maps kept of these features, for the probe attentive",
    )
    parser.add_argument(
        "-o", "--output", type=str, required=True, help="a .parquet file of evidence, or a run's folder; added to it"
    )
    parser.add_argument(
        "--target",
        type=str,
        default="classes",
        help="what the labels are: classes, multilabel (several a unit), ordinal (classes in an order) or continuous "
        "(numbers)",
    )
    parser.add_argument(
        "--order", nargs="+", type=str, default=[], help="the classes of an ordinal target, from the least to the most"
    )
    parser.add_argument(
        "--separator",
        type=str,
        default="|",
        help="what stands between the labels of a unit of a multilabel target; alone, it says that there are none",
    )
    parser.add_argument(
        "--shots",
        nargs="+",
        type=int,
        default=[5, 20],
        help="labelled units a class, positive ones a label; for a continuous target in all",
    )
    parser.add_argument(
        "--draw",
        type=str,
        default="patients",
        help="what shots are: patients (each image of a class from another patient) or images (whosever they are)",
    )
    parser.add_argument(
        "--drop_small_classes",
        action="store_true",
        help="leave out classes with too few patients for the most shots, in place of refusing the study",
    )
    parser.add_argument("--episodes", type=int, default=50, help="support sets drawn for each number of shots")
    parser.add_argument(
        "--probes",
        nargs="+",
        type=str | None,
        help="nearest_mean, knn, logistic; for a continuous target ridge [all of these]; also linear_grid (of several "
        "tokens and learning rates), attentive (over patch tokens) and, of units of several images, abmil (attention "
        "over them), nearest_mean_max, knn_max, logistic_max (their maximum in place of their mean)",
    )
    parser.add_argument(
        "--tokens",
        type=str,
        default="class",
        help="class, mean_patch, class_and_mean_patch, last_four or last_four_and_mean_patch",
    )
    parser.add_argument("--unit", type=str, default="image", help="what is classified: image, series, study or patient")
    parser.add_argument("--baseline", type=str | None, help="name of the features to compare with [the first]")
    parser.add_argument("--dataset", type=str | None, help="what tables call the labelled set [the manifest's name]")
    parser.add_argument("--replicates", type=int, default=1000, help="resamples of the test patients for the intervals")
    parser.add_argument(
        "--interval", type=str, default="percentile", help="shown: percentile or bca; the evidence holds both"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of support sets, resamples, and splits where there are none"
    )
    parser.add_argument("--csv", type=str | None, help="write the summary rows to this CSV file, too")


def run(config: Namespace) -> None:
    """Run the study, add its evidence to the output and print its tables."""
    from medino.cli.baselines import with_baselines
    from medino.cli.fewshot_tables import show_study
    from medino.data import Manifest
    from medino.features import FeatureTable, MapStore
    from medino.probes import FewShotStudy, append_evidence, export_csv

    study = FewShotStudy(
        shots=config.shots,
        episodes=config.episodes,
        probes=config.probes,
        features=config.tokens,
        unit=config.unit,
        seed=config.seed,
        replicates=config.replicates,
        interval=config.interval,
        draw=config.draw,
        drop_small_classes=config.drop_small_classes,
        dataset=config.dataset,
        baseline=config.baseline,
        target=config.target,
        order=config.order,
        separator=config.separator,
    )
    paths = named_paths(config.features)
    output = evidence_path(Path(config.output))
    manifest = Manifest.read(config.manifest)
    tables = {name: FeatureTable.read(path) for name, path in paths.items()}
    maps = {name: MapStore.open(path) for name, path in named_paths(config.maps).items()}
    for name, store in maps.items():
        store.check_made_from(manifest, name)
    manifest, tables = with_splits(manifest, tables, config.seed)
    maps = {name: dataclasses.replace(store, manifest=manifest.fingerprint) for name, store in maps.items()}
    study.check(manifest)
    tables = with_baselines(config.baselines, tables, manifest, seed=config.seed)
    evidence = study.run(tables, manifest, maps=maps)
    append_evidence(output, evidence)
    if config.csv:
        export_csv(config.csv, evidence)
    show_study(evidence)
    left_out = {sample for table in tables.values() for sample in table.rejects}
    if left_out:
        print(f"{len(left_out)} images could not be decoded and were left out")
    print(f"evidence  {output}")


def named_paths(words: list[str]) -> dict[str, str]:
    """Features' files by name; a file without one is called by its stem.

    Raises:
        InputError: a name is given twice.
    """
    paths: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals:
            name, path = Path(word).stem, word
        if name in paths:
            raise InputError(f"two features are called {name!r}; give each a name of its own, as NAME={path}")
        paths[name] = path
    return paths


def evidence_path(output: Path) -> Path:
    """The file of evidence that an output means: itself, or that of a run's folder.

    Raises:
        InputError: it is another kind of file.
    """
    if names_file(output, ".parquet"):
        return output
    if output.is_file() or output.suffix:
        raise InputError(f"the output {output} is neither a .parquet file nor a run's folder; give one by -o")
    return RunFolder(output).evidence


def with_splits(
    manifest: "Manifest", tables: "dict[str, FeatureTable]", seed: int
) -> "tuple[Manifest, dict[str, FeatureTable]]":
    """Split the labelled patients where the manifest has no splits at all; features of this manifest stay valid.

    Raises:
        InputError: features are of another manifest, or there are too few patients.
    """
    from medino.data import assign_splits

    for name, table in tables.items():
        table.check_made_from(manifest, name)
    labelled = [label is not None for label in manifest.column("label")]
    if not any(labelled) or any(split is not None for split in manifest.column("split")):
        return manifest, tables
    part = assign_splits(manifest.select(labelled), seed=seed)
    split_of = dict(zip(part.column("patient"), part.column("split"), strict=True))
    print(f"the manifest has no splits: its {len(split_of)} labelled patients are split by seed {seed}")
    split = manifest.with_column("split", [split_of.get(patient) for patient in manifest.column("patient")])
    return split, {name: dataclasses.replace(table, manifest=split.fingerprint) for name, table in tables.items()}
