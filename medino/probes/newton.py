"""Multinomial logistic losses minimised by truncated Newton steps, the fits of many episodes at once.

Each step solves with the Hessian by conjugate gradients, preconditioned by its diagonal (along principal axes the
Hessian is nearly diagonal), and is shortened until the loss falls enough (Nocedal and Wright 2006, algorithm 7.1).
A fit is done when its loss is certain to be near its minimum: the penalty makes the loss strongly convex with modulus
1, so that half the squared gradient bounds what is left to gain.
"""

from dataclasses import dataclass

import torch

MAX_STEPS, MAX_CONJUGATE_STEPS, MAX_HALVINGS = 60, 50, 30

SUFFICIENT = 1e-4
"""Share of the promised decrease that a step must bring (Armijo)."""

LOOSEST = 0.1
"""Largest relative residual at which conjugate gradients stop; they are the more exact the nearer the minimum is."""

TIGHTEST = 1e-4

ROUNDING = 1e-13
"""Share of a loss that is rounding."""


@dataclass
class Fits:
    """What is still being fitted: the logistic losses of m fits in each of E episodes. Tensors are float64.

    Attributes:
        support: (E, S, P) vectors; the last column is 1, for the intercept, which is not penalised.
        targets: (S, 1, K) one-hot classes.
        costs: (E, S, m) weight of each vector's cross-entropy in each fit.
        weights: (E, P, m, K).
        logits: (E, S, m, K) of the support.
    """

    support: torch.Tensor
    targets: torch.Tensor
    costs: torch.Tensor
    weights: torch.Tensor
    logits: torch.Tensor

    def __post_init__(self) -> None:
        self.penalty = torch.ones(self.support.shape[2], 1, 1, dtype=self.support.dtype)
        self.penalty[-1] = 0

    def keep(self, kept: torch.Tensor) -> "Fits":
        """Those fits (m,) that go on."""
        return Fits(
            self.support, self.targets, self.costs[:, :, kept], self.weights[:, :, kept], self.logits[:, :, kept]
        )

    def moved(self, by: torch.Tensor, logits_by: torch.Tensor, length: torch.Tensor) -> "Fits":
        """The fits after steps of some length (E, m) each."""
        length = length[:, None, :, None]
        weights, logits = self.weights + length * by, self.logits + length * logits_by
        return Fits(self.support, self.targets, self.costs, weights, logits)

    def losses(self) -> torch.Tensor:
        """(E, m) summed cross-entropies plus half the squared weights."""
        cross_entropy = torch.logsumexp(self.logits, dim=-1) - (self.logits * self.targets).sum(dim=-1)
        squares = (self.penalty * self.weights**2).sum(dim=(1, 3))
        return (self.costs * cross_entropy).sum(dim=1) + squares / 2


