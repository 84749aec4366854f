"""`medino curate`: a manifest to one with fewer rows, and a table of what went and why."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.curation_inputs import curation_inputs
from medino.cli.outputs import output_file
from medino.cli.reading_options import add_reading_options
from medino.core import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from medino.curation import Curation

EPILOG = """
How it decides. Every image is decoded once. In this order, an image goes if it can't be decoded, is blank, is clipped,
has the same pixels as one that stays, shows the same picture as one that stays (also turned, mirrored, zoomed or
encoded anew), or, with --features, if its cluster has more images than its share. Of copies the one in test stays
before that in validation, train and no split; then the labelled one; then the first. Balance takes images from train
and from those without a split, never from validation and test. The clusters are those of Vo et al. (arXiv 2405.15613).

No file is deleted. The new manifest can be used wherever the old one was; features have to be embedded again. Beside it
lies NEW.curation.parquet: sample id, reason, what was measured, and which image stays in its place.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino curate`."""
    from medino.curation import CurationSettings

    parser.epilog = EPILOG
    parser.add_argument("cohort", type=str, help="the manifest that medino scan wrote")
    parser.add_argument("-o", "--output", type=str, required=True, help="the manifest to write, a .parquet file")
    parser.add_argument(
        "--features",
        type=str | None,
        help="features of the same manifest (medino embed); with them the images are balanced by clusters",
    )
    parser.add_class_arguments(CurationSettings)
    add_reading_options(parser)


def run(config: Namespace) -> None:
    """Choose, write the new manifest and the table of what went, and say how much that was."""
    from rich.console import Console

    from medino.curation import CurationSettings, curate, dropped_path, write_dropped
    from medino.data import rejects_path

    output = output_file(config.output, ".parquet")
    if output.resolve() == Path(config.cohort).resolve():
        raise InputError(f"the output {output} is the manifest itself, which stays as it is; give another name by -o")
    manifest, settings, features, workers = curation_inputs(config, CurationSettings)
    done = curate(manifest, settings, features, workers=workers)
    write_dropped(dropped_path(output), done.dropped)
    done.manifest.write(output)
    console = Console(highlight=False)
    console.print(summary(done))
    if done.facts:
        levels = ", ".join(f"{size:,}" for size in done.facts["clusters"])
        before, after = (done.facts[f"largest cluster {when}"] for when in ("before", "after"))
        console.print(f"clusters of {levels}; the largest holds {after:.0%} of the images, before {before:.0%}")
    elif features is None:
        console.print("not balanced: that takes --features (medino embed)")
    print(f"manifest  {output}\nrejects   {rejects_path(output)}\ndropped   {dropped_path(output)}")


def summary(done: "Curation") -> "Table":
    """Images by what became of them, and why."""
    from rich import box
    from rich.table import Table

    from medino.curation import REASONS

    counts = Counter(row.reason for row in done.dropped)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("images", justify="right", footer=f"{len(done.manifest):,}")
    table.add_column("dropped because", footer="stay")
    for reason, meaning in REASONS.items():
        if counts[reason]:
            table.add_row(f"{counts[reason]:,}", f"{reason}: {meaning}")
    return table
