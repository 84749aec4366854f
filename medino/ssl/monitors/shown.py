"""The watched images shown to student and teacher, and what is measured of their answers."""

from typing import cast

import torch

from medino.ssl.centering import Center, sinkhorn_knopp
from medino.ssl.monitors.measures import mean_cosine, prototype_information, prototype_use, rankme, student_agreement
from medino.ssl.networks import Network
from medino.ssl.self_distillation import SelfDistillation

BATCH = 32
"""Images that are shown to the networks at once."""


@torch.no_grad()
def measures_of(
    core: SelfDistillation, pixels: torch.Tensor, device: torch.device, temperature: float
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the teacher makes of images, and how far the student agrees.

    Args:
        core: student and teacher, which are left as they were.
        pixels: (N, 3, S, S) float32.
        device: where the networks are.
        temperature: the teacher's at this step.

    Returns:
        The measures by name, and the teacher's class tokens (N, D) float32.
    """
    teacher, teacher_logits = _show(core.teacher, pixels, device)
    was_training = core.student.training
    core.student.eval()
    _, student_logits = _show(core.student, pixels, device)
    core.student.train(was_training)
    targets = _targets(core, teacher_logits, temperature)
    measures = {
        "rankme": rankme(teacher),
        "mean_cosine": mean_cosine(teacher),
        "prototype_information": prototype_information(targets),
        **prototype_use(targets),
        **student_agreement(targets, torch.softmax(student_logits / core.student_temperature, dim=1)),
    }
    return measures, teacher


@torch.no_grad()
def class_tokens(network: Network, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Class tokens (N, D) float32 of images (N, 3, S, S)."""
    return _show(network, pixels, device, head=False)[0]


def _show(
    network: Network, pixels: torch.Tensor, device: torch.device, head: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Class tokens (N, D) and the DINO head's logits (N, K) of all images, float32; without the head (N, 0)."""
    dtype = next(network.parameters()).dtype
    tokens: list[torch.Tensor] = []
    logits: list[torch.Tensor] = []
    for part in pixels.split(BATCH):
        seen = network.backbone(part.to(device, dtype)).class_token
        tokens.append(seen.float())
        logits.append(network.dino_head(seen).float() if head else seen.new_empty(len(seen), 0))
    return torch.cat(tokens), torch.cat(logits)


def _targets(core: SelfDistillation, logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """The teacher's probabilities (N, K) as the training makes them, of the sample alone."""
    if "dino" in core.centers:
        return cast(Center, core.centers["dino"]).targets(logits, temperature)
    return sinkhorn_knopp(logits, temperature)
