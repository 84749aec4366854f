"""What the phantom's patients have: nothing, round smooth nodules, or patches of a fine net.

Both findings change an image's histogram, nodules look like vessels seen end on but for their size, and both can lie
anywhere in the lungs. They are plain: a small untrained transformer is to be above chance (1/3), so that a comparison
with it means something. A thumbnail of 12 x 12 and a histogram in a logistic regression reach a balanced accuracy of
about 0.8 at 20 images a class, in other patients; a test holds it between 0.6 and 0.9.
"""

from dataclasses import dataclass

import numpy as np

from medino.data.phantom.anatomy import Anatomy, draw_waves, soft, waves

LABELS = ("normal", "nodules", "reticular")
"""The phantom's classes."""

NODULE_RADII = (0.12, 0.2)
"""Half widths of nodules, in halves of the image's side: 5.8 to 9.6 px at 96 px, three times and more those of vessels
seen end on."""

NODULE_CONTRAST = (0.45, 0.7)
"""Attenuation in a nodule's middle; ribs add 0.08 to 0.16."""

PATCH_RADII = (0.4, 0.6)
"""Half widths of a net's patch, in halves of the image's side."""

NET_LENGTHS = (0.2, 0.3)
"""Mesh of the net, in halves of the image's side: 10 to 14 px at 96 px, between vessels' and ribs' distances."""

NET_CONTRAST = (0.4, 0.6)
"""Attenuation between the net's lines and its holes."""


@dataclass(frozen=True)
class Finding:
    """One lesion.

    Attributes:
        x: across, where it lies.
        y: down, where it lies.
        radii: its half width and half height.
        contrast: attenuation that it adds.
        net: plane waves of its texture; None for a smooth one.
    """

    x: float
    y: float
    radii: tuple[float, float]
    contrast: float
    net: np.ndarray | None = None


def draw_findings(label: str, anatomy: Anatomy, generator: np.random.Generator) -> tuple[Finding, ...]:
    """Draw the findings of one patient, inside the lung fields: none, three to six nodules, or three or four nets."""
    if label == "normal":
        return ()
    if label == "nodules":
        count = int(generator.integers(3, 7))
        return tuple(_draw_nodule(anatomy, generator) for _ in range(count))
    count = int(generator.integers(3, 5))
    return tuple(_draw_net(anatomy, generator) for _ in range(count))


def _draw_place(anatomy: Anatomy, generator: np.random.Generator) -> tuple[float, float]:
    """Draw a place well inside either lung field, away from heart and diaphragm."""
    side = generator.choice((-1, 1))
    x = side * (anatomy.lung_center + generator.uniform(-0.3, 0.6) * anatomy.lung_width)
    return float(x), float(anatomy.lung_level + generator.uniform(-0.6, 0.4) * anatomy.lung_height)


def _draw_nodule(anatomy: Anatomy, generator: np.random.Generator) -> Finding:
    radius = generator.uniform(*NODULE_RADII)
    stretch = generator.uniform(0.88, 1.12)
    return Finding(
        *_draw_place(anatomy, generator), (radius * stretch, radius / stretch), generator.uniform(*NODULE_CONTRAST)
    )


def _draw_net(anatomy: Anatomy, generator: np.random.Generator) -> Finding:
    width, height = generator.uniform(*PATCH_RADII, 2)
    net = draw_waves(generator, count=20, lengths=NET_LENGTHS)
    return Finding(*_draw_place(anatomy, generator), (width, height), generator.uniform(*NET_CONTRAST), net)


def draw_finding(finding: Finding, x: np.ndarray, y: np.ndarray, growth: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw one finding.

    Args:
        finding: the lesion.
        x: (H, W) across.
        y: (H, W) down.
        growth: factor of its size at this exposure.

    Returns:
        Attenuation that it adds (H, W), and where it is (H, W) bool; both still to be cut to the lung fields.
    """
    width, height = finding.radii[0] * growth, finding.radii[1] * growth
    distance = np.hypot((x - finding.x) / width, (y - finding.y) / height)
    if finding.net is None:
        ball = np.sqrt(np.clip(1 - distance**2, 0, 1))
        added = finding.contrast * soft(1 - distance, 0.1) * (0.5 + 0.5 * ball)
    else:
        # Lines where the waves cross zero, less their mean of .35, so that the patch is no brighter than the lung.
        lines = np.exp(-((waves(finding.net, x, y) / 0.35) ** 2)) - 0.35
        added = 1.5 * finding.contrast * lines * soft(1 - distance, 0.08)
    return added, distance < 1
