"""`medino select`: which images, or which patients, to label first."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.outputs import output_file
from medino.cli.reading_options import add_reading_options, chosen_workers
from medino.core import InputError, whole_file

if TYPE_CHECKING:
    import numpy as np

    from medino.cli.retrieve import Gallery
    from medino.data.workers import Workers

MOST_DRAWN = 60
"""Images of a sheet: the first of those chosen."""

UNITS = ("image", "patient")

EPILOG = """
Candidates are the images without a label, of patients without any label, that are not in the splits validation or test.
The CSV file names the chosen ones in the order in which to label them; fill in its column `label` and give it to
medino scan --labels. It holds the files' paths: keep it where the manifest is kept.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino select`."""
    parser.epilog = EPILOG
    parser.add_argument("--manifest", type=str, required=True, help="the manifest that medino scan wrote")
    parser.add_argument("--features", type=str, required=True, help="features of it, as medino embed wrote them")
    parser.add_argument("-n", "--count", type=int, required=True, help="how many images (or patients) to choose")
    parser.add_argument("-o", "--output", type=str, required=True, help="the .csv file to write")
    parser.add_argument(
        "--method",
        type=str,
        default="typiclust",
        help="typiclust: the most typical image of each cluster (Hacohen et al. 2022); kmedoids: images of which one "
        "is near to every other",
    )
    parser.add_argument(
        "--unit", type=str, default="image", help="image; or patient: the mean of its images' features, and all of them"
    )
    parser.add_argument("--per_patient", type=int, default=1, help="images of one patient at most")
    parser.add_argument(
        "--tokens", type=str, default="class", help="class, mean_patch, class_and_mean_patch or last_four"
    )
    parser.add_argument("--seed", type=int, default=0, help="of k-means and of all draws")
    parser.add_argument(
        "--sheet", type=str | None, help="draw the chosen images to this .png file (images of patients: only if asked)"
    )
    add_reading_options(parser)


def run(config: Namespace) -> None:
    """Choose, write the list, and draw the sheet where it is asked for."""
    from medino.cli.retrieve import read_gallery
    from medino.curation.labelling import choose_to_label

    output = output_file(config.output, ".csv")
    sheet = None if config.sheet is None else output_file(config.sheet, ".png", "sheet", "--sheet")
    workers = chosen_workers(config)
    if config.unit not in UNITS:
        raise InputError(f"there is no unit {config.unit!r}; choose one of {', '.join(UNITS)}")
    gallery = read_gallery(config.manifest, config.features, config.tokens)
    places = candidates(gallery)
    vectors, patients = gallery.features.take(places), gallery.patients[places]
    members = [[place] for place in places.tolist()]
    if config.unit == "patient":
        vectors, patients, members = by_patient(vectors, patients, places)
    chosen = choose_to_label(
        vectors, patients, config.count, method=config.method, per_patient=config.per_patient, seed=config.seed
    )
    lists = [members[row] for row in chosen.tolist()]
    with whole_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table_lines(gallery, lists))
    of = len(set(patients[chosen].tolist()))
    print(f"chosen    {output}\n          {len(chosen):,} of {len(patients):,} {config.unit}s, {of:,} patients")
    if sheet is not None:
        draw_sheet(sheet, gallery, lists, workers)
        print(f"sheet     {sheet}")


def candidates(gallery: "Gallery") -> "np.ndarray":
    """Places of the images that may be chosen.

    Raises:
        InputError: there are none.
    """
    import numpy as np

    splits = gallery.manifest.column("split")[gallery.rows]
    labelled = np.unique(gallery.patients[gallery.labels >= 0])
    measured = np.isin(splits.astype(str), ("validation", "test"))
    found = np.flatnonzero(~measured & ~np.isin(gallery.patients, labelled))
    if not len(found):
        raise InputError(
            f"no image of {gallery.manifest.name} is left to choose: {int(measured.sum())} of {len(splits)} are in the "
            f"splits validation or test, and {len(labelled)} patients have labels; scan without --labels to choose anew"
        )
    return found


def by_patient(
    vectors: "np.ndarray", patients: "np.ndarray", places: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray, list[list[int]]]":
    """The mean vector, the code and the places of each patient."""
    import numpy as np

    names, owner = np.unique(patients, return_inverse=True)
    total = np.zeros((len(names), vectors.shape[1]))
    np.add.at(total, owner, vectors)
    order = np.argsort(owner, kind="stable")
    members = np.split(places[order], np.searchsorted(owner[order], np.arange(1, len(names))))
    return total / np.bincount(owner)[:, None], names, [group.tolist() for group in members]


def table_lines(gallery: "Gallery", lists: list[list[int]]) -> Iterator[list[object]]:
    """The lines of the CSV file."""
    yield ["order", "sample_id", "path", "member", "frame", "label"]
    for order, places in enumerate(lists, start=1):
        for place in places:
            sample = gallery.manifest.sample(int(gallery.rows[place]))
            yield [order, sample.sample_id, sample.path, sample.member or "", sample.frame, ""]


def draw_sheet(path: Path, gallery: "Gallery", lists: list[list[int]], workers: "Workers") -> None:
    """Draw the first image of each that was chosen."""
    from medino.cli.image_sheet import Place, write_image_sheet

    places = [
        Place(int(gallery.rows[members[0]]), str(order), ["" if len(members) == 1 else f"1 of {len(members)} images"])
        for order, members in enumerate(lists[:MOST_DRAWN], start=1)
    ]
    title = f"{gallery.manifest.name}: what to label first"
    if len(lists) > MOST_DRAWN:
        title += f", the first {MOST_DRAWN} of {len(lists)}"
    write_image_sheet(gallery.manifest, places, path, title, workers)
