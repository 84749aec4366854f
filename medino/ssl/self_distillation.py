"""The objective without a trainer: student, teacher, centres, and what one step computes of them. Torch only."""

import copy
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import nn

from medino.models import Tokens
from medino.ssl.anchoring import Anchor, Anchoring
from medino.ssl.batch import PretrainingBatch
from medino.ssl.centering import Center, global_mean, sinkhorn_knopp
from medino.ssl.heads_first import held_tokens
from medino.ssl.losses import dino_row_weights, dino_targets, ibot_row_weights, koleo_loss
from medino.ssl.networks import Network
from medino.ssl.parameter_groups import Objective, is_in_backbone
from medino.ssl.prototypes import BeforePrototypes, Targets, cross_entropies, through_heads

Centering = Literal["centering", "sinkhorn_knopp"]
"""How the teacher's targets are kept from collapse: EMA centre or Sinkhorn-Knopp."""

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
    """

    total: torch.Tensor
    terms: dict[str, torch.Tensor]
    center_means: dict[str, torch.Tensor]
    teacher_class_tokens: torch.Tensor = field(repr=False)
    targets: torch.Tensor = field(repr=False)

    @property
    def cross_entropy(self) -> torch.Tensor:
        """The part of the loss in which the student answers the teacher, without regularisers."""
        return torch.stack([term for name, term in self.terms.items() if name in CROSS_ENTROPIES]).sum()


@dataclass(frozen=True)
class Taught:
    """What the teacher says of a batch.

    Attributes:
        tokens: of the global crops.
        probabilities: (2b, K), the targets of class tokens.
        patch_targets: "ibot", the targets of masked patches, where there is an iBOT loss.
        center_means: see `StepLosses`.
    """

    tokens: Tokens
    probabilities: torch.Tensor
    patch_targets: dict[str, Targets]
    center_means: dict[str, torch.Tensor]


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
        taught = self._teach(batch.global_crops, masks, teacher_temperature)
        if backbone_is_held:
            student_tokens = held_tokens(self.student.backbone, batch, masks, taught.tokens)
        else:
            crops, crop_masks = [batch.global_crops], [masks]
            if len(batch.local_crops):
                crops.append(batch.local_crops)
                crop_masks.append(None)
            student_tokens = self.student.backbone.forward_crops(crops, crop_masks, generator)
        class_tokens = torch.cat([tokens.class_token for tokens in student_tokens])
        patches = None if masks is None else student_tokens[0].patches.flatten(1, 2)[masks]
        answers = through_heads(self.student, class_tokens, patches)
        num_local_crops = len(batch.local_crops) // batch.batch_size
        targets = {"dino": dino_targets(taught.probabilities, num_local_crops), **taught.patch_targets}
        row_weights = {
            "dino": self.weights["dino"] * dino_row_weights(batch.batch_size, num_local_crops, class_tokens.device)
        }
        if masks is not None:
            row_weights["ibot"] = self.weights["ibot"] * ibot_row_weights(masks)
        total, parts = cross_entropies(answers, targets, row_weights, self.student_temperature)
        parts["dino_global"], parts["dino_local"] = parts.pop("dino").tensor_split([2 * batch.batch_size])
        terms = {name: parts[name].sum() for name in CROSS_ENTROPIES if name in parts}
        added = {}
        if masks is not None:
            first, second = student_tokens[0].class_token.chunk(2)
            added["koleo"] = self.weights["koleo"] * (koleo_loss(first) + koleo_loss(second))
        if self.anchoring is not None:
            added |= (
                self.anchoring.at_rest(total)
                if backbone_is_held
                else self.anchoring.terms(batch.global_crops, student_tokens[0].patches, masks)
            )
        return StepLosses(
            total=torch.stack([total, *added.values()]).sum(),
            terms=terms | {name: term.detach() for name, term in added.items()},
            center_means=taught.center_means,
            teacher_class_tokens=taught.tokens.class_token,
            targets=taught.probabilities,
        )

    @torch.no_grad()
    def _teach(self, global_crops: torch.Tensor, masks: torch.Tensor | None, temperature: float) -> Taught:
        """What the teacher says of the global crops, in which nothing is masked for it."""
        tokens = self.teacher.backbone(global_crops)
        patches = None if masks is None else tokens.patches.flatten(1, 2)[masks]
        answers = through_heads(self.teacher, tokens.class_token, patches)
        center_means = {}
        for name in self.centers:
            # Scores are linear: their mean is that of the bottleneck's mean.
            mean = global_mean(answers[name].hidden)
            if mean is not None:
                center_means[name] = F.linear(mean, answers[name].weight.float())
        return Taught(
            tokens=tokens,
            probabilities=self._targets("dino", answers["dino"].scores(), temperature),
            patch_targets={"ibot": self._patch_targets(answers["ibot"], temperature)} if masks is not None else {},
            center_means=center_means,
        )

    def _patch_targets(self, answers: BeforePrototypes, temperature: float) -> Targets:
        if "ibot" in self.centers:
            # Made where they are met: each row stands for itself.
            return lambda rows: self._targets("ibot", answers.scores(rows), temperature)
        targets = self._targets("ibot", answers.scores(), temperature)
        return lambda rows: targets[rows]

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
        pairs = [
            (teacher, student)
            for (name, student), teacher in zip(self.student.named_parameters(), self.teacher.parameters(), strict=True)
            if teacher is not student and not (backbone_is_held and is_in_backbone(name))
        ]
        if pairs:
            teachers, students = zip(*pairs, strict=True)
            torch._foreach_lerp_(teachers, students, 1 - momentum)

    def update_centers(self, losses: StepLosses) -> None:
        """Move the EMA centres by a step that was taken; the next step's targets are the first to use them."""
        for name, mean in losses.center_means.items():
            self._center(name).update(mean)

    def drop_last_layer_gradients(self) -> None:
        """Forget the gradients of the heads' prototypes: DINO v1's way to hold them; AdamW's state stays as it is."""
        for name, parameter in self.student.named_parameters():
            if "last_layer" in name:
                parameter.grad = None
