"""`make fuzz`: thousands of real images broken by seed, each read or rejected in words; resumes where it stopped."""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from medino.data.workers import Workers, read_all
from tests.mutations import LIMITS, failed, mutations, outcome

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MEDINO_TEST_DATA", ROOT.parent / "shared" / "data"))


def main() -> int:
    """Read what is not in the output yet, print what should not be, and count the outcomes.

    Returns:
        1 where a reader failed, hung or quoted the file, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="mutations, whose seeds are 0, 1, ...")
    parser.add_argument("--seed", type=int, help="only this one, afresh")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "fuzz.jsonl", help="an outcome on each line")
    options = parser.parse_args()
    if not DATA.is_dir():
        print("the real images are not here: set MEDINO_TEST_DATA to their folder (docs/datasets.md)", file=sys.stderr)
        return 2
    if options.seed is not None:
        (only,) = mutations(DATA, range(options.seed, options.seed + 1))
        (told,) = read_all(outcome, [only], Workers(1, LIMITS), "mutation")
        print(f"{only.original.relative_to(DATA)}: {told}")
        return int(failed(told))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    outcomes = _kept(options.output)
    todo = [mutation for mutation in mutations(DATA, range(options.count)) if mutation.seed not in outcomes]
    with options.output.open("a", encoding="utf-8") as kept:
        answers = read_all(outcome, todo, Workers(options.workers, LIMITS), "mutations")
        for mutation, told in zip(todo, answers, strict=True):
            outcomes[mutation.seed] = told
            original = str(mutation.original.relative_to(DATA))
            print(json.dumps({"seed": mutation.seed, "original": original, "outcome": told}), file=kept, flush=True)
    wrong = {seed: told for seed, told in sorted(outcomes.items()) if failed(told)}
    for told, count in Counter(outcomes.values()).most_common():
        print(f"{count:6}  {told}")
    for seed, told in wrong.items():
        print(f"wrong: {told}\n  again by: python -m tests.fuzz --seed {seed}")
    print(f"{len(outcomes)} mutations, {len(wrong)} wrong; every outcome is in {options.output}")
    return int(bool(wrong))


def _kept(output: Path) -> dict[int, str]:
    """The outcomes of an earlier run; its last line may be half written."""
    outcomes: dict[int, str] = {}
    for line in output.read_text(encoding="utf-8").splitlines() if output.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        outcomes[int(row["seed"])] = str(row["outcome"])
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
