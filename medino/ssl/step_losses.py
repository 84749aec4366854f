"""What the teacher says of a batch, and what a training step computes of it, before anything of the state changes."""

from dataclasses import dataclass, field

import torch

from medino.models import SelectedTokens, Tokens
from medino.ssl.centering import write_offset_targets
from medino.ssl.prototypes import BeforePrototypes, Targets

CROSS_ENTROPIES = ("dino_local", "dino_global", "ibot")
"""The loss terms in which the student answers the teacher."""


@dataclass(frozen=True)
class StepLosses:
    """What one step computed; nothing of the state has changed yet.

    Attributes:
        total: the loss; gradients flow through it, once.
        terms: what is added to the total, by name, weights included; no gradients flow through these.
        center_means: global mean logits (1, K) that the EMA centres are to move to, by head.
        teacher_class_tokens: (2b, D), for monitors.
        targets: (2b, K), the teacher's probabilities, for monitors.
        queued: (2b, D) class tokens of the global crops that the queues are to take in, by queue.
        sample_ids: of the images, (b).
    """

    total: torch.Tensor
    terms: dict[str, torch.Tensor]
    center_means: dict[str, torch.Tensor]
    teacher_class_tokens: torch.Tensor = field(repr=False)
    targets: torch.Tensor = field(repr=False)
    queued: dict[str, torch.Tensor] = field(repr=False)
    sample_ids: list[str] = field(repr=False)

    @property
    def cross_entropy(self) -> torch.Tensor:
        """The part of the loss in which the student answers the teacher, without regularisers."""
        return torch.stack([term for name, term in self.terms.items() if name in CROSS_ENTROPIES]).sum()


@dataclass(frozen=True)
class Taught:
    """What the teacher says of a batch.

    Attributes:
        tokens: of the global crops; all of them, or those that the losses look at.
        probabilities: (2b, K), the targets of class tokens.
        patch_targets: "ibot", the targets of masked patches, where there is an iBOT loss.
        center_means: see `StepLosses`; of all micro-batches together.
        class_hidden: (2b, d), what the class tokens' scores are made of.
        unmasked_crops: see `unmasked_crops`; None without anchoring.
    """

    tokens: Tokens | SelectedTokens
    probabilities: torch.Tensor
    patch_targets: dict[str, Targets]
    center_means: dict[str, torch.Tensor]
    class_hidden: torch.Tensor
    unmasked_crops: torch.Tensor | None


def targets_of(answers: BeforePrototypes, temperature: float, offset: torch.Tensor) -> Targets:
    """The teacher's targets of some tokens, made where they are asked for: all of them at once would be too large.

    Args:
        answers: the teacher's, of these tokens.
        temperature: of this step.
        offset: what is taken from each prototype's score, see `write_offset_targets`.
    """
    device = answers.hidden.device.type
    # Asked for where autocast may be off: scores are those that the offset was made of.
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def write(rows: slice, out: torch.Tensor) -> None:
        with torch.no_grad(), torch.autocast(device, dtype=dtype, enabled=enabled):
            answers.write_scores(rows, out)
            write_offset_targets(out, temperature, offset)

    return write


def masked_patches(tokens: Tokens | SelectedTokens, masks: torch.Tensor) -> torch.Tensor:
    """The patches at the masked places, (M, D), in the order of `masks.nonzero()`: the selected ones are these."""
    return tokens.patches if isinstance(tokens, SelectedTokens) else tokens.patches.flatten(1, 2)[masks]
