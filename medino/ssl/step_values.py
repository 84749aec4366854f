"""What is logged of a step, by the names under which figures and reports find it."""

import dataclasses
from typing import Any

import torch

from medino.ssl.distributed import all_reduce_mean
from medino.ssl.schedules import StepSettings
from medino.ssl.step_losses import StepLosses


def step_values(losses: StepLosses, settings: StepSettings, norms: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Losses, schedules and gradient norms of a training step; the losses are those of the batch of all processes."""
    # One collective for all terms.
    terms = all_reduce_mean(torch.stack([losses.total, *losses.terms.values()]))
    return {
        **{f"loss/{name}": term for name, term in zip(("total", *losses.terms), terms, strict=True)},
        **{f"schedule/{name}": value for name, value in dataclasses.asdict(settings).items()},
        **{f"gradient_norm/{name}": norm for name, norm in norms.items()},
    }


def validation_values(losses: StepLosses) -> dict[str, torch.Tensor]:
    """Losses of a batch that was not trained on."""
    return {f"validation/{name}": term for name, term in {"total": losses.total, **losses.terms}.items()}
