"""Otsu's threshold by its definition, for tests: every threshold is tried, and the best one taken."""

import numpy as np


def otsu_by_definition(values: np.ndarray) -> float:
    """The threshold of 256 in [0, 1] with the least variance within the two classes, weighted by their sizes."""
    thresholds = np.arange(1, 256) / 256

    def within(threshold: float) -> float:
        low, high = values[values < threshold], values[values >= threshold]
        return len(low) * np.var(low) + len(high) * np.var(high) if len(low) and len(high) else np.inf

    return float(min(thresholds, key=within))
