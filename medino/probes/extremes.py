"""Which cases to look at: the worst, some in the middle and the best."""

from collections.abc import Sequence

import numpy as np

KINDS = ("worst", "middle", "best")


def extremes(values: Sequence[float], count: int) -> dict[str, list[int]]:
    """Places of the lowest values, of those in the middle and of the highest, each at most once and from low to high.

    Args:
        values: what the cases are judged by; higher is better.
        count: of each kind; a third of the cases at most.
    """
    order = np.argsort(np.asarray(values), kind="stable").tolist()
    each = min(count, -(-len(order) // 3))
    worst, rest = order[:each], order[each:]
    kept = max(len(rest) - each, 0)
    between, best = rest[:kept], rest[kept:]
    first = max((len(between) - each) // 2, 0)
    return dict(zip(KINDS, (worst, between[first : first + each], best), strict=True))