def minimise_logistic(
    support: torch.Tensor, targets: torch.Tensor, costs: torch.Tensor, tolerance: float
) -> torch.Tensor:
    """Minimise `sum of cost * cross-entropy + ||weights||^2 / 2`, M fits for each of E episodes.

    Args:
        support: (E, S, P) float64, best along principal axes; the last column is 1, for the intercept, which is not
            penalised.
        targets: (S, K) one-hot classes.
        costs: (E, S, M) weight of each vector's cross-entropy in each fit.
        tolerance: a fit is done when what its loss may still fall is at most this share of the loss, and of what it
            fell already.

    Returns:
        (E, M, K, P) weights.
    """
    episodes, vectors, size = support.shape
    count, classes = costs.shape[2], targets.shape[1]
    result = support.new_zeros(episodes, size, count, classes)
    running = torch.arange(count)
    fits = Fits(
        support, targets[:, None, :], costs, result.clone(), support.new_zeros(episodes, vectors, count, classes)
    )
    square = support**2
    losses = fits.losses()
    start = losses
    for _ in range(MAX_STEPS):
        shares = fits.logits.softmax(dim=-1)
        gradient = apply(support.mT, fits.costs[..., None] * (shares - fits.targets)) + fits.penalty * fits.weights
        curved = fits.costs[..., None] * shares * (1 - shares)
        diagonal = fits.penalty + apply(square.mT, curved)
        # The intercept is not penalised; along it the loss is as curved as it is here.
        modulus = torch.where(fits.penalty > 0, fits.penalty, diagonal.clamp_min(ROUNDING))
        to_gain = (gradient**2 / modulus).sum(dim=(1, 3)) / 2
        # Of what was gained, too: with little weight on the vectors nearly all of a loss is there from the start.
        done = to_gain <= tolerance * torch.minimum(losses, start - losses)
        kept = ~done.all(dim=0)
        if not kept.all():
            result[:, :, running[~kept]] = fits.weights[:, :, ~kept]
            running, fits, start = running[kept], fits.keep(kept), start[:, kept]
            losses, to_gain, done = losses[:, kept], to_gain[:, kept], done[:, kept]
            gradient, diagonal, shares = gradient[:, :, kept], diagonal[:, :, kept], shares[:, :, kept]
        if not len(running):
            break
        by = _newton_direction(fits, shares, gradient, diagonal, (to_gain / losses).sqrt(), ~done)
        logits_by = apply(support, by)
        slope = (gradient * by).sum(dim=(1, 3))
        # A step of length 0 keeps a fit that is done where it is.
        length = (~done).to(support.dtype)
        for _ in range(MAX_HALVINGS):
            stepped = fits.moved(by, logits_by, length)
            new_losses = stepped.losses()
            accepted = new_losses <= losses + SUFFICIENT * length * slope + ROUNDING * losses
            if accepted.all():
                break
            length = torch.where(accepted, length, length / 2)
        fits, losses = stepped, new_losses
    result[:, :, running] = fits.weights
    return result.permute(0, 2, 3, 1)


def _newton_direction(
    fits: Fits,
    shares: torch.Tensor,
    gradient: torch.Tensor,
    diagonal: torch.Tensor,
    distance: torch.Tensor,
    active: torch.Tensor,
) -> torch.Tensor:
    """Solve `Hessian @ direction = -gradient` by preconditioned conjugate gradients, in float32.

    A direction need not be exact: loss and gradient, which are float64, decide where the next step starts.

    Args:
        fits: the m fits.
        shares: (E, S, m, K) their probabilities.
        gradient: (E, P, m, K).
        diagonal: (E, P, m, K) of the Hessian.
        distance: (E, m) how far each fit is from its minimum; sets how exact the solution has to be.
        active: (E, m) the fits that are not done.

    Returns:
        The direction (E, P, m, K), float64.
    """
    support, shares, costs = fits.support.float(), shares.float(), fits.costs.float()[..., None]
    penalty, targets = fits.penalty.float(), fits.targets.float()
    rest = 1 - targets
    # Scaled to entries of at most 1, so that no square leaves float32's range.
    size_of_gradient = gradient.abs().amax(dim=(1, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    residual = -(gradient / size_of_gradient).float()
    inverse = diagonal.clamp_min(ROUNDING).reciprocal().float()
    direction = torch.zeros_like(residual)
    search = residual * inverse
    size = (residual * search).sum(dim=(1, 3))
    enough = size * distance.clamp(TIGHTEST, LOOSEST).float()
    for _ in range(MAX_CONJUGATE_STEPS):
        along = apply(support, search)
        turned = shares * (along - (shares * along).sum(dim=-1, keepdim=True))
        # Where a vector is nearly certain, its own class would be a difference of equal numbers: it is minus the rest.
        turned.mul_(rest)
        turned.addcmul_(targets, turned.sum(dim=-1, keepdim=True), value=-1)
        product = apply(support.mT, turned.mul_(costs)).add_(penalty * search)
        curvature = (search * product).sum(dim=(1, 3))
        length = torch.where(active & (curvature > 0), size / curvature, 0.0)[:, None, :, None]
        direction.addcmul_(length, search)
        residual.addcmul_(length, product, value=-1)
        scaled = residual * inverse
        new_size = (residual * scaled).sum(dim=(1, 3))
        active = active & (new_size > enough)
        if not active.any():
            break
        search = scaled.addcmul_(torch.where(active, new_size / size, 0.0)[:, None, :, None], search)
        size = new_size
    return direction * size_of_gradient


def apply(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Multiply (E, A, B) matrices with (E, B, m, K) vectors to (E, A, m, K)."""
    return torch.bmm(matrices, vectors.flatten(2)).unflatten(2, vectors.shape[2:])
