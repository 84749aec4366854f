"""Lays one image of a pair on the other, by a turn, a zoom and a shift, and says how alike their fine detail is.

Coarse likeness proves nothing: all chest radiographs look alike. What two patients never share is the fine detail, so
that images are compared in a band of frequencies above that of anatomy, and only after they lie on each other to a
fraction of a pixel.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

BAND = (1.5 / 256, 6 / 256)
"""Standard deviations of the two Gaussians between which detail is looked for, as shares of the side; at least
`FINEST` pixels. Measured on the Shenzhen radiographs at 256 pixels: of the most alike pairs of patients, none
correlates by more than .71 in this band, and up to .97 without one."""

FINEST = (0.7, 3.0)

LEAST_OVERLAP = 0.4
"""Share of the inscribed circle in which both images have to have pixels."""

_DAMPING = 1e-2
_LARGEST_STEP = 0.1


@dataclass(frozen=True)
class Placement:
    """How the first images of P pairs are laid on the second ones.

    A place p of the first image, centre 0 and edges 1, lies at `turn(start p) + shift` of the second.

    Attributes:
        start: (P, 2, 2) turn, mirroring and zoom to start from.
        turn: (P, 2) the further turn and zoom, as real and imaginary part of one complex factor.
        shift: (P, 2) in x and y.
    """

    start: torch.Tensor
    turn: torch.Tensor
    shift: torch.Tensor

    @classmethod
    def at(cls, start: np.ndarray) -> "Placement":
        """Centre on centre, by matrices (P, 2, 2)."""
        count = len(start)
        ones = torch.tensor([1.0, 0.0]).repeat(count, 1)
        return cls(torch.from_numpy(start.astype(np.float32)), ones, torch.zeros(count, 2))

    def matrices(self) -> torch.Tensor:
        """(P, 2, 3) as `affine_grid` takes them."""
        real, imaginary = self.turn.unbind(1)
        turn = torch.stack([torch.stack([real, -imaginary], 1), torch.stack([imaginary, real], 1)], 1)
        return torch.cat([turn @ self.start, self.shift[:, :, None]], 2)

    def select(self, chosen: np.ndarray) -> "Placement":
        """The placements of some pairs."""
        return Placement(self.start[chosen], self.turn[chosen], self.shift[chosen])


def aligned(first: torch.Tensor, second: torch.Tensor, start: Placement, blur: float, steps: int) -> Placement:
    """Better placements by Gauss-Newton on the squared difference of the normalised images (Lucas and Kanade, 1981).

    Args:
        first: (P, S, S) float32.
        second: (P, S, S) float32.
        start: where to start from; it finds its way over some 10 degrees and some pixels of the blur.
        blur: standard deviation of a Gaussian that both are smoothed with, pixels.
        steps: how many steps.
    """
    side = first.shape[-1]
    x, y = _places(side)
    at = torch.einsum("pij,jhw->pihw", start.start, torch.stack([x, y]))
    first, second = _smoothed(first, blur), _smoothed(second, blur)
    rows, columns = torch.gradient(second, dim=(1, 2))
    stack = torch.stack([second, columns * side / 2, rows * side / 2], 1)
    placement = start
    for _ in range(steps):
        moved, inside = _moved(stack, placement)
        reference, _ = _normalised(first, inside)
        shown, deviation = _normalised(moved[:, 0], inside)
        across, down = moved[:, 1] / deviation, moved[:, 2] / deviation
        slopes = torch.stack(
            [across * at[:, 0] + down * at[:, 1], down * at[:, 0] - across * at[:, 1], across, down], 1
        )
        slopes = (slopes * inside[:, None]).flatten(2)
        normal = slopes @ slopes.transpose(1, 2)
        normal = normal + torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * _DAMPING + 1e-6)
        residual = ((reference - shown) * inside).flatten(1)[:, :, None]
        step = torch.linalg.solve(normal, slopes @ residual)[:, :, 0].clamp(-_LARGEST_STEP, _LARGEST_STEP)
        placement = replace(placement, turn=placement.turn + step[:, :2], shift=placement.shift + step[:, 2:])
    return placement


def likeness(first: torch.Tensor, second: torch.Tensor, placement: Placement) -> np.ndarray:
    """Correlation of the fine detail of (P, S, S) images where both have pixels; 0 where that is too little.

    Returns:
        (P,) float64 from -1 to 1.
    """
    fine, coarse = (max(least, share * first.shape[-1]) for least, share in zip(FINEST, BAND, strict=True))
    detail = [_smoothed(images, fine) - _smoothed(images, coarse) for images in (first, second)]
    moved, inside = _moved(detail[1][:, None], placement)
    reference, _ = _normalised(detail[0], inside)
    shown, _ = _normalised(moved[:, 0], inside)
    count = inside.sum((1, 2)).clamp(min=1)
    x, y = _places(first.shape[-1])
    enough = count >= LEAST_OVERLAP * (x**2 + y**2 < 1).sum()
    correlation = (reference * shown * inside).sum((1, 2)) / count
    return torch.where(enough, correlation, torch.zeros(())).double().numpy()


def _places(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of each pixel's centre, from -1 to 1."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


def _moved(stack: torch.Tensor, placement: Placement) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (P, C, S, S) as they lie on the first ones, and (P, S, S) where there are pixels inside the circle."""
    side = stack.shape[-1]
    grid = F.affine_grid(placement.matrices(), [len(stack), 1, side, side], align_corners=False)
    x, y = _places(side)
    inside = ((grid.abs() < 1).all(-1) & (x**2 + y**2 < 1)).float()
    return F.grid_sample(stack, grid, padding_mode="border", align_corners=False), inside


def _normalised(images: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images with mean 0 and deviation 1 inside, and the deviation (P, 1, 1)."""
    count = inside.sum((1, 2), keepdim=True).clamp(min=1)
    centred = images - (images * inside).sum((1, 2), keepdim=True) / count
    deviation = ((centred**2 * inside).sum((1, 2), keepdim=True) / count).sqrt().clamp(min=1e-6)
    return centred / deviation, deviation


def _smoothed(images: torch.Tensor, deviation: float) -> torch.Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, deviation, deviation), mode="nearest"))
