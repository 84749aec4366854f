"""When features have collapsed: a few checks in a row under a threshold that says so."""

from dataclasses import dataclass, field
from typing import Any

from medino.core import InputError

RANK_SHARE = 0.25
"""Of the highest RankMe so far, the start's included; below, the features have lost three of four directions.

Relative, as RankMe's highest possible value, the smaller of images and width, is never near. Adapting to a narrower
domain costs rank, too: half of it is no collapse. Numbers of runs that went well and did not: docs/watching.md."""

LEAST_INFORMATION = 0.01
"""Nats that the teacher's targets have to tell of an image, of some 5 that they could (the logarithm of the images in
the sample); below, they are the same for all images. Where training went well it was .1 at once and .5 later."""

LEAST_USE = 0.05
"""Share of the prototypes that could be some image's first choice (the smaller of images and prototypes) and are; with
a centre that never moved it was .03, 2 of 64, where training went well .3."""

PROTOTYPES_FROM = 0.25
"""Share of the run from which on prototypes are judged: heads are new at the start, and may say nothing yet."""

PATIENCE = 3
"""Checks in a row: one bad check can be the unlucky moment of a healthy run."""


@dataclass
class CollapseDetector:
    """Decides from checks, one after the other, whether a training has collapsed.

    Attributes:
        rank_share: RankMe is too low below this share of its highest value so far.
        least_information: of the prototypes about an image, nats.
        least_use: share of the possible prototypes that are some image's first choice.
        patience: checks in a row that have to be bad.
        highest_rank: RankMe's highest value so far.
        bad_checks: how many bad ones the last checks were.
    """

    rank_share: float = RANK_SHARE
    least_information: float = LEAST_INFORMATION
    least_use: float = LEAST_USE
    patience: int = PATIENCE
    highest_rank: float = field(default=0.0, init=False)
    bad_checks: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.rank_share < 1:
            raise InputError(f"rank_share is {self.rank_share}; give the share of the highest RankMe, from 0 below 1")
        if not 0 <= self.least_use < 1:
            raise InputError(f"least_use is {self.least_use}; give the share of the prototypes, from 0 below 1")
        if self.least_information < 0 or self.patience < 1:
            raise InputError(
                f"least_information is {self.least_information} and patience {self.patience}; give 0 or more nats and "
                "1 check or more"
            )

    def update(self, rank: float, information: float, use: float, progress: float) -> str | None:
        """Take a check into account.

        Args:
            rank: RankMe; NaN where features are not finite, which is no better than collapsed.
            information: of the prototypes about an image, nats.
            use: share of the possible prototypes that are some image's first choice.
            progress: share of the run that is done.

        Returns:
            What is wrong, in words, where the run should stop.
        """
        self.highest_rank = max(self.highest_rank, rank)
        problem = None
        if not rank >= self.rank_share * self.highest_rank:
            problem = (
                f"RankMe is {rank:.1f}, below {self.rank_share:g} of its highest ({self.highest_rank:.1f}): "
                "all images look more and more alike to the backbone"
            )
        elif not information >= self.least_information and progress >= PROTOTYPES_FROM:
            problem = (
                f"the prototypes tell {max(information, 0.0):.4f} nats of an image, below {self.least_information:g}: "
                "the targets are the same for all images"
            )
        elif use < self.least_use and progress >= PROTOTYPES_FROM:
            problem = (
                f"{use:.3f} of the prototypes that could be an image's first choice are, below {self.least_use:g}: "
                "the targets know a few kinds of image only"
            )
        self.bad_checks = 0 if problem is None else self.bad_checks + 1
        return problem if self.bad_checks >= self.patience else None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in ("highest_rank", "bad_checks")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the run was."""
        for name, value in state.items():
            setattr(self, name, value)
