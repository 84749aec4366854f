"""`medino pack`: decode a manifest's images once, and keep them small in shards that training reads fast."""

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.outputs import output_file
from medino.cli.reading_options import add_reading_options, chosen_workers
from medino.core import InputError, free_bytes, size_in_words

if TYPE_CHECKING:
    from medino.data import Manifest
    from medino.data.pack.packing import Packed


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino pack`."""
    parser.add_argument("cohort", type=str, help="the manifest that medino scan wrote")
    parser.add_argument(
        "-o",
        "--output",
        type=str,
        required=True,
        help="where the shards go: a folder, or a location that fsspec knows by a URL, such as s3://BUCKET/FOLDER. "
        "From there rows are read one by one, or shards whole into the folder that the variable MEDINO_CACHE names",
    )
    parser.add_argument(
        "--short_side",
        type=int | None,
        help="the shorter side of larger images becomes this, pixels; smaller ones stay as they are [all sizes stay]",
    )
    parser.add_argument(
        "--manifest",
        type=str | None,
        help="the manifest of the packed images, a .parquet file [in the folder of the shards, or beside COHORT as "
        "NAME.packed.parquet where they go elsewhere]",
    )
    add_reading_options(parser)


def run(config: Namespace) -> None:
    """Say how much room is needed, pack, write the manifest of the packed images, and say what came of it."""
    from medino.data import Manifest, rejects_path
    from medino.data.location import as_root
    from medino.data.pack.packing import pack_manifest
    from medino.data.pack.plan import PackPlan

    output = manifest_path(config)
    manifest = Manifest.read(config.cohort)
    plan = PackPlan(manifest, config.short_side)
    print(
        f"packing   {len(manifest)} images into {len(plan.parts)} shards: at most "
        f"{size_in_words(int(plan.most_bytes.sum()))}, usually about half{free_space(as_root(config.output))}",
        flush=True,
    )
    packed = pack_manifest(plan, config.output, chosen_workers(config))
    packed.manifest.write(output)
    show_summary(manifest, packed)
    print(f"manifest  {output}\nrejects   {rejects_path(output)}")


def manifest_path(config: Namespace) -> Path:
    """Where the packed manifest goes.

    Raises:
        InputError: that is no Parquet file, or the cohort's own.
    """
    from medino.data.location import as_root

    cohort, root = Path(config.cohort), as_root(config.output)
    if config.manifest:
        output = Path(config.manifest)
    elif isinstance(root, Path):
        output = root / cohort.name
    else:
        output = cohort.with_name(f"{cohort.stem}.packed.parquet")
    output_file(output, ".parquet", "manifest", "--manifest")
    if output.resolve() == cohort.resolve():
        raise InputError(f"the packed manifest would replace the cohort's own, {cohort}; give another --manifest")
    return output


def free_space(root: Path | str) -> str:
    """What is free where shards go to a folder."""
    if isinstance(root, str):
        return ""
    return f"; {size_in_words(free_bytes(root))} are free"


def show_summary(source: "Manifest", packed: "Packed") -> None:
    """Print what was packed: counts, bytes and reasons, no path and no identifier."""
    from medino.data.pack.rows import EXACT, QUANTISED, ROUNDED

    meaning = {
        EXACT: "exact",
        ROUNDED: "resized, then rounded to the steps of their own stored numbers",
        QUANTISED: "rounded to 65536 steps of their own range",
    }
    table = source.table
    root, path, count = (table[name].to_pylist() for name in ("root", "path", "file_bytes"))
    files = dict(zip(zip(root, path, strict=True), count, strict=True))
    before = sum(bytes_ or 0 for bytes_ in files.values())
    found = f" ({packed.found} were there already)" if packed.found else ""
    print(f"packed    {len(packed.manifest)} images in {packed.shards} shards{found}")
    print(f"bytes     {size_in_words(before)} in {len(files)} files before, {size_in_words(packed.bytes)} packed")
    for kept, text in meaning.items():
        if packed.kept.get(kept):
            print(f"values    {packed.kept[kept]} images {text}")
    for reason, count in sorted(packed.rejects.items(), key=lambda item: -item[1]):
        print(f"rejected  {count} x {reason}")
