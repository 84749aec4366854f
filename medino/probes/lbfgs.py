"""L-BFGS for a batch of small smooth convex problems: each has its own step and history, all are evaluated together."""

from collections.abc import Callable

import torch

Evaluate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""From points (B, N) to losses (B,) and gradients (B, N)."""

HISTORY = 8
MAX_STEPS = 200
MAX_HALVINGS = 12
NOTHING = 1e-11
"""A gradient entry this small is rounding: the problem started at its minimum."""

SUFFICIENT = 1e-4
"""Share of the promised decrease that a step must bring (Armijo)."""


def minimise(evaluate: Evaluate, start: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Minimise B problems.

    Args:
        evaluate: losses and gradients of all problems at a point each.
        start: (B, N) where they start.
        tolerance: a problem is done when its largest gradient entry has fallen to this share of the first one's.

    Returns:
        (B, N) where they ended, after at most 200 steps.
    """
    point = start
    loss, gradient = evaluate(point)
    enough = (tolerance * gradient.abs().amax(dim=1)).clamp_min(NOTHING)
    pairs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for _ in range(MAX_STEPS):
        done = gradient.abs().amax(dim=1) <= enough
        if done.all():
            break
        direction = -_apply_inverse_hessian(gradient, pairs)
        slope = _dot(direction, gradient)
        # A step of length 0 keeps a problem that is done where it is.
        length = (~done).to(point.dtype)
        for _ in range(MAX_HALVINGS):
            new_point = point + length[:, None] * direction
            new_loss, new_gradient = evaluate(new_point)
            accepted = new_loss <= loss + SUFFICIENT * length * slope
            accepted |= done
            if accepted.all():
                break
            length = torch.where(accepted, length, length / 2)
        moved, turned = new_point - point, new_gradient - gradient
        curvature = _dot(moved, turned)
        inverse = torch.where(curvature > 0, 1 / curvature, torch.zeros_like(curvature))
        pairs = [*pairs[-(HISTORY - 1) :], (moved, turned, inverse)]
        point, loss, gradient = new_point, new_loss, new_gradient
    return point


def _dot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(B,) inner products."""
    return (left * right).sum(dim=1)


def _apply_inverse_hessian(
    gradient: torch.Tensor, pairs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """The two-loop recursion (Nocedal and Wright, algorithm 7.4); a pair whose third entry is 0 counts for nothing."""
    result = gradient.clone()
    shares = []
    for moved, turned, inverse in reversed(pairs):
        share = inverse * _dot(moved, result)
        result -= share[:, None] * turned
        shares.append(share)
    if pairs:
        moved, turned, inverse = pairs[-1]
        scale = torch.where(inverse > 0, _dot(moved, turned) / _dot(turned, turned), torch.ones_like(inverse))
        result *= scale[:, None]
    for (moved, turned, inverse), share in zip(pairs, reversed(shares), strict=True):
        result += (share - inverse * _dot(turned, result))[:, None] * moved
    return result
