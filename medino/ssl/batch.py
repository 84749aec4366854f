"""What a training step takes: the crops of a batch, the patch masks, and where they came from."""

import dataclasses
from dataclasses import dataclass, field

import torch

from medino.ssl.images import Images
from medino.views import MultiCrop


@dataclass(frozen=True)
class PretrainingBatch:
    """One process's part of a step's batch: b images. Crops lie crop-major: all first crops, then all second ones.

    Attributes:
        global_crops: (2b, 3, G, G) float32, normalised.
        local_crops: (n * b, 3, L, L) float32, normalised.
        masks: (2b, N) bool, True where the student does not see a patch.
        step: the training step that the batch was made for.
        first_position: place of the first image in the global batch.
        sample_ids: (b) ids of the images, in order.
        rejects: (row of the manifest, reason) of samples that could not be decoded; others took their places.
        failure: why no batch could be made, in words; empty where there is one.
        images: the images that the crops are still to be made from (`with_views`), where workers leave that to the
            device; the crops are empty then.
    """

    global_crops: torch.Tensor
    local_crops: torch.Tensor
    masks: torch.Tensor
    step: int = 0
    first_position: int = 0
    sample_ids: list[str] = field(default_factory=list)
    rejects: list[tuple[int, str]] = field(default_factory=list)
    failure: str = ""
    images: Images | None = None

    @property
    def batch_size(self) -> int:
        """Number of images, b."""
        return self.global_crops.shape[0] // 2

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PretrainingBatch":
        """The batch on another device."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=non_blocking)
            for name in ("global_crops", "local_crops", "masks")
        }
        images = self.images and self.images.to(device, non_blocking=non_blocking)
        return dataclasses.replace(self, **moved, images=images)

    def with_views(self, multi_crop: MultiCrop) -> "PretrainingBatch":
        """The batch with its crops, made where its images are."""
        if self.images is None:
            return self
        views = self.images.views(multi_crop)
        return dataclasses.replace(self, global_crops=views.global_crops, local_crops=views.local_crops, images=None)

    def pin_memory(self) -> "PretrainingBatch":
        """The batch in page-locked memory, from which it moves faster to a GPU."""
        pinned = {name: getattr(self, name).pin_memory() for name in ("global_crops", "local_crops", "masks")}
        return dataclasses.replace(self, **pinned, images=self.images and self.images.pin_memory())
