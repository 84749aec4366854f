"""`make soak`: runs killed by kill -9 at random points go on, and end as the run that was never stopped, to the bit."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.killed_runs import CASES, KilledRun


def main() -> int:
    """Kill and compare until enough is done; say each kill, and how to see a failure again.

    Returns:
        1 where a run did not end as it should, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="divided over the cases in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the first kill; the others follow")
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument("--signal", default="SIGKILL", help="SIGUSR1 comes from a SLURM that is played")
    options = parser.parse_args()
    sent = signal.Signals[options.signal]
    names = [options.case] if options.case else list(CASES)
    folder = Path(tempfile.mkdtemp(prefix="medino-soak-"))
    runs: dict[str, KilledRun] = {}
    wrong, began = 0, time.monotonic()
    for number in range(options.kills):
        seed, name = options.seed + number, names[(options.seed + number) % len(names)]
        if name not in runs:
            runs[name] = KilledRun(folder, name)
        at, found = runs[name].kill_and_compare(seed, sent)
        verdict = "equal to the bit" if not found else "DIFFERS: " + "; ".join(found[:5])
        print(
            f"{number + 1:3} of {options.kills}  {time.monotonic() - began:5.0f} s  {name}: {at}: {verdict}", flush=True
        )
        if found:
            wrong += 1
            print(f"     again by: python -m tests.soak --kills 1 --case {name} --seed {seed}", flush=True)
    if wrong:
        print(f"{wrong} of {options.kills} killed runs did not end as they should; their folders are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{options.kills} killed runs went on and ended as the runs never stopped, to the bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
