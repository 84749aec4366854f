"""The rows that curation writes: images left out, each with its reason, and pairs that show one thing."""

from dataclasses import dataclass

from medino.core import column, optional

CURATION_VERSION = 1
"""Schema version of the table of dropped images and of the report on leaks."""

UNREADABLE = "unreadable"
BLANK = "blank"
CLIPPED = "clipped"
EXACT = "exact duplicate"
NEAR = "near-duplicate"
BALANCE = "balance"
REASONS = {
    UNREADABLE: "can't be decoded",
    BLANK: "shows next to nothing",
    CLIPPED: "nearly all values at the ends of its range",
    EXACT: "the same pixels as an image that stays",
    NEAR: "the same picture as one that stays: copied, turned, mirrored, zoomed or encoded anew",
    BALANCE: "its cluster of features has more images than its share",
}
"""Why an image is left out, in the order in which the reasons are looked for."""


@dataclass(frozen=True)
class Dropped:
    """One image that curation left out."""

    sample_id: str = column("the manifest's sample id")
    reason: str = column("one of the REASONS")
    measure: float | None = optional("what was measured: contrast, share at the ends, or similarity")
    like: str | None = optional("sample id of the image that stays in its place")


@dataclass(frozen=True)
class Duplicate:
    """Two images that show one thing."""

    first: str = column("sample id")
    second: str = column("sample id")
    kind: str = column("exact duplicate or near-duplicate")
    similarity: float = column("correlation of their fine detail once one lies on the other; 1 for the same pixels")
    across_patients: bool = column("whether they belong to two patients")
    across_splits: bool = column("whether they lie in two splits")
