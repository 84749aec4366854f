"""The span of a support set: what the weights of a penalised linear model can be made of, and nothing else.

A minimiser of a loss of inner products plus half the squared weights lies in the span of the support vectors
(representer theorem, Kimeldorf and Wahba 1971), so that a fit has at most as many dimensions as there are vectors,
however wide the features are.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

NO_EXTENT = 1e-10
"""Share of the largest squared extent below which an axis is rounding."""


@dataclass(frozen=True, eq=False)
class Span:
    """The support sets of E episodes, centred by their mean and scaled to a mean square length of 1.

    One number scales all features of an episode, so that a strength of regularisation means the same for every
    backbone.

    Attributes:
        coordinates: (E, S, r + 1) float64, the support along its principal axes, the last column 1 for the intercept;
            r is the smaller of S and D.
        axes: (E, D, r) those axes.
        centre: (E, 1, D) the means.
        scale: (E, 1, 1) what they were divided by.
    """

    coordinates: torch.Tensor
    axes: torch.Tensor
    centre: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def of(cls, support: np.ndarray) -> "Span":
        """Take support sets apart.

        Args:
            support: (E, S, D).
        """
        vectors = torch.from_numpy(np.asarray(support, dtype=np.float64))
        centre = vectors.mean(dim=1, keepdim=True)
        vectors = vectors - centre
        scale = (vectors**2).sum(dim=2).mean(dim=1).sqrt()[:, None, None]
        scale = torch.where(scale > 0, scale, 1.0)
        vectors = vectors / scale
        if vectors.shape[1] <= vectors.shape[2]:
            squares, sides = torch.linalg.eigh(vectors @ vectors.mT)
            # Axes along which the support has no extent carry no weight; their direction is rounding.
            present = squares > NO_EXTENT * squares[:, -1:].clamp_min(torch.finfo(squares.dtype).tiny)
            inverse = torch.where(present, squares.clamp_min(torch.finfo(squares.dtype).tiny).rsqrt(), 0.0)
            axes = vectors.mT @ (sides * inverse[:, None, :])
        else:
            _, axes = torch.linalg.eigh(vectors.mT @ vectors)
        return cls(F.pad(vectors @ axes, (0, 1), value=1.0), axes, centre, scale)

    def outputs(self, queries: np.ndarray | torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """What linear models say of other vectors.

        Args:
            queries: (Q, D); best float64, where they are asked for often.
            weights: (E, ..., P) of models on `coordinates`.

        Returns:
            (E, ..., Q).
        """
        flat = weights.flatten(1, -2)
        # In the space of the features, so that each query is met once and not taken into every episode's span.
        directions = flat[..., :-1] @ self.axes.mT / self.scale
        offsets = flat[..., -1:] - directions @ self.centre.mT
        vectors = torch.as_tensor(queries, dtype=torch.float64)
        return (directions @ vectors.T + offsets).unflatten(1, weights.shape[1:-1])
