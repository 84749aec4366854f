"""The objective without a trainer: student, teacher, centres, and what one step computes of them. Torch only."""

import copy
from collections.abc import Sequence
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import nn

from medino.models import SelectedTokens, Tokens
from medino.ssl.anchoring import Anchor, Anchoring, unmasked_crops
from medino.ssl.batch import PretrainingBatch
from medino.ssl.centering import Center, Centering, global_mean, offset_targets, sinkhorn_offset
from medino.ssl.distributed import rank, world_size
from medino.ssl.heads_first import held_tokens
from medino.ssl.koleo import KoLeoScope, koleo_loss
from medino.ssl.losses import dino_row_weights, dino_targets, ibot_row_weights
from medino.ssl.networks import Network
from medino.ssl.parameter_groups import Objective, is_in_backbone
from medino.ssl.prototypes import BeforePrototypes, cross_entropies, through_heads
from medino.ssl.queues import ImageQueue, image_numbers, same_images
from medino.ssl.sharding import local
from medino.ssl.step_losses import CROSS_ENTROPIES, StepLosses, Taught, masked_patches, targets_of


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
        koleo_scope: whether KoLeo looks for neighbours in the batch of all processes or in that of each alone.
        sinkhorn_queue: past images whose class tokens the teacher's targets are made with, besides the batch's.
        koleo_queue: past images whose class tokens KoLeo keeps away from, besides the batch's.
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
        koleo_scope: KoLeoScope = "global",
        sinkhorn_queue: int = 0,
        koleo_queue: int = 0,
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
        self.koleo_scope = koleo_scope
        # What SwAV's queue holds: outputs of the head before its prototypes, which are short and don't age with these.
        bottleneck_dim = student.dino_head.last_layer.weight_v.shape[1]
        self.sinkhorn_queue = ImageQueue(sinkhorn_queue, bottleneck_dim) if sinkhorn_queue else None
        self.koleo_queue = ImageQueue(koleo_queue, student.backbone.config.embed_dim) if koleo_queue else None
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
        (taught,) = self.teach([batch], teacher_temperature, backbone_is_held)
        return self.learn(batch, taught, generator, backbone_is_held)

    def learn(
        self,
        batch: PretrainingBatch,
        taught: Taught,
        generator: torch.Generator | None = None,
        backbone_is_held: bool = False,
    ) -> StepLosses:
        """The loss terms of a micro-batch of which the teacher has spoken. Changes no state.

        Args:
            batch: crops and masks.
            taught: of the same crops.
            generator: draws the student's drop path.
            backbone_is_held: see `compute_losses`.
        """
        masks = self._masks(batch)
        student_tokens: Sequence[Tokens | SelectedTokens]
        if backbone_is_held:
            assert isinstance(taught.tokens, Tokens)
            student_tokens = held_tokens(self.student.backbone, batch, masks, taught.tokens)
        else:
            student_tokens = self._student_tokens(batch, masks, generator)
        class_tokens = torch.cat([tokens.class_token for tokens in student_tokens])
        patches = None if masks is None else masked_patches(student_tokens[0], masks)
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
            class_token = student_tokens[0].class_token
            # A held backbone has nothing to spread. Its tokens have gradients where a crop is masked, which not every
            # process has, and the others would wait for its part.
            class_token = class_token.detach() if backbone_is_held else class_token
            added["koleo"] = self.weights["koleo"] * self._koleo(class_token, batch.sample_ids)
        if self.anchoring is not None:
            added |= (
                self.anchoring.at_rest(total)
                if backbone_is_held
                else self.anchoring.terms(batch.global_crops, student_tokens[0].patches, masks, taught.unmasked_crops)
            )
        return StepLosses(
            total=torch.stack([total, *added.values()]).sum(),
            terms=terms | {name: term.detach() for name, term in added.items()},
            center_means=taught.center_means,
            teacher_class_tokens=taught.tokens.class_token,
            targets=taught.probabilities,
            queued={"sinkhorn": taught.class_hidden, "koleo": student_tokens[0].class_token.detach()},
            sample_ids=batch.sample_ids,
        )

    def _student_tokens(
        self, batch: PretrainingBatch, masks: torch.Tensor | None, generator: torch.Generator | None
    ) -> Sequence[Tokens | SelectedTokens]:
        """Of the global crops and, where there are any, of the local ones; only what the losses look at, if it is."""
        crops, crop_masks = [batch.global_crops], [masks]
        if len(batch.local_crops):
            crops.append(batch.local_crops)
            crop_masks.append(None)
        if self.anchoring is not None:
            return self.student.backbone.forward_crops(crops, crop_masks, generator)
        return self.student.backbone.forward_selected(crops, crop_masks, crop_masks, generator)

    @torch.no_grad()
    def teach(self, batches: Sequence[PretrainingBatch], temperature: float, all_tokens: bool = False) -> list[Taught]:
        """What the teacher says of the micro-batches of a step; its targets are made over all of them together.

        Args:
            batches: of this process; nothing is masked for the teacher.
            temperature: of this step.
            all_tokens: keep the tokens that the losses don't look at, too, as `held_tokens` needs them.
        """
        tokens: list[Tokens | SelectedTokens] = []
        for batch in batches:
            if all_tokens:
                tokens.append(self.teacher.backbone(batch.global_crops))
            else:
                tokens += self.teacher.backbone.forward_selected([batch.global_crops], [self._masks(batch)])
        answers: list[dict[str, BeforePrototypes]] = []
        for batch, found in zip(batches, tokens, strict=True):
            masks = self._masks(batch)
            patches = None if masks is None else masked_patches(found, masks)
            made = through_heads(self.teacher, found.class_token, patches)
            # The same prototypes for all, held once.
            first = answers[0] if answers else made
            answers.append({name: BeforePrototypes(made[name].hidden, first[name].weight) for name in made})
        by_head = {name: [answer[name] for answer in answers] for name in answers[0]}
        offsets = {name: self._offset(name, parts, temperature) for name, parts in by_head.items()}
        center_means = {}
        for name in self.centers:
            # Scores are linear: their mean is that of the bottleneck's mean.
            mean = global_mean(torch.cat([part.hidden for part in by_head[name]]))
            if mean is not None:
                center_means[name] = F.linear(mean, by_head[name][0].weight.float())
        unmasked = None if self.anchoring is None else unmasked_crops(batches, self.objective != "dinov2")
        return [
            Taught(
                tokens=found,
                probabilities=offset_targets(answer["dino"].scores(), temperature, offsets["dino"]),
                patch_targets={
                    name: targets_of(answer[name], temperature, offsets[name]) for name in answer if name != "dino"
                },
                center_means=center_means,
                class_hidden=answer["dino"].hidden,
                unmasked_crops=unmasked,
            )
            for found, answer in zip(tokens, answers, strict=True)
        ]

    def _masks(self, batch: PretrainingBatch) -> torch.Tensor | None:
        return batch.masks if self.objective == "dinov2" else None

    def _offset(self, name: str, parts: list[BeforePrototypes], temperature: float) -> torch.Tensor:
        """What is taken from the scores of a head, (1, K): the centre, or Sinkhorn-Knopp's over all micro-batches."""
        if name in self.centers:
            return self._center(name).offset(temperature)
        if name == "dino" and self.sinkhorn_queue is not None:
            # Each process brings its share of the queue, which is the same on all.
            past = self.sinkhorn_queue.held().flatten(0, 1)[rank() :: world_size()]
            parts = [*parts, BeforePrototypes(past, parts[0].weight)]
        if name == "ibot" and len(parts) > 1:
            # Masked patches are many, and micro-batches are there to save memory.
            return sinkhorn_offset(lambda: (part.scores() for part in parts), temperature)
        scores = [part.scores() for part in parts]
        return sinkhorn_offset(lambda: scores, temperature)

    def _koleo(self, class_tokens: torch.Tensor, sample_ids: Sequence[str]) -> torch.Tensor:
        """KoLeo of the first crops and of the second ones, each among its own."""
        past, same = None, None
        if self.koleo_queue is not None:
            past = self.koleo_queue.held()
            numbers = image_numbers(sample_ids, len(class_tokens) // 2).to(past.device)
            same = same_images(numbers, self.koleo_queue.held_numbers())
        losses = [
            koleo_loss(tokens, None if past is None else past[crop], same, self.koleo_scope)
            for crop, tokens in enumerate(class_tokens.chunk(2))
        ]
        return losses[0] + losses[1]

    def _center(self, name: str) -> Center:
        return cast(Center, self.centers[name])

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
            torch._foreach_lerp_(local(teachers), local(students), 1 - momentum)

    def update_centers(self, losses: StepLosses) -> None:
        """Move the EMA centres by a step that was taken; the next step's targets are the first to use them."""
        for name, mean in losses.center_means.items():
            self._center(name).update(mean)

    def update_queues(self, losses: StepLosses) -> None:
        """Remember the images of a step that was taken."""
        queues = {"sinkhorn": self.sinkhorn_queue, "koleo": self.koleo_queue}
        for name, queue in queues.items():
            if queue is not None:
                tokens = losses.queued[name]
                queue.push(tokens, image_numbers(losses.sample_ids, len(tokens) // 2))

    def drop_last_layer_gradients(self) -> None:
        """Forget the gradients of the heads' prototypes: DINO v1's way to hold them; AdamW's state stays as it is."""
        for name, parameter in self.student.named_parameters():
            if "last_layer" in name:
                parameter.grad = None
