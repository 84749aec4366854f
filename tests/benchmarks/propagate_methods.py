"""What is compared on each volume: copying the labelled slice, a linear head trained on it, propagation from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss

from medino.data import Intensity, Manifest, PixelDataset, scan
from medino.data.volumes.stacks import find_stacks
from medino.features import EvaluationTransform, MapMaker
from medino.segmentation import Propagation, propagate_masks
from medino.segmentation.heads import LinearHead, build_head
from medino.segmentation.propagation import likeliest, tokens_of
from medino.views import IMAGENET_MEAN, IMAGENET_STD

VALUES = (0, 1, 2)
"""Background, anterior and posterior part of the hippocampus."""

HEAD_STEPS = 100


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One patient's volume: images (3, S, S) of its slices and their masks (S, H, W)."""

    patient: str
    images: list[torch.Tensor]
    masks: torch.Tensor

    @property
    def middle(self) -> dict[int, torch.Tensor]:
        """The mask of the middle slice, by its place."""
        place = round(len(self.images) / 2)
        return {place: self.masks[place]}


def scanned(data: Path, key: Path) -> Manifest:
    """All sagittal slices with their masks: on these both parts of the hippocampus are seen at once."""
    return scan(
        [data / "hippocampus" / "images"], masks=data / "hippocampus" / "labels", plane="sagittal", key=key, workers=2
    )


def transform_of(size: int, window: str) -> EvaluationTransform:
    """All of a slice, black around it."""
    return EvaluationTransform(
        size=size, fit="pad", intensity=Intensity(window=window), mean=IMAGENET_MEAN, std=IMAGENET_STD
    )


def read_volumes(manifest: Manifest, transform: EvaluationTransform) -> list[LabelledVolume]:
    """The volumes of a manifest."""
    pixels, patients, found = PixelDataset(manifest), manifest.column("patient"), []
    for stack in find_stacks(manifest):
        rows = stack.rows.tolist()
        masks = torch.stack([pixels.mask(row) for row in rows])
        found.append(LabelledVolume(patients[rows[0]], [transform(pixels[row]) for row in rows], masks))
    return found


def copied(volume: LabelledVolume, given: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """Each slice has the mask of the labelled one."""
    (mask,) = given.values()
    return mask.expand(len(volume.images), -1, -1)


def propagated(
    volume: LabelledVolume,
    given: Mapping[int, torch.Tensor],
    maker: MapMaker,
    transform: EvaluationTransform,
    propagation: Propagation | None = None,
) -> torch.Tensor:
    """`medino propagate`."""
    return propagate_masks(volume.images, given, maker, transform, propagation)


def by_linear_head(
    volume: LabelledVolume,
    given: Mapping[int, torch.Tensor],
    maker: MapMaker,
    transform: EvaluationTransform,
    rate: float,
) -> torch.Tensor:
    """medino's linear head, trained on the labelled slices of this volume alone."""
    maps = tokens_of(volume.images, maker).permute(0, 3, 1, 2)
    places = sorted(given)
    targets = torch.stack([transform.place_mask(given[place]) for place in places])
    head = build_head("linear", maps.shape[1], len(VALUES), seed=0)
    assert isinstance(head, LinearHead)
    train_head(head, maps[places], F.one_hot(targets, len(VALUES)).permute(0, 3, 1, 2).float(), rate)
    head.eval()
    with torch.no_grad():
        shares = F.interpolate(head(maps), size=transform.size, mode="bilinear", align_corners=False).softmax(dim=1)
    height, width = volume.masks.shape[1:]
    return torch.stack([likeliest(each, transform, height, width) for each in shares])


def train_head(head: LinearHead, maps: torch.Tensor, target: torch.Tensor, rate: float) -> None:
    """Train as `medino fit` trains it: Dice + cross-entropy, AdamW, the rate falling to 0."""
    loss = DiceCELoss(softmax=True, batch=True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / HEAD_STEPS)
    for _ in range(HEAD_STEPS):
        scores = F.interpolate(head(maps), size=target.shape[-2:], mode="bilinear", align_corners=False)
        optimizer.zero_grad()
        loss(scores, target).backward()
        optimizer.step()
        schedule.step()


def dices(found: torch.Tensor, volume: LabelledVolume, given: Sequence[int]) -> np.ndarray:
    """(2,) Dice of each part over the slices that nobody labelled; NaN where both masks lack it."""
    rest = torch.ones(len(found), dtype=torch.bool)
    rest[list(given)] = False
    values = []
    for value in VALUES[1:]:
        ours, truth = found[rest] == value, volume.masks[rest] == value
        total = int(ours.sum() + truth.sum())
        values.append(2 * int((ours & truth).sum()) / total if total else np.nan)
    return np.array(values)
