"""Published weights that have a name here: what they are, what they may be used for and where they come from."""

from difflib import get_close_matches

from medino.models.known.entries import KnownFile, KnownWeights
from medino.models.known.medical import MEDICAL
from medino.models.known.natural import NATURAL

KNOWN_WEIGHTS: dict[str, KnownWeights] = {entry.name: entry for entry in (*NATURAL, *MEDICAL)}
"""All entries by name."""


def close_names(name: str) -> list[str]:
    """The names that someone may have meant, best first; none where nothing is close."""
    spelt = {known.replace("_", "-"): known for known in KNOWN_WEIGHTS}
    wanted = name.lower().replace("_", "-")
    close = get_close_matches(wanted, spelt, n=3, cutoff=0.5)
    within = [short for short in spelt if wanted and (wanted in short or short in wanted)]
    return [spelt[short] for short in dict.fromkeys([*close, *within])][:3]


__all__ = ["KNOWN_WEIGHTS", "KnownFile", "KnownWeights", "close_names"]
