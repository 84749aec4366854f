"""`make bench-probes`: how long probes take beside what one would write without them, on one page."""

import argparse
import os
import platform
from pathlib import Path

import sklearn
import torch

from tests.benchmarks import probes_logistic

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "probes.md"

TEXT = """\
# How fast probes are

Made by `make bench-probes` on {cores} CPU cores, {machine}, torch {torch}, scikit-learn {sklearn}. Both
sides ran in the same run, one after the other; the ratios count, single times depend on the machine.

## Logistic regression

{logistic}
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args()
    page = TEXT.format(
        cores=os.cpu_count(),
        machine=platform.machine(),
        torch=torch.__version__,
        sklearn=sklearn.__version__,
        logistic=probes_logistic.tables(probes_logistic.measure()),
    )
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
