"""`make bench-data`: reading headers, a million rows, and packing, each beside its yardstick, on one page."""

import argparse
import os
import platform
from pathlib import Path

import torch

from tests.benchmarks import data_manifest, data_pack, data_scan

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "data.md"

TEXT = """\
# How fast data is read

Made by `make bench-data` on {cores} CPU cores, {machine}, torch {torch}. Every number stands beside a yardstick that
was timed in the same run, in turns with it; the ratios count, single times depend on the machine.

## Scanning headers

{scan}

## Starting on a million rows

{manifest}

## Reading packed images

{pack}
"""


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args()
    scanned = data_scan.tables(data_scan.measure())
    manifest = data_manifest.tables(data_manifest.measure())
    packed = data_pack.tables(data_pack.measure())
    page = TEXT.format(
        cores=os.cpu_count(),
        machine=platform.machine(),
        torch=torch.__version__,
        scan=scanned,
        manifest=manifest,
        pack=packed,
    )
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
