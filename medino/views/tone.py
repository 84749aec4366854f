"""One view on a CPU, changed in few passes over its pixels.

A pass costs as much as the arithmetic within it. Brightness and contrast are the same line for all values of a view,
and so they are kept as two numbers, together with the range that values are cut to, until something needs the values
themselves. What may come in between (saturation, hue, luma, blur) gives the same whether the line is applied before or
after it, since a colour that is scaled and shifted stays the same in hue, and luma and blur are means.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch

from medino.views.blur import blur_planes_
from medino.views.changes import Change
from medino.views.grey import add_noise_, adjust_gamma_
from medino.views.photometry import GREY_WEIGHTS, SOLARISE_THRESHOLD, ColourJitter, adjust_hue_, grey_of, solarise_
from medino.views.stain import log_mixing, mix_logs_


class Tone:
    """A view in [0, 1] as `scale * values + offset`, where values are cut to [low, high] before they are used.

    Args:
        values: (C, S, S) float32, used up; C is 1 or 3.
        scale: what the values are multiplied by to lie in [0, 1]; above 0.
    """

    def __init__(self, values: torch.Tensor, scale: float = 1.0) -> None:
        self.whole = self.values = values
        self.scale, self.offset = scale, 0.0
        self.low, self.high = -math.inf, math.inf

    def change_colours(self, change: Change) -> None:
        """Do to the view what comes between its stains and its blur."""
        if change.jitter is not None:
            self._jitter_colours(change.jitter)
        if change.gamma is not None:
            self._adjust_gamma(change.gamma)
        if change.greyscale and len(self.values) == 3:
            self.values[:1] = grey_of(self.settled())
            # One channel stands for three until all is done.
            self.values = self.values[:1]

    def change_after_blur(self, change: Change) -> None:
        """Do to the view what comes after its blur."""
        if change.solarise:
            white = (1 - 2 * self.offset) / self.scale
            solarise_(self.settled(), (SOLARISE_THRESHOLD - self.offset) / self.scale, white)
        if change.noise is not None:
            add_noise_(self.settled(), change.noise, 1 / self.scale)
            self._cut()
        if len(self.values) < len(self.whole):
            self.settled()
            self.whole[1:].copy_(self.values)
            self.values = self.whole

    def settled(self) -> torch.Tensor:
        """The values, cut to their range."""
        if self.low > -math.inf:
            self.values.clamp_(self.low, self.high)
        elif self.high < math.inf:
            self.values.clamp_max_(self.high)
        self.low, self.high = -math.inf, math.inf
        return self.values

    def applied(self) -> torch.Tensor:
        """The view itself, in [0, 1]."""
        values = self.settled()
        if (self.scale, self.offset) != (1, 0):
            values.mul_(self.scale).add_(self.offset)
            self.scale, self.offset = 1.0, 0.0
        return values

    def _cut(self, low: bool = True) -> None:
        """Cut to 1, and from 0 on unless nothing can lie below it."""
        self.high = min(self.high, (1 - self.offset) / self.scale)
        if low:
            self.low = max(self.low, -self.offset / self.scale)

    def mix_stains(self, mixing: torch.Tensor, offsets: torch.Tensor) -> None:
        """Jitter the stains of colours as `log_mixing` says, before all else."""
        mix_logs_(self.values[None], mixing[None], offsets[None], 1 / self.scale)
        self.scale = 1.0
        self._cut(low=False)

    def _adjust_gamma(self, gamma: float) -> None:
        adjust_gamma_(self.applied(), gamma)

    def _jitter_colours(self, jitter: ColourJitter) -> None:
        operations = (self._brighten, self._contrast, self._saturate, self._turn_hue)
        for number in jitter.order:
            operations[number](jitter.amounts[number])

    def _brighten(self, factor: float) -> None:
        self.scale *= factor
        self.offset *= factor
        if factor > 1:
            self._cut(low=False)

    def _contrast(self, factor: float) -> None:
        values = self.settled()
        # Row by row first: one long sum is split among threads, and its last bit would depend on how many there are.
        means = (values.sum(dim=-1).sum(dim=-1) / values[0].numel()).tolist()
        luma = means[0] if len(means) == 1 else sum(map(float.__mul__, means, GREY_WEIGHTS))
        self.offset += (1 - factor) * self.scale * luma
        self.scale *= factor
        if factor > 1:
            self._cut()

    def _saturate(self, factor: float) -> None:
        if len(self.values) == 3:
            self.settled().lerp_(grey_of(self.values), 1 - factor)
            if factor > 1:
                self._cut()

    def _turn_hue(self, turns: float) -> None:
        adjust_hue_(self.settled(), turns)


def change_tones(views: torch.Tensor, tones: Sequence[Tone], changes: Sequence[Change]) -> None:
    """Do to views all but laying them.

    Args:
        views: (n, C, S, S), the memory of the tones.
        tones: n views, all of one scale and as they were made.
        changes: what was drawn for each.
    """
    stained = [(tone, change.stain) for tone, change in zip(tones, changes, strict=True) if change.stain is not None]
    if stained:
        # For all at once, since these are many calls for few numbers.
        matrices, offsets = log_mixing([jitter for _, jitter in stained], 1 / tones[0].scale)
        for (tone, _), matrix, offset in zip(stained, matrices, offsets, strict=True):
            tone.mix_stains(matrix, offset)
    sigmas: dict[int, float] = {}
    for number, (tone, change) in enumerate(zip(tones, changes, strict=True)):
        tone.change_colours(change)
        if change.sigma is not None:
            first = number * views.shape[1]
            sigmas |= dict.fromkeys(range(first, first + len(tone.settled())), change.sigma)
    # All in one call, which costs as much as a small view.
    blur_planes_(views.flatten(0, 1), sigmas)
    for tone, change in zip(tones, changes, strict=True):
        tone.change_after_blur(change)


def normalised(
    views: torch.Tensor, tones: Sequence[Tone], factors: Sequence[float], offsets: Sequence[float]
) -> torch.Tensor:
    """Views times a factor and plus an offset for each of red, green and blue.

    Args:
        views: (n, 1 or 3, S, S), the memory of the tones.
        tones: n views.
        factors: three.
        offsets: three.

    Returns:
        (n, 3, S, S).
    """
    if views.shape[1] == 1:
        for tone in tones:
            tone.applied()
        result = views.new_empty(len(views), 3, *views.shape[2:])
        for place, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
            torch.add(torch.tensor(offset), views[:, 0], alpha=factor, out=result[:, place])
        return result
    for tone in tones:
        tone.settled()
    weights = torch.tensor([tone.scale * factor for tone in tones for factor in factors])
    lines = [(tone.offset, *line) for tone in tones for line in zip(factors, offsets, strict=True)]
    biases = torch.tensor([shift * factor + offset for shift, factor, offset in lines])
    # A batch norm's evaluation: all views and channels in one pass and one call.
    mean, variance = _mean_and_variance(len(weights))
    planes = views.view(1, -1, *views.shape[2:])
    return torch.batch_norm(planes, weights, biases, mean, variance, False, 0.0, 0.0, False).view_as(views)


@lru_cache(maxsize=8)
def _mean_and_variance(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Those of which a batch norm takes and divides nothing."""
    return torch.zeros(channels), torch.ones(channels)
