"""Perceptual hashes of a thumbnail as it is and as it would look mirrored, turned and zoomed.

A hash holds the signs of the lowest coefficients of the discrete cosine transform, as the `DCT hash` of Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with two changes. The thumbnail fades to
its mean towards a circle, so that what a rotation brings in at the corners counts for little. And a coefficient is
compared with 0 instead of the median: a mirrored image then has the same coefficients with the signs of the odd columns
changed, a transposed one has them transposed, and all eight hashes of the square's symmetries come from one transform.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.fft import dctn

from medino.curation.looks import THUMBNAIL

SHORT, LONG = 8, 16
"""Sides of the blocks of coefficients: 64 bits to search by, 256 bits to rank by."""

ANGLES = (0, -20, -10, 10, 20)
"""Degrees by which an image is turned before it is hashed, beside the quarter turns. A hash stands about 5 degrees and
10 % of zoom. Of the 2,160 pairs of tiles cut from one original in LC25000 (turned by up to 25 degrees each, and zoomed
to hide the corners), 15 % lie within 7 bits by the eight symmetries alone and 50 % with these angles and zooms."""

ZOOMS = (1.0, 1.2)
"""Zooms likewise. Both images of a pair are tried, so that none has to be made smaller."""


@dataclass(frozen=True)
class Pose:
    """One way to show an image before it is hashed.

    Attributes:
        angle: degrees.
        zoom: how much larger.
        transposed: whether rows and columns change places, as the first thing after angle and zoom.
        flipped: whether rows and whether columns are then reversed.
    """

    angle: float
    zoom: float
    transposed: bool
    flipped: tuple[bool, bool]

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2): from a place (x, y) in the shown image, centre at 0, to the place in the image itself."""
        signs = np.diag([-1.0 if flip else 1.0 for flip in self.flipped])
        swap = np.eye(2)[::-1] if self.transposed else np.eye(2)
        row_first = _rotation(self.angle) / self.zoom @ swap @ signs
        return row_first[::-1, ::-1]


@cache
def poses() -> tuple[Pose, ...]:
    """All poses that are tried, in the order of `posed_hashes`."""
    return tuple(
        Pose(angle, zoom, transposed, (rows, columns))
        for angle in ANGLES
        for zoom in ZOOMS
        for transposed in (False, True)
        for rows in (False, True)
        for columns in (False, True)
    )


def hashes(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of thumbnails (N, S, S) as they are.

    Returns:
        (N,) uint64 to search by and (N, 4) uint64 to rank by.
    """
    return _bits(_coefficients(thumbnails.astype(np.float32)))


def posed_hashes(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of thumbnails (N, S, S) in all P poses: (N, P) and (N, P, 4) uint64."""
    found = [_bits(shown) for shown in _shown(thumbnails.astype(np.float32))]
    return np.stack([short for short, _ in found], axis=1), np.stack([long for _, long in found], axis=1)


def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How many bits differ, over the last axis of (..., 4) uint64."""
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)


def _shown(images: np.ndarray) -> Iterator[np.ndarray]:
    """The coefficients in each pose."""
    alternate = np.where(np.arange(LONG) % 2, -1, 1).astype(np.float32)
    for angle in ANGLES:
        for zoom in ZOOMS:
            upright = _coefficients(_turned(images, angle, zoom))
            for transposed in (False, True):
                turned = upright.transpose(0, 2, 1) if transposed else upright
                for rows in (False, True):
                    for columns in (False, True):
                        yield turned * (alternate[:, None] if rows else 1) * (alternate if columns else 1)


def _turned(images: np.ndarray, angle: float, zoom: float) -> np.ndarray:
    """Images (N, S, S) turned about their centre and zoomed."""
    if angle == 0 and zoom == 1:
        return images
    centre = (THUMBNAIL - 1) / 2
    matrix = np.eye(3)
    matrix[1:, 1:] = _rotation(angle) / zoom
    offset = np.array([0.0, centre, centre]) - matrix @ np.array([0.0, centre, centre])
    return ndimage.affine_transform(images, matrix, offset, order=1, mode="nearest")


def _rotation(angle: float) -> np.ndarray:
    radians = np.deg2rad(angle)
    return np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])


@cache
def _fading() -> np.ndarray:
    """(S, S): 1 in the middle, 0 from the inscribed circle on."""
    line = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL * 2 - 1
    radius = np.hypot(line[:, None], line)
    return np.where(radius < 1, np.cos(np.pi / 2 * radius), 0).astype(np.float32)


def _coefficients(images: np.ndarray) -> np.ndarray:
    """(N, LONG, LONG) lowest coefficients of the cosine transform of (N, S, S)."""
    fading = _fading()
    mean = (images * fading).sum(axis=(1, 2), keepdims=True) / fading.sum()
    # Halved first: twice as fast, and the frequencies that are kept lie far below.
    small = ((images - mean) * fading).reshape(len(images), THUMBNAIL // 2, 2, THUMBNAIL // 2, 2).mean(axis=(2, 4))
    return dctn(small, axes=(1, 2), norm="ortho")[:, :LONG, :LONG]


def _bits(coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signs as bits; the mean's is always 0."""
    signs = coefficients > 0
    signs[:, 0, 0] = False
    count = len(signs)
    short = np.packbits(signs[:, :SHORT, :SHORT].reshape(count, -1), axis=1).view(np.uint64)[:, 0]
    return short, np.packbits(signs.reshape(count, -1), axis=1).view(np.uint64)
