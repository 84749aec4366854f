"""`medino retrieve`: the images nearest to given ones, or how often the test images' neighbours have their label."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.outputs import output_file
from medino.cli.reading_options import add_reading_options, chosen_workers
from medino.core import InputError, numpy_generator, whole_file

if TYPE_CHECKING:
    import numpy as np

    from medino.data import Manifest
    from medino.data.workers import Workers
    from medino.features.neighbours import Neighbours
    from medino.features.stream import FeatureFile

ROWS, ACROSS = 6, 5
"""Queries of a sheet, and neighbours beside each: six pictures in a row."""

EPILOG = """
Neighbours are by cosine, exact, and never of the query's own patient. The features are read from the disk a part at a
time. Without --query, the labelled test images (all labelled ones where there are no splits; of more than 1,000 a draw,
see --queries) are searched for among all other labelled images: mean average precision (mAP), and the share of queries
with an image of their label among the k nearest (recall at k), with 95 % intervals over the queries' patients, beside
what features that tell nothing score.
"""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What is searched: the features, the manifest, and the manifest's row, patient and label of each vector."""

    features: "FeatureFile"
    manifest: "Manifest"
    rows: "np.ndarray"
    patients: "np.ndarray"
    labels: "np.ndarray"


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino retrieve`."""
    parser.epilog = EPILOG
    parser.add_argument("--manifest", type=str, required=True, help="the manifest that medino scan wrote")
    parser.add_argument("--features", type=str, required=True, help="features of it, as medino embed wrote them")
    parser.add_argument(
        "--query", nargs="+", type=str | None, help="sample ids whose neighbours are shown, instead of the metrics"
    )
    parser.add_argument("--count", type=int, default=ACROSS, help="neighbours of each query")
    parser.add_argument(
        "--queries",
        type=int,
        default=1000,
        help="the most test images that mAP and recall are measured on, drawn by --seed where there are more",
    )
    parser.add_argument("--at", nargs="+", type=int, default=[1, 5, 10], help="the k of recall at k")
    parser.add_argument(
        "--tokens", type=str, default="class", help="class, mean_patch, class_and_mean_patch or last_four"
    )
    parser.add_argument("-o", "--output", type=str | None, help="write the queries' neighbours to this .csv file")
    parser.add_argument(
        "--sheet",
        type=str | None,
        help=f"draw queries beside their {ACROSS} nearest to this .png file (images of patients: nothing is drawn "
        f"unless asked for); without --query {ROWS} drawn ones",
    )
    parser.add_argument("--replicates", type=int, default=1000, help="resamples of the queries' patients")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples, and of the queries that are drawn")
    add_reading_options(parser)


def run(config: Namespace) -> None:
    """Search, print, and write what is asked for."""
    import numpy as np

    from medino.features.neighbours import nearest

    output = None if config.output is None else output_file(config.output, ".csv")
    sheet = None if config.sheet is None else output_file(config.sheet, ".png", "sheet", "--sheet")
    if config.count < 1:
        raise InputError(f"{config.count} neighbours are asked for; ask for at least 1")
    if config.queries < 1:
        raise InputError(f"--queries {config.queries} leaves nothing to measure; give at least 1")
    workers = chosen_workers(config)
    gallery = read_gallery(config.manifest, config.features, config.tokens)
    queries = test_queries(gallery) if config.query is None else named_queries(gallery, config.query)
    if config.query is None:
        show_scores(gallery, queries, config)
    # The neighbours of all test images are a table of millions of lines: only where it is asked for.
    few = queries
    if config.query is None and output is None:
        drawn = numpy_generator(config.seed, "retrieval sheet").permutation(len(queries))[:ROWS]
        few = queries[drawn] if sheet else queries[:0]
    if len(few):
        count = max(config.count, ACROSS) if sheet else config.count
        vectors = gallery.features.take(few)
        found = nearest(vectors, gallery.patients[few], gallery.features.parts, gallery.patients, count)
        if config.query is not None:
            show_neighbours(gallery, few, found, config.count)
        if output is not None:
            write_neighbours(output, gallery, few, found, config.count)
            print(f"neighbours  {output}")
        if sheet is not None:
            shown = np.arange(len(few))
            if len(few) > ROWS:
                shown = numpy_generator(config.seed, "retrieval sheet").permutation(len(few))[:ROWS]
            draw_sheet(sheet, gallery, few[shown], found.rows[shown], found.cosines[shown], workers)
            print(f"sheet       {sheet}")


def read_gallery(manifest_path: str, features_path: str, tokens: str) -> Gallery:
    """Join a manifest and its features.

    Raises:
        InputError: one can't be read, or they don't belong together.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from medino.data import Manifest
    from medino.features.stream import FeatureFile

    manifest = Manifest.read(manifest_path)
    features = FeatureFile.open(features_path, tokens)
    features.check_made_from(manifest, Path(features_path).stem)
    if not len(features):
        raise InputError(f"{features_path} holds no features; embed again")
    known = manifest.table["sample_id"].combine_chunks().cast(pa.string())
    rows = pc.index_in(features.sample_ids.cast(pa.string()), value_set=known)
    if rows.null_count:
        raise InputError(f"{features_path} holds {rows.null_count} samples that the manifest lacks; embed again")
    rows = rows.to_numpy()
    return Gallery(features, manifest, rows, coded(manifest, "patient")[rows], coded(manifest, "label")[rows])


def coded(manifest: "Manifest", column: str) -> "np.ndarray":
    """(rows,) a column as integers, -1 for null."""
    import pyarrow as pa

    found = manifest.table[column].combine_chunks()
    if not pa.types.is_dictionary(found.type):
        found = found.dictionary_encode()
    return found.indices.fill_null(-1).to_numpy()


def test_queries(gallery: Gallery) -> "np.ndarray":
    """Places of the labelled test images; of all labelled ones where nothing is split.

    Raises:
        InputError: there are none.
    """
    import numpy as np

    labelled = gallery.labels >= 0
    if not labelled.any():
        raise InputError(
            f"none of the {len(labelled)} images of {gallery.manifest.name} has a label; give labels when scanning "
            "(medino scan --labels CSV), or images by --query"
        )
    splits = gallery.manifest.column("split")[gallery.rows]
    if all(split is None for split in splits):
        return np.flatnonzero(labelled)
    found = np.flatnonzero(labelled & (splits == "test"))
    if not len(found):
        raise InputError(f"no labelled image of {gallery.manifest.name} is in the split 'test'; give images by --query")
    return found


def named_queries(gallery: Gallery, names: list[str]) -> "np.ndarray":
    """Places of the images with these sample ids.

    Raises:
        InputError: one is not there.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pc.index_in(pa.array(names, pa.string()), value_set=gallery.features.sample_ids.cast(pa.string()))
    if places.null_count:
        lost = names[places.is_null().index(True).as_py()]
        raise InputError(f"the features hold no sample {lost!r}; give sample ids of the manifest (column sample_id)")
    return places.to_numpy().astype("int64")


def show_scores(gallery: Gallery, queries: "np.ndarray", config: Namespace) -> None:
    """Print the metrics of the queries; of drawn ones where there are more than `--queries`."""
    import numpy as np
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from medino.probes.retrieval import MEAN_AVERAGE_PRECISION, rank_queries, retrieval_scores

    console = Console(highlight=False)
    if len(queries) > config.queries:
        console.print(
            f"measured on {config.queries:,} of {len(queries):,} queries, drawn by the seed {config.seed} (--queries)"
        )
        drawn = numpy_generator(config.seed, "retrieval queries").permutation(len(queries))[: config.queries]
        queries = queries[np.sort(drawn)]
    patients = gallery.patients[queries]
    ranked = rank_queries(
        gallery.features.take(queries),
        gallery.labels[queries],
        patients,
        gallery.features.parts,
        gallery.labels,
        gallery.patients,
        config.at,
    )
    scores = retrieval_scores(ranked, patients, config.replicates, config.seed)
    counted = ~np.isnan(ranked.metrics[MEAN_AVERAGE_PRECISION])
    unit = gallery.manifest.patient_unit
    console.print(
        f"{counted.sum():,} queries of {len(np.unique(patients[counted])):,} patients (unit: {unit}), "
        f"among {(gallery.labels >= 0).sum():,} labelled images"
    )
    if not counted.all():
        console.print(f"{(~counted).sum():,} queries have no image of their label of another patient: left out")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("metric", "score [95 % interval]", "by chance"):
        table.add_column(heading)
    for score in scores:
        table.add_row(score.metric, f"{score.value:.3f} \\[{score.low:.3f}, {score.high:.3f}]", f"{score.chance:.3f}")
    console.print(table)


def neighbour_lines(
    gallery: Gallery, queries: "np.ndarray", found: "Neighbours", count: int
) -> list[tuple[str, int, str, float, str, str]]:
    """Query, rank, neighbour, cosine and the two labels of each neighbour."""
    ids, labels = gallery.features.sample_ids, gallery.manifest.column("label")[gallery.rows]
    return [
        (ids[query].as_py(), rank, ids[row].as_py(), cosine, labels[query] or "", labels[row] or "")
        for query, rows, cosines in zip(queries.tolist(), found.rows.tolist(), found.cosines.tolist(), strict=True)
        for rank, (row, cosine) in enumerate(zip(rows[:count], cosines[:count], strict=True), start=1)
        if row >= 0
    ]


def show_neighbours(gallery: Gallery, queries: "np.ndarray", found: "Neighbours", count: int) -> None:
    """Print each query's neighbours."""
    lines = neighbour_lines(gallery, queries, found, count)
    if not lines:
        print("there is no image of another patient")
    for query, rank, neighbour, cosine, _, label in lines:
        if rank == 1:
            print(f"nearest to {query}")
        print(f"{rank:5}  {cosine:6.3f}  {neighbour}  {label}".rstrip())


def write_neighbours(path: Path, gallery: Gallery, queries: "np.ndarray", found: "Neighbours", count: int) -> None:
    """Write each query's neighbours, one a line."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "rank", "neighbour", "cosine", "query_label", "neighbour_label"])
        for query, rank, neighbour, cosine, *labels in neighbour_lines(gallery, queries, found, count):
            writer.writerow([query, rank, neighbour, f"{cosine:.6f}", *labels])


def draw_sheet(
    path: Path, gallery: Gallery, queries: "np.ndarray", rows: "np.ndarray", cosines: "np.ndarray", workers: "Workers"
) -> None:
    """Draw each query with its nearest beside it, and whether their labels are the query's."""
    from medino.cli.image_sheet import Place, write_image_sheet

    labels = gallery.manifest.column("label")[gallery.rows]
    places = []
    for query, near, how_near in zip(queries.tolist(), rows.tolist(), cosines.tolist(), strict=True):
        places.append(Place(int(gallery.rows[query]), "query", [labels[query] or "no label"]))
        for rank in range(ACROSS):
            row = near[rank]
            if row < 0:
                places.append(Place(None, ""))
                continue
            told = labels[row] or "no label"
            if labels[query] is not None and labels[row] is not None:
                told = f"{'same label' if labels[row] == labels[query] else 'OTHER label'}: {told}"
            places.append(Place(int(gallery.rows[row]), f"{rank + 1}: cosine {how_near[rank]:.3f}", [told]))
    title = f"{gallery.manifest.name}: queries, and their nearest images of other patients"
    write_image_sheet(gallery.manifest, places, path, title, workers)
