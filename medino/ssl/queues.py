"""What is remembered of past images, so that a small batch is not alone: for Sinkhorn-Knopp and for KoLeo."""

import hashlib
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from medino.ssl.distributed import gather, world_size


class ImageQueue(nn.Module):
    """The tokens of both global crops of the last images, the same on all processes; buffers, so checkpoints hold it.

    Args:
        images: how many images are kept; the batch of all processes moves in, the oldest move out.
        dim: length of a token.
    """

    def __init__(self, images: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("tokens", torch.zeros(2, images, dim))
        self.register_buffer("numbers", torch.zeros(images, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def held(self) -> torch.Tensor:
        """The tokens that are there, oldest first: (2, n, dim), n at most `images`."""
        tokens, filled = cast(torch.Tensor, self.tokens), int(cast(torch.Tensor, self.filled))
        return tokens[:, tokens.shape[1] - filled :]

    def held_numbers(self) -> torch.Tensor:
        """The `image_numbers` of these images, (n,)."""
        numbers, filled = cast(torch.Tensor, self.numbers), int(cast(torch.Tensor, self.filled))
        return numbers[len(numbers) - filled :]

    @torch.no_grad()
    def push(self, tokens: torch.Tensor, numbers: torch.Tensor) -> None:
        """Take in a step's batch.

        Args:
            tokens: (2b, dim) of this process, crop-major.
            numbers: (b,) of the same images.
        """
        everyones = gather(tokens.detach().float().unflatten(0, (2, -1)).contiguous())
        both = everyones.unflatten(0, (world_size(), 2)).transpose(0, 1).flatten(1, 2)
        kept, known = cast(torch.Tensor, self.tokens), cast(torch.Tensor, self.numbers)
        images = len(known)
        kept.copy_(torch.cat([kept, both], dim=1)[:, -images:])
        known.copy_(torch.cat([known, gather(numbers.to(known.device))])[-images:])
        cast(torch.Tensor, self.filled).add_(both.shape[1]).clamp_(max=images)


def image_numbers(sample_ids: Sequence[str], images: int) -> torch.Tensor:
    """A number for each image, the same in each run and process, by which it is known again; 0 where it has no id.

    Args:
        sample_ids: of the images; may be empty.
        images: how many there are.
    """
    if not sample_ids:
        return torch.zeros(images, dtype=torch.int64)
    digests = [hashlib.blake2b(sample_id.encode(), digest_size=8).digest() for sample_id in sample_ids]
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


def same_images(numbers: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Which of the others is the same image, (b, n) bool; an image without an id is like no other."""
    return (numbers[:, None] == others[None, :]) & (numbers != 0)[:, None]
