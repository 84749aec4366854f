"""Where a thumbnail shows tissue: coloured and dense by Otsu's thresholds, without pen marks, specks and holes."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SATURATION_BOUNDS = (0.03, 0.12)
"""Otsu's threshold of saturation is kept between these. Below 8/255 is glass (CLAM's default threshold, Lu et al.
2021); on the slides of the tests 99 % of the glass lies below 0.04. Without bounds a field full of tissue would be
parted in two, and an empty one into noise and noise."""

DENSITY_BOUNDS = (0.03, 0.08)
"""Otsu's threshold of optical density is kept between these: 99 % of the glass on the slides of the tests lies below
0.06. The 0.15 at which Macenko et al. (2009) let stain begin would lose pale eosin here."""

PEN_DARK, PEN_GREY = 0.35, 0.35
"""Black pen: value below the first and saturation below the second; nuclei are as dark but more coloured."""

GREEN_HUES, GREEN_SATURATION = (75.0, 205.0), 0.15
"""Green and turquoise pen: hue in degrees and least saturation. Haematoxylin and eosin lie at 240 to 360 degrees, DAB
below 45."""

BLUE_HUES, BLUE_SATURATION = (205.0, 252.0), 0.45
"""Blue pen: hue in degrees and least saturation. Haematoxylin alone has these hues too, but stays paler."""

PEN_REACH = 2
"""By how many pixels of the thumbnail pen marks grow: their rims are mixed with what lies beside them."""


@dataclass(frozen=True)
class TissueMap:
    """What is where on a thumbnail, each (H, W) bool.

    Attributes:
        tissue: tissue that is no pen mark.
        pen: pen marks.
    """

    tissue: np.ndarray
    pen: np.ndarray


def find_tissue(image: np.ndarray, least_area: int, largest_hole: int, stroke: int | None = 3) -> TissueMap:
    """Tissue and pen marks of a thumbnail.

    A pixel is tissue where its saturation and its optical density both exceed their thresholds: dust, shadows and the
    coverslip's edge are dense but grey, and glass can be coloured but is not dense. Then pen marks are taken out,
    specks are removed and holes are filled, except where a pen mark lies.

    Args:
        image: (H, W, 3) uint8.
        least_area: connected tissue (by corners as well) of fewer pixels is a speck.
        largest_hole: holes of at most this many pixels are filled.
        stroke: pen marks are at least this wide, pixels; None looks for none.
    """
    pen = np.zeros(image.shape[:2], dtype=bool) if stroke is None else pen_marks(image, stroke)
    saturation, density = saturation_of(image), density_of(image)
    seen = ~pen
    coloured = saturation > np.clip(otsu(saturation[seen], (0.0, 1.0)), *SATURATION_BOUNDS)
    dense = density > np.clip(otsu(density[seen], (0.0, 1.5)), *DENSITY_BOUNDS)
    tissue = _without_small(coloured & dense & seen, least_area)
    tissue = ~_without_small(~tissue, largest_hole + 1, corners=False) & seen
    return TissueMap(tissue, pen)


def otsu(values: np.ndarray, bounds: tuple[float, float]) -> float:
    """The threshold that parts values into two classes with the largest variance between them.

    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1), 1979, equation 18, on a
    histogram of 256 bins. Where a range of thresholds is as good (an empty valley), its middle.

    Args:
        values: any shape; none gives the lower bound.
        bounds: of the histogram; values beyond count at its ends.
    """
    counts, edges = np.histogram(np.clip(values, *bounds), bins=256, range=bounds)
    share = np.cumsum(counts) / max(counts.sum(), 1)
    mean = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2) / max(counts.sum(), 1)
    weight = share * (1 - share)
    between = np.divide((mean[-1] * share - mean) ** 2, weight, out=np.zeros(256), where=weight > 0)
    if between.max() <= 0:
        return bounds[0]
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:][best].mean())


def saturation_of(image: np.ndarray) -> np.ndarray:
    """Saturation of the HSV model in [0, 1], (H, W) float32."""
    high = image.max(axis=2).astype(np.float32)
    return (high - image.min(axis=2)) / np.maximum(high, 1)


def density_of(image: np.ndarray) -> np.ndarray:
    """Optical density, mean of the channels' -log10 of the light that passes (white is 0), (H, W) float32."""
    return -np.log10(np.maximum(image, 1).astype(np.float32) / 255).mean(axis=2)


def pen_marks(image: np.ndarray, stroke: int = 3) -> np.ndarray:
    """Where blue, green or black pen lies, with its rims, (H, W) bool.

    Red pen has the hue of eosin and of blood and is not told apart.

    Args:
        image: (H, W, 3) uint8.
        stroke: what is narrower, in pixels, is no mark: single dark nuclei, grains of pigment.
    """
    hue, saturation, value = _hue(image), saturation_of(image), image.max(axis=2) / np.float32(255)
    green = (hue >= GREEN_HUES[0]) & (hue < GREEN_HUES[1]) & (saturation > GREEN_SATURATION)
    blue = (hue >= BLUE_HUES[0]) & (hue < BLUE_HUES[1]) & (saturation > BLUE_SATURATION)
    black = (value < PEN_DARK) & (saturation < PEN_GREY)
    found = (green | blue | black).astype(np.uint8)
    marks = ndimage.grey_opening(found, (stroke, stroke)).astype(bool)
    return ndimage.binary_dilation(marks, np.ones((3, 3)), iterations=PEN_REACH)


def _hue(image: np.ndarray) -> np.ndarray:
    """Hue of the HSV model in degrees, 0 for grey, (H, W) float32."""
    red, green, blue = np.moveaxis(image.astype(np.float32), 2, 0)
    high, low = image.max(axis=2).astype(np.float32), image.min(axis=2).astype(np.float32)
    spread = np.maximum(high - low, 1)
    sextant = np.select(
        [high == low, high == red, high == green],
        [np.float32(0), ((green - blue) / spread) % 6, (blue - red) / spread + 2],
        (red - green) / spread + 4,
    )
    return 60 * sextant


def _without_small(mask: np.ndarray, least: int, corners: bool = True) -> np.ndarray:
    """A mask without its connected parts of fewer than `least` pixels."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)) if corners else None)
    large = np.bincount(parts.ravel()) >= least
    large[0] = False
    return large[parts]
