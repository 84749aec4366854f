"""The objective without a trainer: student, teacher, centres, and what one step computes of them. Torch only."""

import copy
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import nn

from medino.ssl.anchoring import Anchor, Anchoring
from medino.ssl.batch import PretrainingBatch
from medino.ssl.centering import Center, global_mean, sinkhorn_knopp
from medino.ssl.heads_first import held_tokens
from medino.ssl.losses import dino_losses, ibot_loss, koleo_loss
from medino.ssl.networks import Network
from medino.ssl.parameter_groups import Objective, is_in_backbone

Centering = Literal["centering", "sinkhorn_knopp"]
"""How the teacher's targets are kept from collapse: EMA centre or Sinkhorn-Knopp."""

CROSS_ENTROPIES = ("dino_local", "dino_global", "ibot")
"""The loss terms in which the student answers the teacher."""


@dataclass(frozen=True)
class StepLosses:
    """What one step computed; nothing of the state has changed yet.

    Attributes:
        terms: the terms that are added, by name, weights included.
        center_means: global mean logits (1, K) that the EMA centres are to move to, by head.
        teacher_class_tokens: (2b, D), for monitors.
        targets: (2b, K), the teacher's probabilities, for monitors.
    """

    terms: dict[str, torch.Tensor]
    center_means: dict[str, torch.Tensor]
    teacher_class_tokens: torch.Tensor = field(repr=False)
    targets: torch.Tensor = field(repr=False)

    @property
    def total(self) -> torch.Tensor:
        """The loss."""
        return torch.stack(list(self.terms.values())).sum()

    @property
    def cross_entropy(self) -> torch.Tensor:
        """The part of the loss in which the student answers the teacher, without regularisers."""
        return torch.stack([term for name, term in self.terms.items() if name in CROSS_ENTROPIES]).sum()


