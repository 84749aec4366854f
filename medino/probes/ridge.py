"""Ridge regression for continuous targets, the fits of many episodes at once in the span of their support sets.

The penalty, the weight of the squared weights against the summed squared errors for features of mean square length 1
(see `Span`), is chosen on the support set alone by exact leave-one-out of patients: the error of a unit that a fit did
not see is its residual divided by 1 - h, h being its leverage (Allen 1974, PRESS); the errors of a patient's several
units are (I - H)^-1 times their residuals, H being their part of the hat matrix. One patient can't be left out, and of
two units the other one alone predicts the same whatever the penalty; it is 1 then.
"""

import numpy as np
import torch

from medino.probes.span import Span

PENALTIES = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001)
"""The penalties that are tried, the strongest first."""

PRIOR_PENALTY = 1.0
"""Of one or two units, or one patient, between which leaving a patient out can't choose."""

ROUNDING = 1e-9
"""Share by which two losses may differ and be equal; of equal ones the strongest penalty is taken."""


def ridge(
    support: np.ndarray, values: np.ndarray, queries: np.ndarray, patients: np.ndarray | None = None
) -> np.ndarray:
    """Predict a value for each query.

    Args:
        support: (E, S, D) labelled vectors of E episodes.
        values: (E, S) their values.
        queries: (Q, D).
        patients: (E, S) integers: whose each support vector is; each another patient's if None.

    Returns:
        (E, Q) float64.
    """
    span = Span.of(support)
    known = torch.from_numpy(np.asarray(values, dtype=np.float64))
    owners = torch.arange(known.shape[1]).expand(known.shape) if patients is None else torch.as_tensor(patients)
    penalties = choose_penalty(span.coordinates, known, owners)
    weights = fit_ridge(span.coordinates, known, penalties[:, None])
    return span.outputs(queries, weights)[:, 0].numpy()


def choose_penalty(support: torch.Tensor, values: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
    """The penalty of least squared error on patients left out one by one; of equal ones the strongest.

    Args:
        support: (E, S, r + 1) coordinates along the principal axes of each support set, the last column 1.
        values: (E, S).
        patients: (E, S) integers.

    Returns:
        (E,) float64.
    """
    episodes, units = values.shape
    if units < 3:
        return torch.full((episodes,), PRIOR_PENALTY, dtype=values.dtype)
    penalties = torch.tensor(PENALTIES, dtype=values.dtype)
    weights = fit_ridge(support, values, penalties.expand(episodes, -1))
    residuals = values[:, None] - torch.einsum("esp,emp->ems", support, weights)
    squares = support[..., :-1] ** 2
    shrinkage = 1 / (squares.sum(dim=1)[:, None] + penalties[:, None])
    leverage = 1 / units + torch.einsum("esr,emr->ems", squares, shrinkage)
    errors = residuals / (1 - leverage)
    same = patients[:, :, None] == patients[:, None]
    one, repeated = same.all(dim=2).all(dim=1), same.sum(dim=(1, 2)) > units
    for episode in torch.nonzero(repeated & ~one)[:, 0]:
        axes = support[episode, :, :-1]
        hat = 1 / units + (axes * shrinkage[episode, :, None]) @ axes.T
        unseen = torch.eye(units, dtype=hat.dtype) - same[episode] * hat
        errors[episode] = torch.linalg.solve(unseen, residuals[episode])
    losses = (errors**2).sum(dim=2)
    equal = losses <= losses.min(dim=1, keepdim=True).values * (1 + ROUNDING)
    chosen = penalties[equal.to(torch.int8).argmax(dim=1)]
    return torch.where(one, PRIOR_PENALTY, chosen)


def fit_ridge(support: torch.Tensor, values: torch.Tensor, penalties: torch.Tensor) -> torch.Tensor:
    """Minimise `sum of squared errors + penalty * ||weights||^2`, M fits for each of E episodes.

    The axes are orthogonal, so that each weight has its own closed form (Hoerl and Kennard 1970).

    Args:
        support: (E, S, r + 1) coordinates along the principal axes of each support set, the last column 1.
        values: (E, S).
        penalties: (E, M) above 0.

    Returns:
        (E, M, r + 1) weights, the last one the intercept, which is not penalised.
    """
    axes, mean = support[..., :-1], values.mean(dim=1)
    along = torch.einsum("esr,es->er", axes, values - mean[:, None])
    weights = along[:, None] / ((axes**2).sum(dim=1)[:, None] + penalties[..., None])
    intercept = mean[:, None, None].expand(*penalties.shape, 1)
    return torch.cat([weights, intercept], dim=2)
