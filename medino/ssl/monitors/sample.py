"""The images that a run is watched by: a few, decoded once, always the same."""

from dataclasses import dataclass

import torch

from medino.core import InputError, UnreadableImageError, track
from medino.data import Manifest, PixelDataset
from medino.features import EvaluationTransform
from medino.ssl.distributed import gather_objects


@dataclass(frozen=True)
class WatchedImages:
    """Images as a frozen backbone sees them.

    Attributes:
        rows: the rows of the manifest that could be decoded.
        pixels: (len(rows), 3, S, S) float32; at 224 pixels 0.6 MB an image.
    """

    rows: list[int]
    pixels: torch.Tensor

    @classmethod
    def load(cls, manifest: Manifest, transform: EvaluationTransform, what: str) -> "WatchedImages":
        """Decode all rows of a manifest; those that can't be are left out.

        Args:
            manifest: a few hundred rows at most.
            transform: what the backbone is shown.
            what: the images are for, in an error's words.

        Raises:
            InputError: none could be decoded, or a folder is not there.
        """
        images = PixelDataset(manifest, neighbours=transform.intensity.channels == "neighbours")
        rows, shown = [], []
        for row in track(range(len(manifest)), f"reading the images for {what}"):
            try:
                pixels = images[row]
            except UnreadableImageError:
                continue
            if bool(pixels.values.isfinite().all()):
                rows.append(row)
                shown.append(transform(pixels))
        # All processes are to measure the same: a file may have failed for one of them alone.
        readable = set.intersection(*(set(each) for each in gather_objects(rows)))
        shown = [pixels for row, pixels in zip(rows, shown, strict=True) if row in readable]
        rows = sorted(readable)
        if not rows:
            raise InputError(
                f"none of the {len(manifest)} images for {what} can be decoded; look at them by medino scan"
            )
        return cls(rows, torch.stack(shown))
