"""From a manifest's images to a table of features: by a frozen backbone, or by a description without one."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medino.core import InputError, UnreadableImageError, track
from medino.data import Manifest, PixelDataset, Reject
from medino.features.table import FeatureTable
from medino.features.transform import EvaluationTransform
from medino.models import VisionTransformer, backbone_fingerprint

Describe = Callable[[torch.Tensor], Mapping[tuple[int, str], torch.Tensor]]
"""From images (B, 3, S, S) to vectors (B, D) by layer and pooling."""

LAYERS = 4
"""Last blocks whose class token is kept, for the features `last_four`."""


def embed(
    backbone: VisionTransformer,
    manifest: Manifest,
    transform: EvaluationTransform | None = None,
    *,
    layers: int = LAYERS,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    num_workers: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> FeatureTable:
    """Features of all images of a manifest by a frozen backbone.

    Args:
        backbone: is put on `device` and used in evaluation mode.
        manifest: all rows are embedded; what can't be decoded is left out and listed in the table's `failures`.
        transform: what the backbone is shown; that of `EvaluationTransform.for_backbone` if None.
        layers: class tokens of this many last blocks are kept (fewer where the backbone has fewer).
        batch_size: images at once.
        device: where the backbone runs.
        num_workers: processes that decode.
        facts: more to keep with the table, JSON-plain.

    Returns:
        Class tokens of the last blocks and the mean patch token of the last one, after the final norm.

    Raises:
        InputError: the manifest is empty, an image is smaller than a patch, none could be decoded, the transform's
            size does not fit the patch, or features are NaN or infinite.
    """
    transform = transform or EvaluationTransform.for_backbone(backbone.config)
    manifest.check_roots()
    manifest.check_sides(backbone.config.patch_size)
    count = min(layers, backbone.config.depth)

    def tokens(images: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
        outputs = backbone.intermediate(images.to(device), count)
        blocks = {(count - place, "class"): output.class_token for place, output in enumerate(outputs)}
        return {**blocks, (1, "mean_patch"): outputs[-1].patches.mean(dim=(1, 2))}

    fingerprint = backbone_fingerprint(backbone)
    training = backbone.training
    backbone.to(device).eval()
    try:
        return describe_images(
            tokens,
            manifest,
            transform,
            name=fingerprint,
            batch_size=batch_size,
            num_workers=num_workers,
            facts={"backbone": backbone.config.name, **(facts or {})},
        )
    finally:
        backbone.train(training)


def describe_images(
    describe: Describe,
    manifest: Manifest,
    transform: EvaluationTransform,
    *,
    name: str,
    batch_size: int = 32,
    num_workers: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> FeatureTable:
    """A table of what a function makes of each image; for arguments and errors see `embed`.

    Args:
        describe: vectors of a batch of images.
        manifest: all rows are described.
        transform: makes the images.
        name: fingerprint of what describes.
        batch_size: images at once.
        num_workers: processes that decode.
        facts: more to keep with the table.
    """
    if not len(manifest):
        raise InputError(f"the manifest {manifest.name} is empty: there is nothing to embed; scan again")
    loader = DataLoader(
        ReadImages(manifest, transform), batch_size=batch_size, num_workers=num_workers, collate_fn=readable_and_not
    )
    rows: list[int] = []
    failures: dict[int, str] = {}
    parts: dict[tuple[int, str], list[np.ndarray]] = defaultdict(list)
    with torch.inference_mode():
        for readable, images, unreadable in track(loader, "embedding images (batches)"):
            failures.update(unreadable)
            if not readable:
                continue
            rows += readable
            for block, output in describe(images).items():
                parts[block].append(output.float().cpu().numpy())
    if not rows:
        raise InputError(f"none of the {len(manifest)} images of {manifest.name} could be decoded: {failures[0]}")
    blocks = {block: np.concatenate(vectors) for block, vectors in sorted(parts.items())}
    broken = np.zeros(len(rows), dtype=bool)
    for vectors in blocks.values():
        broken |= ~np.isfinite(vectors).all(axis=1)
    if broken.any():
        raise InputError(
            f"the features of {int(broken.sum())} of {len(rows)} images are NaN or infinite; check the weights "
            "(a run that diverged leaves such ones)"
        )
    sample_ids = manifest.column("sample_id")
    return FeatureTable(
        sample_ids=sample_ids[rows],
        blocks=blocks,
        backbone=name,
        manifest=manifest.fingerprint,
        transform=transform.fingerprint,
        rejects=tuple(sample_ids[list(failures)]),
        facts={"transform": transform.settings, **(facts or {})},
        failures=tuple(_reject(manifest, row, reason) for row, reason in failures.items()),
    )


def without_rejects(table: FeatureTable, manifest: Manifest) -> FeatureTable:
    """The same features for the manifest that their failures were moved out of (see `medino.data.record_rejects`)."""
    return dataclasses.replace(table, manifest=manifest.fingerprint, rejects=(), failures=())


class ReadImages(Dataset[tuple[int, torch.Tensor | str]]):
    """Rows of a manifest as (row, image), or (row, reason) where decoding fails."""

    def __init__(self, manifest: Manifest, transform: EvaluationTransform) -> None:
        self.pixels = PixelDataset(manifest, neighbours=transform.intensity.channels == "neighbours")
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor | str]:
        try:
            pixels = self.pixels[row]
        except UnreadableImageError as error:
            return row, str(error)
        if not pixels.values.isfinite().all():
            return row, "pixel values that are not finite (NaN or infinity)"
        return row, self.transform(pixels)


def readable_and_not(
    items: list[tuple[int, torch.Tensor | str]],
) -> tuple[list[int], torch.Tensor, dict[int, str]]:
    """Rows and images (B, 3, S, S) of what could be read, and the reasons for the other rows."""
    images = {row: item for row, item in items if isinstance(item, torch.Tensor)}
    reasons = {row: item for row, item in items if isinstance(item, str)}
    return list(images), torch.stack(list(images.values())) if images else torch.empty(0), reasons


def _reject(manifest: Manifest, row: int, reason: str) -> Reject:
    """What the manifest's list of rejects says of a row."""
    sample = manifest.sample(row)
    return sample.reject(reason)
