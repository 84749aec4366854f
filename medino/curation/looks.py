"""One look at each image: decoded once, kept as a thumbnail, a hash of its pixels and two numbers on quality."""

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from medino.core import InputError, UnreadableImageError
from medino.data import Intensity, Manifest, Pixels, Sample, Source, read_pixels
from medino.data.intensity import valid_values
from medino.data.reading import read_all
from medino.data.workers import Workers

THUMBNAIL = 64
"""Side of the thumbnails, pixels: 4 KB an image, so that a million lie in 4 GB of a temporary file."""

TAILS = (0.5, 99.5)
"""Percentiles between which an image's contrast is measured: a few dead pixels or a marker are no content."""


@dataclass(frozen=True)
class Look:
    """What one decoding leaves.

    Attributes:
        digest: BLAKE2b-128 of size and values.
        contrast: distance of the `TAILS`, as a share of the display range for images of up to 8 bits and of the larger
            of the two elsewhere: physical units have no range that an image should fill.
        ends: share of the values that equal the image's smallest or largest value.
        thumbnail: (THUMBNAIL, THUMBNAIL) uint8, grey, stretched to the full range.
    """

    digest: bytes
    contrast: float
    ends: float
    thumbnail: np.ndarray


@dataclass(frozen=True, eq=False)
class Looks:
    """The looks at N images, in the manifest's order.

    Attributes:
        digests: (N, 2) uint64, the hash of the pixels.
        contrast: (N,) float64, NaN where an image can't be decoded.
        ends: (N,) float64.
        thumbnails: (N, THUMBNAIL, THUMBNAIL) uint8, in a nameless temporary file.
        failures: row and reason of what can't be decoded.
    """

    digests: np.ndarray
    contrast: np.ndarray
    ends: np.ndarray
    thumbnails: np.ndarray
    failures: dict[int, str]

    @property
    def readable(self) -> np.ndarray:
        """(N,) bool: what could be decoded."""
        return ~np.isnan(self.contrast)


def look_at_all(manifest: Manifest, workers: int | Workers = 1) -> Looks:
    """Decode every image once.

    Args:
        manifest: the images.
        workers: who decodes, a number is a number of processes; what is seen does not depend on it.

    Raises:
        InputError: the manifest is empty, or a scanned folder is not there.
    """
    if not len(manifest):
        raise InputError(f"the manifest {manifest.name} has no images; scan a folder that holds some")
    manifest.check_roots()
    count = len(manifest)
    # Without a name it vanishes with the process, however that ends: thumbnails show people.
    with tempfile.TemporaryFile() as file:
        thumbnails = np.memmap(file, np.uint8, mode="w+", shape=(count, THUMBNAIL, THUMBNAIL))
    digests = np.zeros((count, 2), np.uint64)
    contrast, ends = np.full(count, np.nan), np.full(count, np.nan)
    failures = {}
    answers = read_all(look_at, tasks(manifest), workers, "looking at each image", total=count)
    for row, answer in enumerate(answers):
        if isinstance(answer, str):
            failures[row] = answer
            continue
        digests[row] = np.frombuffer(answer.digest, np.uint64)
        contrast[row], ends[row], thumbnails[row] = answer.contrast, answer.ends, answer.thumbnail
    return Looks(digests, contrast, ends, thumbnails, failures)


def tasks(manifest: Manifest) -> Iterator[tuple[Source, Sample]]:
    """File and row of each image."""
    for row, sample in enumerate(manifest.samples()):
        yield manifest.source(row), sample


def look_at(task: tuple[Source, Sample]) -> Look | str:
    """Decode one image, or say why that can't be done."""
    try:
        pixels = read_pixels(*task)
    except UnreadableImageError as error:
        return str(error)
    digest = hashlib.blake2b(repr(tuple(pixels.values.shape)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels.values.float().numpy()).tobytes())
    values = valid_values(pixels).numpy()
    low, high = (float(value) for value in np.percentile(values, TAILS))
    span = pixels.full_range[1] - pixels.full_range[0]
    scale = span if 0 < span <= 255 else max(abs(low), abs(high))
    return Look(
        digest=digest.digest(),
        contrast=(high - low) / scale if scale > 0 else 0.0,
        ends=float(((values == values.min()) | (values == values.max())).mean()),
        thumbnail=stretched(grey(pixels, THUMBNAIL)),
    )


def grey(pixels: Pixels, side: int) -> torch.Tensor:
    """(side, side) float32: the image in its usual window, without colour and without its aspect."""
    image = Intensity().apply(pixels).mean(dim=0)
    return F.interpolate(image[None, None], size=(side, side), mode="area")[0, 0]


def stretched(image: torch.Tensor) -> np.ndarray:
    """The same as uint8 over the full range: a dim image keeps its detail."""
    low, high = float(image.min()), float(image.max())
    return ((image - low) / max(high - low, 1e-9) * 255).round().to(torch.uint8).numpy()
