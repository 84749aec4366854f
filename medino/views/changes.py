"""What is done to a view after it is cut out, as drawn numbers, and doing it to a batch of views.

To draw is apart from to do: a loader's worker can draw and leave the doing to the device that trains.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

from medino.core import to_device
from medino.views.blur import gaussian_blur
from medino.views.geometry import lay
from medino.views.grey import Noise, add_noises_, adjust_gamma_
from medino.views.photometry import OPERATIONS, ColourJitter, amount_of, solarise_, to_greyscale_
from medino.views.stain import StainJitter, jitter_stains

T = TypeVar("T")


class Change(NamedTuple):
    """What is done to one view, in this order; nothing where a field has its default.

    Attributes:
        flip: swap left and right.
        turns: times 90 degrees, anticlockwise.
        stain: jitter of the stains.
        jitter: of brightness, contrast, saturation and hue.
        gamma: exponent.
        greyscale: replace the channels by the luma.
        sigma: of the blur, in pixels.
        solarise: invert what is bright.
        noise: white noise.
    """

    flip: bool = False
    turns: int = 0
    stain: StainJitter | None = None
    jitter: ColourJitter | None = None
    gamma: float | None = None
    greyscale: bool = False
    sigma: float | None = None
    solarise: bool = False
    noise: Noise | None = None


def lay_views(views: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """Flip and turn n square views (n, ..., S, S), in place."""
    for view, change in zip(views, changes, strict=True):
        if change.flip or change.turns:
            view.copy_(lay(view, change.flip, change.turns))
    return views


def change_views(views: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """Do to n views (n, C, S, S) in [0, 1] all but laying them, each operation to all views that it was drawn for.

    Returns:
        (n, C, S, S) in [0, 1]; `views` is used up.
    """
    views = stainable(views, changes)
    _together(views, _drawn(changes, "stain"), jitter_stains)
    _jitter_colours(views, _drawn(changes, "jitter"))
    _each(views, _drawn(changes, "gamma"), adjust_gamma_)
    _together(views, _drawn(changes, "greyscale"), lambda some, _: to_greyscale_(some))
    _together(views, _drawn(changes, "sigma"), gaussian_blur)
    _together(views, _drawn(changes, "solarise"), lambda some, _: solarise_(some))
    _together(views, _drawn(changes, "noise"), add_noises_)
    return views


def stainable(views: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """Views (n, C, S, S) with three channels where stains are to be jittered."""
    is_stained = views.shape[1] == 1 and any(change.stain is not None for change in changes)
    return views.repeat(1, 3, 1, 1) if is_stained else views


def _drawn(changes: Sequence[Change], name: str) -> dict[int, Any]:
    """What was drawn under a name, by the places of the views that it was drawn for."""
    values = ((place, getattr(change, name)) for place, change in enumerate(changes))
    return {place: value for place, value in values if value is not None and value is not False}


def _jitter_colours(views: torch.Tensor, jitters: Mapping[int, ColourJitter]) -> None:
    """The colour jitters, each in its own order: at each turn, the views whose turn it is for an operation."""
    for turn in range(max((len(jitter.order) for jitter in jitters.values()), default=0)):
        steps: dict[int, dict[int, float]] = {}
        for place, jitter in jitters.items():
            if turn < len(jitter.order):
                number = jitter.order[turn]
                steps.setdefault(number, {})[place] = jitter.amounts[number]
        for number, amounts in steps.items():
            _each(views, amounts, OPERATIONS[number])


def _together(
    views: torch.Tensor, drawn: Mapping[int, T], operation: Callable[[torch.Tensor, list[T]], torch.Tensor]
) -> None:
    """Replace some of the views by what an operation makes of them, all at once.

    Args:
        views: (n, C, S, S).
        drawn: what was drawn, by the places of the views.
        operation: takes some views and what was drawn for each.
    """
    if drawn:
        places = to_device(torch.tensor(list(drawn)), views.device)
        views.index_copy_(0, places, operation(views.index_select(0, places), list(drawn.values())))


def _each(
    views: torch.Tensor, drawn: Mapping[int, Any], operation: Callable[[torch.Tensor, Any], torch.Tensor]
) -> None:
    """Do an operation that works in place to some of the views, with an amount for each."""
    _together(views, drawn, lambda some, amounts: operation(some, amount_of(amounts, some.device)))
