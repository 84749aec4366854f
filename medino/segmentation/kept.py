"""Heads trained on kept token maps: the backbone never runs, so that a training takes seconds.

What can be varied then is what needs no other map: which of the kept variants of an image is shown (mirrored or turned,
each with the map of the image so varied, and its mask likewise), channels that are dropped, and noise on the features.
Crops, scales and intensities can't: their maps are not kept.

Scores are compared with the share that each class has of the cells of a grid four times as fine as the patches (the one
that a multi-layer head answers on), and not with every pixel: a patch's token says little that is finer, and most of a
step's time would go into pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from medino.core import InputError, derive_seed, torch_generator
from medino.features import VARIANTS, MapStore
from medino.segmentation.fitting import Training, fit
from medino.segmentation.heads import HeadName, build_head, draw_channel_factors

CELLS = 4
"""Cells of the trained grid along a patch's side."""

AT_ONCE = 64
"""Maps that pass through a head together when masks are predicted."""


@dataclass(frozen=True)
class HeadTraining(Training):
    """How a head is trained on kept maps; for the first four see `Training`.

    The defaults were set on lungs and nuclei of patients that are not tested in docs/benchmarks/evidence.md. Channels
    of a backbone's tokens go together, and what tells classes apart is often a small difference of large channels: a
    head finds it late, and not at all when whole channels are dropped, which weighs as much as a heavy penalty. With a
    single labelled patient a heavy penalty can be the better choice.

    Args:
        head: "linear" or "multilayer".
        dropout: share of channels dropped in each image.
        noise: standard deviation of Gaussian noise on the features, in standard deviations of each channel over the
            training maps.

    Raises:
        InputError: a number that can't be.
    """

    steps: int = 500
    batch_size: int = 16
    learning_rate: float = 2e-2
    weight_decay: float = 1e-3
    head: HeadName = "linear"
    dropout: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head == "unetr":
            raise InputError("the head 'unetr' looks at the images, too; kept maps train linear and multilayer ones")
        if not 0 <= self.dropout < 1 or self.noise < 0:
            raise InputError(f"dropout is {self.dropout} and noise {self.noise}; give 0 to below 1, and 0 or more")


def train_head(
    store: MapStore, rows: np.ndarray, masks: torch.Tensor, classes: int, training: HeadTraining, seed: int
) -> nn.Module:
    """Train a head on some rows of a store.

    Args:
        store: the kept maps; all of its variants are shown.
        rows: (N,) rows of the store.
        masks: (N, S, S) their masks as they are, indices of classes.
        classes: number of classes C.
        training: how.
        seed: of the head's initial weights and all that is drawn.

    Returns:
        The head, in evaluation mode; it answers (B, D, h, w) maps by logits.
    """
    shares = class_shares(masks, classes, store.maps.shape[2] * CELLS)
    head = build_head(training.head, store.maps.shape[-1], classes, derive_seed(seed, "kept_maps_head"))
    spread = channel_spread(store, rows) if training.noise else None

    def example(step: int, places: np.ndarray, shown: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch_generator(seed, "kept_maps", step)
        maps = torch.from_numpy(store.maps[rows[places], shown]).float().permute(0, 3, 1, 2)
        if spread is not None:
            maps = maps + training.noise * spread[:, None, None] * torch.randn(maps.shape, generator=generator)
        factors = draw_channel_factors(maps.shape[1], training.dropout, [generator] * len(maps))
        ways = [VARIANTS[store.variants[variant]] for variant in shown]
        truth = torch.stack([way(shares[place]) for way, place in zip(ways, places, strict=True)])
        return F.interpolate(head(maps, factors), truth.shape[-2:], mode="bilinear", align_corners=False), truth

    return fit(head, example, training, len(rows), len(store.variants), seed)


@torch.inference_mode()
def head_masks(head: nn.Module, store: MapStore, rows: np.ndarray, size: int) -> torch.Tensor:
    """What a head says of some rows: (N, size, size) uint8 indices of classes, of the images as they are."""
    predicted = []
    for start in range(0, len(rows), AT_ONCE):
        maps = store.tokens(rows[start : start + AT_ONCE]).permute(0, 3, 1, 2)
        scores = F.interpolate(head(maps), size=(size, size), mode="bilinear", align_corners=False)
        predicted.append(scores.argmax(dim=1).to(torch.uint8))
    return torch.cat(predicted)


def class_shares(masks: torch.Tensor, classes: int, side: int) -> torch.Tensor:
    """(N, C, side, side) float32: the share of each class in each cell of a grid, of masks (N, S, S) of indices."""
    pixels = F.one_hot(masks.long(), classes).permute(0, 3, 1, 2).float()
    return F.interpolate(pixels, size=(side, side), mode="area")


def channel_spread(store: MapStore, rows: np.ndarray) -> torch.Tensor:
    """(D,) standard deviation of each channel over the patches of some rows, as they are."""
    return store.tokens(rows).flatten(0, 2).std(dim=0)