class SelfDistillation(nn.Module):
    """A student that learns to say what its own moving average, the teacher, says of other views.

    Args:
        student: the network that is trained; the teacher starts as its copy, and shares with it what is frozen.
        objective: "dinov2" (DINO + iBOT + KoLeo) or "dino" (DINO v1: the DINO loss alone, nothing masked).
        centering: "centering" or "sinkhorn_knopp".
        center_momentum: of the EMA centres.
        student_temperature: divides the student's logits.
        dino_weight: weight of the DINO loss.
        ibot_weight: weight of the iBOT loss.
        koleo_weight: weight of the KoLeo regulariser.
        anchor: distances to the starting model, which are added to the loss.
    """

    def __init__(
        self,
        student: Network,
        *,
        objective: Objective = "dinov2",
        centering: Centering = "centering",
        center_momentum: float = 0.9,
        student_temperature: float = 0.1,
        dino_weight: float = 1.0,
        ibot_weight: float = 1.0,
        koleo_weight: float = 0.1,
        anchor: Anchor | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        # A frozen parameter is its own average: copying refers to it, and a second backbone is not held in memory.
        frozen = {id(parameter): parameter for parameter in student.parameters() if not parameter.requires_grad}
        self.teacher = copy.deepcopy(student, frozen).requires_grad_(False).eval()
        self.anchoring = None if anchor is None else Anchoring(anchor, student.backbone)
        self.objective = objective
        self.centering = centering
        self.student_temperature = student_temperature
        self.weights = {"dino": dino_weight, "ibot": ibot_weight, "koleo": koleo_weight}
        self.centers = nn.ModuleDict()
        if centering == "centering":
            heads = {"dino": student.dino_head}
            if objective == "dinov2":
                heads["ibot"] = student.patch_head
            for name, head in heads.items():
                self.centers[name] = Center(head.last_layer.weight_v.shape[0], center_momentum)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the student; the teacher never leaves evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    @property
    def student_parts(self) -> dict[str, nn.Module]:
        """The student's backbone and heads: what is clipped on its own."""
        return dict(self.student.named_children())

    def compute_losses(
        self,
        batch: PretrainingBatch,
        teacher_temperature: float,
        generator: torch.Generator | None = None,
        backbone_is_held: bool = False,
    ) -> StepLosses:
        """The loss terms of a batch. Changes no state.

        Args:
            batch: crops and masks.
            teacher_temperature: of this step.
            generator: draws the student's drop path.
            backbone_is_held: both backbones are still the same, and the student's is within `heads_first.held`.
        """
        masks = batch.masks if self.objective == "dinov2" else None
        with torch.no_grad():
            teacher_tokens = self.teacher.backbone(batch.global_crops)
            teacher_logits = {"dino": self.teacher.dino_head(teacher_tokens.class_token)}
            if masks is not None:
                patches = teacher_tokens.patches.flatten(1, 2)[masks]
                teacher_logits["ibot"] = self.teacher.patch_head(patches)
            targets = {
                name: self._targets(name, logits, teacher_temperature) for name, logits in teacher_logits.items()
            }
            means = {name: global_mean(teacher_logits[name]) for name in self.centers}

        if backbone_is_held:
            student_tokens = held_tokens(self.student.backbone, batch, masks, teacher_tokens)
        else:
            crops, crop_masks = [batch.global_crops], [masks]
            if len(batch.local_crops):
                crops.append(batch.local_crops)
                crop_masks.append(None)
            student_tokens = self.student.backbone.forward_crops(crops, crop_masks, generator)
        class_tokens = torch.cat([tokens.class_token for tokens in student_tokens])
        student_global, student_local = self.student.dino_head(class_tokens).tensor_split([2 * batch.batch_size])
        local_term, global_term = dino_losses(
            student_global, student_local, targets["dino"], batch.batch_size, self.student_temperature
        )
        terms = {"dino_local": self.weights["dino"] * local_term, "dino_global": self.weights["dino"] * global_term}
        if masks is not None:
            logits = self.student.patch_head(student_tokens[0].patches.flatten(1, 2)[masks])
            ibot = ibot_loss(logits, targets["ibot"], masks, self.student_temperature)
            first, second = student_tokens[0].class_token.chunk(2)
            terms["ibot"] = self.weights["ibot"] * ibot
            terms["koleo"] = self.weights["koleo"] * (koleo_loss(first) + koleo_loss(second))
        if self.anchoring is not None:
            terms |= (
                self.anchoring.at_rest(local_term)
                if backbone_is_held
                else self.anchoring.terms(batch.global_crops, student_tokens[0].patches, masks)
            )
        return StepLosses(
            terms=terms,
            center_means={name: mean for name, mean in means.items() if mean is not None},
            teacher_class_tokens=teacher_tokens.class_token,
            targets=targets["dino"],
        )

    def _center(self, name: str) -> Center:
        return cast(Center, self.centers[name])

    def _targets(self, name: str, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        if name in self.centers:
            return self._center(name).targets(logits, temperature)
        return sinkhorn_knopp(logits, temperature)

    @torch.no_grad()
    def update_teacher(self, momentum: float, backbone_is_held: bool = False) -> None:
        """Move every parameter of the teacher, heads included: `momentum * teacher + (1 - momentum) * student`.

        Args:
            momentum: of this step.
            backbone_is_held: leave the backbone out, to the bit: the average of equal numbers can round to another.
        """
        for (name, student), teacher in zip(self.student.named_parameters(), self.teacher.parameters(), strict=True):
            if teacher is not student and not (backbone_is_held and is_in_backbone(name)):
                teacher.mul_(momentum).add_(student, alpha=1 - momentum)

    def update_centers(self, losses: StepLosses) -> None:
        """Move the EMA centres by a step that was taken; the next step's targets are the first to use them."""
        for name, mean in losses.center_means.items():
            self._center(name).update(mean)

    def drop_last_layer_gradients(self) -> None:
        """Forget the gradients of the heads' prototypes: DINO v1's way to hold them; AdamW's state stays as it is."""
        for name, parameter in self.student.named_parameters():
            if "last_layer" in name:
                parameter.grad = None
