"""Anchoring: how far the student's patch tokens went from those of the model that it started from."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import nn

from medino.core import InputError
from medino.models import VisionTransformer
from medino.models.lora import without_adapters
from medino.ssl.batch import PretrainingBatch
from medino.ssl.distributed import all_reduce_sum, world_size
from medino.ssl.sharding import is_sharded


@dataclass(frozen=True)
class Anchor:
    """Two distances to the starting model's patch tokens are added to the loss.

    Both are taken on the global crops in which nothing is masked: there the student sees what the starting model sees,
    so that both are zero at the start (without drop path), and they cost a forward pass of the starting model over
    these crops (half of the global ones in the recipe) and none of the student. On masked crops the student's tokens
    would differ for what they don't see.

    Attributes:
        feature_weight: of the mean of 1 - cosine between the two tokens of each patch.
        gram_weight: of the squared Frobenius distance between the Gram matrices of the normalised patch tokens of each
            crop, divided by their entries (Gram anchoring, Siméoni et al. 2025, DINOv3, arXiv 2508.10104, section 4.2;
            there to an earlier teacher). It leaves the tokens free to turn together, and holds how alike patches are.
    """

    feature_weight: float = 1.0
    gram_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("feature_weight", "gram_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(f"anchor.{name} is {getattr(self, name)}; give 0 or more")
        if self.feature_weight == 0 and self.gram_weight == 0:
            raise InputError("both weights of anchor are 0; give one above 0, or leave anchor out")


class Anchoring(nn.Module):
    """The starting model, and the distances to it.

    Args:
        settings: the weights.
        student: the backbone as it starts; what of it is frozen is not held twice, and adapters are left out.
    """

    def __init__(self, settings: Anchor, student: VisionTransformer) -> None:
        super().__init__()
        self.settings = settings
        frozen = {id(parameter): parameter for parameter in student.parameters() if not parameter.requires_grad}
        self.start = without_adapters(copy.deepcopy(student, frozen)).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """The starting model never leaves evaluation mode."""
        return super().train(False)

    def terms(
        self,
        global_crops: torch.Tensor,
        student_patches: torch.Tensor,
        masks: torch.Tensor | None,
        count: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """The loss terms, weights included: "anchor_feature" and "anchor_gram", those whose weight is not 0.

        Args:
            global_crops: (2b, 3, G, G).
            student_patches: (2b, h, w, D), of the same crops as masked.
            masks: (2b, N) bool; None: nothing is masked.
            count: `unmasked_crops` of the step.
        """
        assert count is not None
        rows = torch.arange(len(global_crops), device=global_crops.device)
        if masks is not None:
            rows = (~masks.any(dim=1)).nonzero()[:, 0]
        if len(rows) == 0:
            if is_sharded(self.start):
                with torch.no_grad():
                    self.start(global_crops[:1])  # the others wait for this process's parts
            return self.at_rest(count)
        with torch.no_grad():
            start = F.normalize(self.start(global_crops[rows]).patches.flatten(1, 2).float(), dim=-1)
        student = F.normalize(student_patches[rows].flatten(1, 2).float(), dim=-1)
        terms = {}
        if self.settings.feature_weight > 0:
            terms["anchor_feature"] = self.settings.feature_weight * feature_distances(student, start).sum() / count
        if self.settings.gram_weight > 0:
            terms["anchor_gram"] = self.settings.gram_weight * gram_distances(student, start).sum() / count
        return terms

    def at_rest(self, like: torch.Tensor) -> dict[str, torch.Tensor]:
        """The terms where there is no distance, as while the backbone is held."""
        weights = {"anchor_feature": self.settings.feature_weight, "anchor_gram": self.settings.gram_weight}
        return {name: like.new_zeros(()) for name, weight in weights.items() if weight > 0}


def unmasked_crops(batches: Sequence[PretrainingBatch], nothing_is_masked: bool) -> torch.Tensor:
    """In how many global crops nothing is masked: the mean over processes and micro-batches, which differ in it.

    Divided by it, their sums have the mean over all crops as their mean.

    Args:
        batches: the micro-batches of this process.
        nothing_is_masked: whatever their masks say.

    Raises:
        InputError: there is none.
    """
    counts = [
        torch.ones_like(batch.masks[:, 0]).sum() if nothing_is_masked else (~batch.masks.any(dim=1)).sum()
        for batch in batches
    ]
    count = all_reduce_sum(torch.stack(counts).sum().float()) / (world_size() * len(counts))
    if not bool(count > 0):
        raise InputError("anchoring needs global crops in which nothing is masked; lower mask_probability")
    return count


def feature_distances(student: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The mean of 1 - cosine over the patches of each crop, (B,).

    Computed as half of the squared distance of the normalised tokens: the same number, but exactly 0, and with a
    gradient of exactly 0, where they are equal.

    Args:
        student: (B, N, D), L2-normalised.
        start: the same.
    """
    return (student - start).square().sum(dim=-1).mean(dim=-1) / 2


def gram_distances(student: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The squared Frobenius distance of the two Gram matrices of each crop, over their N * N entries, (B,).

    Args:
        student: (B, N, D), L2-normalised.
        start: the same.
    """
    with torch.autocast(student.device.type, enabled=False):
        return (student @ student.mT - start @ start.mT).square().mean(dim=(-2, -1))
