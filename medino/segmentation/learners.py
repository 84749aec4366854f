"""What a study of masks compares: heads on the kept maps of a backbone, and a U-Net trained from scratch."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from medino.features import MapStore
from medino.probes.registry import END_TO_END
from medino.segmentation.fitting import Training
from medino.segmentation.kept import HeadTraining, head_masks, train_head
from medino.segmentation.mask_design import MaskedImages
from medino.segmentation.scratch import train_unet, unet_masks

UNET = "unet"
"""What the evidence calls the U-Net, in place of a backbone."""


class MaskLearner(Protocol):
    """From the masks of a few images to those of the test images."""

    @property
    def features(self) -> str:
        """What it looks at, in words."""

    @property
    def probe(self) -> str:
        """Name of what is trained."""

    def predict(self, images: MaskedImages, support: np.ndarray, test: np.ndarray, seed: int) -> torch.Tensor:
        """Train on some rows of the manifest, and give the masks of others.

        Args:
            images: knows the images of all rows, and the masks of those learned from.
            support: (N,) rows learned from.
            test: (T,) rows asked for.
            seed: of whatever is drawn; the same for all learners of an episode.

        Returns:
            (T, S, S) uint8 indices of classes.
        """


@dataclass(frozen=True, eq=False)
class HeadOnMaps:
    """A head on the kept maps of one backbone, or floor.

    Args:
        store: the maps, in the manifest's order.
        training: how the head is trained.
    """

    store: MapStore
    training: HeadTraining

    @property
    def features(self) -> str:
        """The blocks, or the patches' pixels."""
        return f"blocks {', '.join(map(str, self.store.layers))}" if self.store.layers else "pixels"

    @property
    def probe(self) -> str:
        """Name of the head."""
        return self.training.head

    def predict(self, images: MaskedImages, support: np.ndarray, test: np.ndarray, seed: int) -> torch.Tensor:
        """See `MaskLearner`."""
        masks = images.masks(support)
        head = train_head(self.store, support, masks, len(images.class_names), self.training, seed)
        return head_masks(head, self.store, test, images.transform.size)


@dataclass(frozen=True, eq=False)
class UNetFromScratch:
    """The small U-Net on the images themselves.

    Args:
        training: how it is trained.
        variants: ways in which images are mirrored and turned in training, those of the maps beside it.
    """

    training: Training
    variants: tuple[str, ...]

    @property
    def features(self) -> str:
        """The images."""
        return "pixels"

    @property
    def probe(self) -> str:
        """Trained from end to end."""
        return END_TO_END

    def predict(self, images: MaskedImages, support: np.ndarray, test: np.ndarray, seed: int) -> torch.Tensor:
        """See `MaskLearner`."""
        shown, masks = images.images(support), images.masks(support)
        network = train_unet(shown, masks, len(images.class_names), self.variants, self.training, seed)
        return unet_masks(network, images.images(test))
