"""The frozen backbone as a source of token maps, computed once for each image where images repeat."""

from collections.abc import Sequence

import torch
from torch import nn

from medino.features import block_numbers, patch_tokens
from medino.models import VisionTransformer
from medino.segmentation.batch import SegmentationBatch

BYTES_IN_MB = 1 << 20


class FrozenFeatures(nn.Module):
    """Images to the patch tokens of some layers, by a backbone that never changes.

    Args:
        backbone: the network; put into evaluation mode, its parameters no longer ask for gradients.
        layers: which blocks, counted from 0; or how many of the last ones.
        cache_mb: how much memory the maps of repeated images may take.

    Raises:
        InputError: the backbone has no such block.
    """

    def __init__(self, backbone: VisionTransformer, layers: int | Sequence[int], cache_mb: int) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.layers = list(block_numbers(backbone, layers))
        self.cache_bytes = cache_mb * BYTES_IN_MB
        self._cache: dict[str, torch.Tensor] = {}
        self.train(False)

    @property
    def channels(self) -> int:
        """Channels of a map: the token width times the number of layers."""
        return self.backbone.config.embed_dim * len(self.layers)

    def train(self, mode: bool = True) -> "FrozenFeatures":
        """Stay in evaluation mode, whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Token maps (B, channels, h, w) of images (B, 3, H, W)."""
        return patch_tokens(self.backbone, images, self.layers).permute(0, 3, 1, 2).contiguous()

    def of_batch(self, batch: SegmentationBatch) -> torch.Tensor:
        """As `forward`, from memory where the batch's images repeat and their maps fit into the cache.

        An image that may be kept is always computed on its own: what a matrix product returns for one image depends, in
        its last bits, on how many are beside it, and a resumed run (empty cache) must see what the uninterrupted saw.
        """
        if not self._fits(batch):
            return self(batch.images)
        for sample_id, image in zip(batch.sample_ids, batch.images, strict=True):
            if sample_id not in self._cache:
                self._cache[sample_id] = self(image[None])[0]
        return torch.stack([self._cache[sample_id] for sample_id in batch.sample_ids])

    def forget(self) -> None:
        """Drop all maps."""
        self._cache.clear()

    def _fits(self, batch: SegmentationBatch) -> bool:
        height, width = batch.images.shape[-2:]
        patches = (height // self.backbone.config.patch_size) * (width // self.backbone.config.patch_size)
        needed = batch.repeats * self.channels * patches * torch.finfo(torch.float32).bits // 8
        return 0 < needed <= self.cache_bytes
