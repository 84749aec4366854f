"""Numbers that show a collapse before the loss does. Pure functions of a batch."""

import torch

from medino.ssl.step_losses import StepLosses


def rankme(features: torch.Tensor, epsilon: float = 1e-7) -> torch.Tensor:
    """Effective rank of features: `exp(-sum p log p)` of the normalised singular values p.

    RankMe (Garrido et al., ICML 2023), equations 1 and 2. It lies between 1 (all on one line) and the smaller side of
    the matrix, so that values of different batch sizes don't compare.

    Args:
        features: (B, D).
        epsilon: added to the normalised singular values, as in the paper.

    Returns:
        A number, float32; NaN where a feature is not finite, of which there are no singular values.
    """
    if not bool(features.isfinite().all()):
        return features.new_full((), torch.nan, dtype=torch.float32)
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
        to one prototype, log K: all alike). All NaN where a target is.
    """
    target_entropy = entropy(targets).mean()
    return {
        "prototypes_used": _unless_nan(target_entropy, targets.argmax(dim=1).unique().numel()),
        "target_entropy": target_entropy,
        "prototype_entropy": entropy(targets.detach().float().mean(dim=0)),
    }


def teacher_health(losses: StepLosses) -> dict[str, torch.Tensor]:
    """Prototype use and RankMe of the teacher's class tokens in a step, over this process's part of the batch."""
    return {**prototype_use(losses.targets), "rankme": rankme(losses.teacher_class_tokens)}


def prototype_information(targets: torch.Tensor) -> torch.Tensor:
    """What a prototype tells of its image, nats: the entropy of the mean target less the mean entropy of the targets.

    The mutual information of image and prototype. It is 0 where all images have the same targets, be it one prototype
    or all alike, and at most `log min(B, K)`: it needs no centring to be compared, as single prototypes do.

    Args:
        targets: (B, K) the teacher's probabilities.
    """
    targets = targets.detach().float()
    return entropy(targets.mean(dim=0)) - entropy(targets).mean()


def mean_cosine(features: torch.Tensor) -> torch.Tensor:
    """Mean cosine between the features of two different samples: 1 where all point one way.

    Args:
        features: (B, D), B at least 2.
    """
    directions = torch.nn.functional.normalize(features.detach().double(), dim=1)
    count = len(directions)
    # The sum over all pairs is the squared length of the sum; each sample with itself gives 1.
    return (directions.sum(dim=0).square().sum() - directions.square().sum()) / (count * (count - 1))


def linear_cka(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Likeness of two representations of the same samples, 0 to 1: linear centred kernel alignment.

    Kornblith et al., ICML 2019 (1905.00414), section 3: `|Y'X|^2 / (|X'X| |Y'Y|)` of the centred features, Frobenius
    norms. Turning, mirroring or scaling either as a whole changes nothing. With fewer samples than dimensions it is too
    high, and more so the fewer there are: values compare over the same samples only. NaN where all samples are one.

    Args:
        first: (B, D).
        second: (B, E), the same samples.
    """
    one, other = (part.detach().double() - part.detach().double().mean(dim=0) for part in (first, second))
    # By Gram matrices of the samples, (B, B): |Y'X|^2 = tr(XX' YY'), and B is smaller than D.
    one, other = one @ one.T, other @ other.T
    return (one * other).sum() / (one.norm() * other.norm())


def student_agreement(targets: torch.Tensor, student: torch.Tensor) -> dict[str, torch.Tensor]:
    """How far the student says what the teacher says of the same images.

    Args:
        targets: (B, K) the teacher's probabilities.
        student: (B, K) the student's.

    Returns:
        `agreement`: share of the images whose first choice is the same prototype; `agreement_cosine`: mean cosine of
        the two distributions. Both NaN where a probability is.
    """
    cosine = torch.nn.functional.cosine_similarity(targets.float(), student.float(), dim=1).mean()
    agreement = (targets.argmax(dim=1) == student.argmax(dim=1)).float().mean()
    return {"agreement": _unless_nan(cosine, agreement), "agreement_cosine": cosine}


def _unless_nan(measure: torch.Tensor, choices: torch.Tensor | float) -> torch.Tensor:
    """What was counted of first choices; NaN where another measure of them is: `argmax` chooses among NaN, too."""
    return torch.where(measure.isnan(), measure, choices)
