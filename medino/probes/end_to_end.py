"""A small network trained from scratch on each support set: what the shots are worth without any features.

Nothing of it is chosen on the images that are reported on. The network, its rate and its steps are fixed beforehand: a
small residual network (He et al., arXiv 1512.03385), AdamW at its usual rate of 1e-3 with a cosine to zero, and steps
enough to fit the shots.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from medino.core import torch_generator
from medino.features import FeatureTable, images_of
from medino.probes.episodes import Episodes
from medino.probes.sources import Source

EPISODES = 10
"""Support sets that it is trained on, the study's first ones; each is a training of its own."""

STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 100, 32, 1e-3, 0.05

WIDTHS = (16, 32, 64, 128)
"""Channels of the first convolution and of the three residual blocks, which halve the side each: 0.3 M weights."""

SMALLEST_CROP = 0.7
"""Side of the smallest crop over that of the image."""

IMAGES_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class ImageSource(Source):
    """Units by their images.

    Attributes:
        table: pixels of all samples of the units, as `medino.features.pixel_features` makes them.
    """

    table: FeatureTable

    @cached_property
    def images(self) -> torch.Tensor:
        """(N, 3, S, S): the images of `units.sample_ids`."""
        place = {sample_id: row for row, sample_id in enumerate(self.table.sample_ids)}
        return images_of(self.table)[[place[sample_id] for sample_id in self.units.sample_ids]]


class SmallResNet(nn.Module):
    """Three residual blocks on a convolution of stride 2, mean over places, a linear layer.

    Args:
        num_classes: C.
        generator: of the initial weights.
    """

    def __init__(self, num_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.stem = _convolution(3, WIDTHS[0], stride=2)
        self.blocks = nn.ModuleList(map(_Block, WIDTHS, WIDTHS[1:]))
        self.head = nn.Linear(WIDTHS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        # All classes alike at the start.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        features = F.relu(self.stem(images))
        for block in self.blocks:
            features = block(features)
        return self.head(features.mean(dim=(2, 3)))


class _Block(nn.Module):
    """Two convolutions beside a shortcut; the side is halved."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(width, wider, stride=2), _convolution(wider, wider)
        self.shortcut = _convolution(width, wider, stride=2, side=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.relu(self.second(F.relu(self.first(features))) + self.shortcut(features))


def _convolution(width: int, wider: int, stride: int = 1, side: int = 3) -> nn.Sequential:
    """A convolution and its normalisation."""
    convolution = nn.Conv2d(width, wider, side, stride, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wider))


def end_to_end(source: ImageSource, episodes: Episodes) -> np.ndarray:
    """Probabilities by a network trained on each episode's support images alone.

    Args:
        source: the units' images.
        episodes: what is asked; the first `EPISODES` of them are answered.

    Returns:
        (min(E, EPISODES), Q, C) probabilities; those of a unit of several images are their mean.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = source.images.to(device)
    units = torch.from_numpy(source.units.unit_of_sample)
    class_of_unit = torch.full((len(source.units),), -1)
    tested = torch.isin(units, torch.from_numpy(episodes.test))
    scores = []
    for episode, support in enumerate(episodes.support[:EPISODES]):
        class_of_unit.fill_(-1)[torch.from_numpy(support)] = torch.from_numpy(episodes.classes)
        labels = class_of_unit[units]
        shown = labels >= 0
        address = (len(support), episode)
        network = fitted(images[shown], labels[shown].to(device), episodes.num_classes, episodes.seed, *address)
        by_image = probabilities(network, images[tested]).cpu()
        of_unit = torch.zeros(len(source.units), episodes.num_classes)
        of_unit.index_add_(0, units[tested], by_image)
        scores.append(F.normalize(of_unit[torch.from_numpy(episodes.test)], p=1, dim=1).numpy())
    return np.stack(scores)


def fitted(images: torch.Tensor, classes: torch.Tensor, num_classes: int, seed: int, *address: int) -> SmallResNet:
    """Train a network.

    Args:
        images: (N, 3, H, W).
        classes: (N,).
        num_classes: C.
        seed: of weights, order and augmentation.
        address: which training this is.
    """
    generator = torch_generator(seed, "end_to_end", *address)
    network = SmallResNet(num_classes, generator).to(images.device)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        batch = torch.randperm(len(images), generator=generator)[:BATCH].to(images.device)
        views = augmented(images[batch], generator).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(network(views), classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images (B, 3, H, W) cropped to 0.7 to 1 of their side and brought back to their size, half of them mirrored."""
    draws = torch.rand(4, len(images), generator=generator)
    scale = SMALLEST_CROP + (1 - SMALLEST_CROP) * draws[0]
    mirror = torch.where(draws[1] < 0.5, -1.0, 1.0)
    place = torch.zeros(len(images), 2, 3)
    place[:, 0, 0], place[:, 1, 1] = scale * mirror, scale
    place[:, :, 2] = ((1 - scale) * (2 * draws[2:] - 1)).T
    grid = F.affine_grid(place, list(images.shape), align_corners=False).to(images.device)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


@torch.inference_mode()
def probabilities(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, C) of images (N, 3, H, W)."""
    return torch.cat([network(part).softmax(dim=1) for part in images.split(IMAGES_AT_ONCE)])
