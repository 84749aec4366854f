"""One view on a CPU, changed in few passes over its pixels.

A pass costs as much as the arithmetic within it. Brightness and contrast are the same line for all values of a view,
and so they are kept as two numbers, together with the range that values are cut to, until something needs the values
themselves. What may come in between (saturation, hue, luma, blur) gives the same whether the line is applied before or
after it, since a colour that is scaled and shifted stays the same in hue, and luma and blur are means. Stains,
saturation and hue are one product each of a small matrix and the channels of a pixel. All is done in the same memory
for one view after the other, so that it stays in the processor's cache.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from medino.views.blur import blur_
from medino.views.changes import Change
from medino.views.geometry import lay
from medino.views.grey import add_noise_, adjust_gamma_
from medino.views.photometry import (
    GREY_WEIGHTS,
    SOLARISE_THRESHOLD,
    ColourJitter,
    grey_of,
    hue_mixing,
    log_,
    order_channels,
    saturation_mixing,
    solarise_,
)
from medino.views.resample import transpose_into
from medino.views.stain import DARKEST, log_mixing

STRIP = 1 << 14
"""Pixels that are multiplied at once. NumPy's BLAS splits larger products among threads, but a worker has one core."""


class Planes:
    """Memory in which a view is made: its channels, and a plane that can be mixed with them.

    Attributes:
        colours: (3, S, S) float32.
        array: (4, S, S), the same and one more, as NumPy has them, whose calls cost half of torch's.
        flat: (4, S * S), the same.
    """

    def __init__(self, planes: torch.Tensor) -> None:
        self.colours, self.array = planes[:3], planes.numpy()
        self.flat = self.array.reshape(4, -1)


Memory = tuple[Planes, Planes, torch.Tensor]
"""Where a view is made, where products are written, and two more planes (2, S, S)."""


class Tone:
    """A view in [0, 1] as `scale * values + offset`, where values are cut to [low, high] before they are used.

    Args:
        view: (C, S, S), 8 bits or float32; C is 1 or 3.
        change: what is done to it.
        memory: where it is made.
        scale: what the view is multiplied by to lie in [0, 1]; above 0.
    """

    def __init__(self, view: torch.Tensor, change: Change, memory: Memory, scale: float) -> None:
        self.planes, self.spare, self.ends = memory
        self.values = self.planes.colours[: len(view) if change.stain is None else 3]
        self.scale, self.offset = scale, 0.0
        self.low, self.high = -math.inf, math.inf
        self.change = change
        laid = lay(view, change.flip, change.turns)
        lies_across = laid.stride(-1) != 1
        # To swap rows and columns costs nothing within a blur, and what comes before it doesn't ask how the view lies.
        self.transpose_late = lies_across and change.sigma is not None
        if lies_across and not self.transpose_late:
            transpose_into(self.values, laid.mT)
        else:
            self.values.copy_(laid.mT if lies_across else laid)

    def change_stains(self, mixing: np.ndarray) -> None:
        """Jitter the stains as `log_mixing` says, before all else."""
        log_(self.values.clamp_min_(DARKEST / self.scale))
        self.planes.array[3] = 1
        self._mix(mixing)
        self.values.exp2_()
        self.scale = 1.0
        self._cut(low=False)

    def change_rest(self) -> None:
        """Do to the view all that comes after its stains."""
        change = self.change
        if change.jitter is not None:
            self._jitter_colours(change.jitter)
        if change.gamma is not None:
            adjust_gamma_(self.applied(), change.gamma)
        if change.greyscale:
            # One channel stands for three until all is done.
            self.values = grey_of(self.settled())
        if change.sigma is not None:
            blurred = self.settled().numpy()
            blur_(blurred, change.sigma, self.spare.array[: len(blurred)], self.transpose_late)
        if change.solarise:
            white = (1 - 2 * self.offset) / self.scale
            solarise_(self.settled(), (SOLARISE_THRESHOLD - self.offset) / self.scale, white)
        if change.noise is not None:
            add_noise_(self.settled(), change.noise, 1 / self.scale)
            self._cut()

    def write(self, result: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> None:
        """Write the view times a factor and plus an offset for each channel, both (3, 1, 1), to `result` (3, S, S)."""
        np.multiply(self.settled().numpy(), self.scale * factors, out=result)
        result += self.offset * factors + offsets

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

    def _mix(self, mixing: np.ndarray) -> None:
        """Multiply the channels of each pixel, as a column, by a (3, 3 or 4) matrix; the fourth is not kept."""
        channels, mixed = self.planes.flat[: mixing.shape[1]], self.spare.flat[:3]
        for start in range(0, mixed.shape[1], STRIP):
            # NumPy's product takes half of the time of torch's for so few rows.
            np.matmul(mixing, channels[:, start : start + STRIP], out=mixed[:, start : start + STRIP])
        self.planes, self.spare = self.spare, self.planes
        self.values = self.planes.colours

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
        values = self.settled().numpy()
        # By NumPy, which does not split sums among threads: the last bit would depend on how many there are.
        means = (np.einsum("chw->c", values) / values[0].size).tolist()
        luma = means[0] if len(means) == 1 else sum(map(float.__mul__, means, GREY_WEIGHTS))
        self.offset += (1 - factor) * self.scale * luma
        self.scale *= factor
        if factor > 1:
            self._cut()

    def _saturate(self, factor: float) -> None:
        if len(self.values) == 3:
            self.settled()
            self._mix(saturation_mixing(factor))
            if factor > 1:
                self._cut()

    def _turn_hue(self, turns: float) -> None:
        if len(self.values) == 3:
            self.settled()
            darkest, brightest = self.ends
            *colours, median = self.planes.array
            order_channels(colours, darkest.numpy(), median, brightest.numpy(), np)
            self._mix(hue_mixing(turns))
            torch.clamp(self.values, darkest, brightest, out=self.values)


def change_one_by_one(
    views: Iterable[torch.Tensor],
    changes: Sequence[Change],
    size: int,
    scale: float,
    factors: Sequence[float],
    offsets: Sequence[float],
) -> torch.Tensor:
    """Lay and change views as was drawn for them, then multiply and shift their red, green and blue.

    Args:
        views: n times (1 or 3, size, size), 8 bits or float32, taken one after the other.
        changes: what was drawn for each.
        size: side of the views, in pixels.
        scale: what the views are multiplied by to lie in [0, 1].
        factors: three.
        offsets: three.

    Returns:
        (n, 3, size, size) float32.
    """
    result = torch.empty(len(changes), 3, size, size)
    first, second, ends = torch.empty(10, size, size).split_with_sizes((4, 4, 2))
    memory = Planes(first), Planes(second), ends
    lines = [np.array(numbers, np.float32)[:, None, None] for numbers in (factors, offsets)]
    stains = [change.stain for change in changes if change.stain is not None]
    # For all at once, since these are many calls for few numbers.
    mixings = iter(log_mixing(stains, 1 / scale)) if stains else iter(())
    for view, change, place in zip(views, changes, result.numpy(), strict=True):
        tone = Tone(view, change, memory, scale)
        if change.stain is not None:
            tone.change_stains(next(mixings))
        tone.change_rest()
        tone.write(place, *lines)
    return result
