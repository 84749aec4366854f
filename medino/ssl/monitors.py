"""Numbers that show a collapse before the loss does. Pure functions of a batch."""

import torch

from medino.ssl.self_distillation import StepLosses


def rankme(features: torch.Tensor, epsilon: float = 1e-7) -> torch.Tensor:
    """Effective rank of features: `exp(-sum p log p)` of the normalised singular values p.

    RankMe (Garrido et al., ICML 2023), equations 1 and 2. It lies between 1 (all on one line) and the smaller side of
    the matrix, so that values of different batch sizes don't compare.

    Args:
        features: (B, D).
        epsilon: added to the normalised singular values, as in the paper.
    """
    singular_values = torch.linalg.svdvals(features.detach().float())
    shares = singular_values / singular_values.sum().clamp(min=torch.finfo(torch.float32).tiny) + epsilon
    return torch.exp(-(shares * shares.log()).sum())


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy in nats along the last dimension, zeros included."""
    return torch.special.entr(probabilities.detach().float()).sum(dim=-1)


def prototype_use(targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """How the teacher spreads a batch over its prototypes.

    Args:
        targets: (B, K) the teacher's probabilities.

    Returns:
        `prototypes_used`: how many prototypes are the first choice of an image; `target_entropy`: mean entropy of one
        image's targets, nats (0: sure of itself); `prototype_entropy`: entropy of the mean target, nats (0: collapsed
        to one prototype, log K: all alike).
    """
    return {
        "prototypes_used": targets.argmax(dim=1).unique().numel() * torch.ones((), device=targets.device),
        "target_entropy": entropy(targets).mean(),
        "prototype_entropy": entropy(targets.detach().float().mean(dim=0)),
    }


def teacher_health(losses: StepLosses) -> dict[str, torch.Tensor]:
    """Prototype use and RankMe of the teacher's class tokens in a step, over this process's part of the batch."""
    return {**prototype_use(losses.targets), "rankme": rankme(losses.teacher_class_tokens)}
