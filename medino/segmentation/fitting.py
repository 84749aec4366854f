"""The training loop of small networks on a few masks: AdamW on Dice + cross-entropy, its rate falling linearly to 0."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.losses import DiceCELoss
from torch import nn

from medino.core import InputError, torch_generator

Example = Callable[[int, np.ndarray, np.ndarray], tuple[torch.Tensor, torch.Tensor]]
"""From a step, the places of its images and the variant that each is shown in to scores and truth, (B, C, H, W)."""


@dataclass(frozen=True)
class Training:
    """How long and how fast.

    Args:
        steps: training steps.
        batch_size: images of one step; fewer where there are fewer.
        learning_rate: of AdamW at the start.
        weight_decay: of AdamW.

    Raises:
        InputError: a number that can't be.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1:
            raise InputError(f"steps is {self.steps} and batch_size {self.batch_size}; give 1 or more")


def fit(network: nn.Module, example: Example, training: Training, count: int, variants: int, seed: int) -> nn.Module:
    """Train a network; it comes back in evaluation mode.

    Args:
        network: whose parameters are trained.
        example: runs the network on what a step shows.
        training: how.
        count: number of images.
        variants: number of ways in which an image can be shown.
        seed: of the order of images and of the variants.
    """
    # `batch`: Dice over the whole batch, since a single slice often lacks a class altogether.
    loss_of = DiceCELoss(softmax=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    network.train()
    for step, (places, shown) in enumerate(batches(count, variants, training, seed)):
        loss = loss_of(*example(step, places, shown))
        optimizer.param_groups[0]["lr"] = training.learning_rate * (1 - step / training.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network.eval()


def batches(count: int, variants: int, training: Training, seed: int) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """For each step the images shown and in which variant: every image is shown once before any is again."""
    generator = torch_generator(seed, "few_masks_order")
    size = min(training.batch_size, count)
    passes = -(-training.steps * size // count)
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)]).numpy()
    shown = torch.randint(variants, (len(order),), generator=generator).numpy()
    return [(order[at : at + size], shown[at : at + size]) for at in range(0, training.steps * size, size)]
