"""What continuing from a pretrained backbone gains on new images and loses on the old ones, in two hops.

A small backbone is trained from scratch on the images of domain A, its heads are dropped, and it is continued on those
of domain B in several ways. Few-shot accuracy is measured on patients of both domains that no training saw.
`make bench-adaptation` writes the tables and curves of docs/adaptation.md; what is done is kept, and a command that
was stopped goes on.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from tests.benchmarks.adaptation_arms import HOPS, Hop, continued, start
from tests.benchmarks.adaptation_cost import all_costs
from tests.benchmarks.adaptation_page import draw_curves, write_page
from tests.benchmarks.adaptation_runs import Training, do, prepare

ROOT = Path(__file__).resolve().parents[2]


def do_all(trainings: Sequence[Training], work: Path, processes: int) -> None:
    """Do trainings in processes of one thread each, every one as soon as what it starts from is done."""
    waiting = list(dict.fromkeys([*(one.after for one in trainings if one.after), *trainings]))
    done: set[Training] = set()
    running: set[Future[Training]] = set()
    # Spawned: a forked process would inherit the locks of torch's threads.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        while waiting or running:
            for training in [one for one in waiting if one.after is None or one.after in done]:
                waiting.remove(training)
                running.add(pool.submit(do, training, work))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                training = future.result()
                done.add(training)
                print(
                    f"{len(done)} of {len(done) + len(waiting) + len(running)} trainings: {training.images}, "
                    f"seed {training.seed}",
                    flush=True,
                )


def trainings_of(hop: Hop, seeds: Sequence[int]) -> list[Training]:
    """All trainings of a hop, the starts first."""
    starts = [start(hop, seed) for seed in seeds]
    return [*starts, *(one for arm in hop.arms for one in (continued(hop, arm, seed) for seed in seeds))]


def main() -> int:
    """Run the benchmark and write its part of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MEDINO_TEST_DATA", "../shared/data")))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "adaptation", help="where results are kept")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "adaptation.md")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"the real images are not in {options.data}: set MEDINO_TEST_DATA (docs/datasets.md)", file=sys.stderr)
        return 2
    for name in {name for hop in HOPS for name in (hop.first, hop.second)}:
        prepare(options.data, options.work, name)
    do_all([one for hop in HOPS for one in trainings_of(hop, options.seeds)], options.work, options.processes)
    for hop in HOPS:
        draw_curves(hop, options.seeds, options.work, options.page.parent / "figures")
    write_page(options.page, HOPS, options.seeds, options.work, all_costs(options.work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
