"""The drawn chest: body, lung fields, heart, ribs, spine and vessels, as attenuation along each ray.

Everything is a smooth function of place, (x, y) in -1 .. 1 with y pointing down, so that a pose is a change of
coordinates and any size can be drawn. Lengths are in halves of the image's side. Attenuation has no unit: about 0 is
air and 1 is the body beside the lungs. The numbers were set by eye, so that the result looks like a small radiograph.
"""

from dataclasses import dataclass

import numpy as np

EDGE = 0.02
"""Softness of outlines: about one pixel at 96 px."""


@dataclass(frozen=True)
class Anatomy:
    """One patient's chest.

    Attributes:
        body_width: half width of the trunk.
        lung_width: half width of a lung field.
        lung_height: half height of a lung field.
        lung_center: distance of a lung field's middle from the midline.
        lung_level: height of the lung fields' middle.
        diaphragm: height of the domes that end the lung fields.
        heart: x, y, half width and half height of the heart's shadow.
        rib_gap: distance between two ribs.
        rib_shift: height of the first rib.
        rib_contrast: attenuation that a rib adds.
        lung_air: attenuation that a lung field takes away.
        vessels: (n, 6): x and y of both ends, half width and attenuation of each piece of vessel.
        spots: (n, 4): x, y, radius and attenuation of vessels seen end on.
        tissue: (n, 4): plane waves of the soft tissue's unevenness, see `waves`.
    """

    body_width: float
    lung_width: float
    lung_height: float
    lung_center: float
    lung_level: float
    diaphragm: float
    heart: tuple[float, float, float, float]
    rib_gap: float
    rib_shift: float
    rib_contrast: float
    lung_air: float
    vessels: np.ndarray
    spots: np.ndarray
    tissue: np.ndarray


def draw_anatomy(generator: np.random.Generator) -> Anatomy:
    """Draw one patient."""
    draw = generator.uniform
    lung_center = draw(0.38, 0.46)
    return Anatomy(
        body_width=draw(0.84, 0.98),
        lung_width=draw(0.28, 0.36),
        lung_height=draw(0.62, 0.78),
        lung_center=lung_center,
        lung_level=draw(-0.1, 0.04),
        diaphragm=draw(0.42, 0.6),
        heart=(draw(0.08, 0.16), draw(0.26, 0.36), draw(0.24, 0.34), draw(0.22, 0.3)),
        rib_gap=draw(0.16, 0.2),
        rib_shift=draw(-0.8, -0.64),
        rib_contrast=draw(0.08, 0.16),
        lung_air=draw(0.5, 0.62),
        vessels=np.concatenate([_draw_vessels(generator, side, lung_center) for side in (-1, 1)]),
        spots=_draw_spots(generator, lung_center),
        tissue=draw_waves(generator, count=8, lengths=(0.5, 1.2)),
    )


def _draw_vessels(generator: np.random.Generator, side: int, lung_center: float) -> np.ndarray:
    """Vessels of one lung: six branches that fan out from its root, each of three thinning pieces."""
    pieces = []
    for angle in np.linspace(-1.25, 1.25, 6) + generator.normal(0, 0.12, 6):
        x, y = side * (lung_center - 0.22), generator.normal(0.02, 0.04)
        width = generator.uniform(0.018, 0.028)
        for _ in range(3):
            length = generator.uniform(0.12, 0.2)
            next_x, next_y = x + side * length * np.cos(angle), y + length * np.sin(angle)
            pieces.append((x, y, next_x, next_y, width, generator.uniform(0.1, 0.18)))
            x, y, width, angle = next_x, next_y, width * 0.75, angle + generator.normal(0, 0.25)
    return np.array(pieces)


def _draw_spots(generator: np.random.Generator, lung_center: float) -> np.ndarray:
    """Two to six vessels seen end on: as bright as a nodule and smaller, in patients of every class."""
    count = generator.integers(2, 7)
    x = generator.choice((-1, 1), count) * (lung_center + generator.uniform(-0.2, 0.15, count))
    y = generator.uniform(-0.4, 0.35, count)
    return np.stack([x, y, generator.uniform(0.018, 0.032, count), generator.uniform(0.12, 0.3, count)], axis=1)


def draw_waves(generator: np.random.Generator, count: int, lengths: tuple[float, float]) -> np.ndarray:
    """Draw `count` plane waves of random direction: (count, 4) of both frequencies, phase and amplitude.

    Their sum has mean 0 and deviation 1 and is about Gaussian.

    Args:
        generator: where the randomness comes from.
        count: how many waves.
        lengths: shortest and longest wave.
    """
    frequencies = 2 * np.pi / generator.uniform(*lengths, count)
    angles, phases = generator.uniform(0, 2 * np.pi, (2, count))
    amplitude = np.full(count, np.sqrt(2 / count))
    return np.stack([frequencies * np.cos(angles), frequencies * np.sin(angles), phases, amplitude], axis=1)


def waves(parameters: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum plane waves at the places (x, y)."""
    across, down, phase, amplitude = (column[:, None, None] for column in parameters.T.astype(np.float32))
    return (np.cos(across * x + down * y + phase) * amplitude).sum(axis=0)


def soft(distance: np.ndarray, edge: float = EDGE) -> np.ndarray:
    """From 0 outside (negative distance) to 1 inside, over about `edge`."""
    return 0.5 + 0.5 * np.tanh(distance / (2 * edge))


def draw_chest(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, breath: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw a chest without findings.

    Args:
        anatomy: the patient.
        x: (H, W) across, to the image's right.
        y: (H, W) down.
        breath: how far the diaphragm stands below its mean, in halves of the image's side.

    Returns:
        Attenuation (H, W) and how much of a ray's place is lung field (H, W), 0 to 1.
    """
    trunk = anatomy.body_width * (0.8 + 0.2 * soft(y + 0.62, 0.06))
    body = soft(np.minimum(1 - np.abs(x) / trunk, np.where(y < -0.8, 0.42 - np.abs(x), 1.0)), 0.03)
    thickness = np.sqrt(np.clip(1 - (x / (1.08 * trunk)) ** 2, 0, 1))
    image = body * thickness * (1 + 0.06 * waves(anatomy.tissue, x, y))

    lungs = _lung_fields(anatomy, x, y, breath)
    image -= anatomy.lung_air * lungs * body
    image += body * (
        0.2 * np.exp(-((x / 0.085) ** 2)) * (1 + 0.15 * np.cos(40 * y)) + 0.08 * soft(0.16 - np.abs(x), 0.03)
    )
    heart_x, heart_y, heart_width, heart_height = anatomy.heart
    heart = soft(1 - np.hypot((x - heart_x) / heart_width, (y - heart_y - breath / 2) / heart_height), 0.06)
    image += 0.22 * heart * (1 - 0.5 * lungs)

    image += body * _ribs(anatomy, x, y)
    image += lungs * (_vessels(anatomy.vessels, x, y) + _spots(anatomy.spots, x, y))
    return np.clip(image, 0, None), lungs


def _lung_fields(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, breath: float) -> np.ndarray:
    """How much lung field is at each place: two ovals, cut by the diaphragm's domes and by the heart."""
    across = (np.abs(x) - anatomy.lung_center) / anatomy.lung_width
    down = (y - anatomy.lung_level) / anatomy.lung_height
    oval = anatomy.lung_width * (1 - (np.abs(across) ** 2.4 + np.abs(down) ** 2.4) ** (1 / 2.4))
    dome = anatomy.diaphragm + breath + 0.16 * (across - 0.1) ** 2 - y
    heart_x, heart_y, heart_width, heart_height = anatomy.heart
    heart = np.hypot((x - heart_x) / heart_width, (y - heart_y - breath / 2) / heart_height) - 1
    return soft(np.minimum(np.minimum(oval, dome), heart_width * heart))


def _ribs(anatomy: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Attenuation of the ribs: strong arcs behind, falling to the sides, faint ones in front, and the clavicles."""
    side = np.abs(x)
    inside = soft(0.86 * anatomy.body_width - side) * soft(side - 0.08)
    ribs = np.zeros_like(x)
    for slope, bend, strength, width in ((-0.1, 0.55, 1.0, 0.026), (0.75, -0.15, 0.5, 0.034)):
        place = (y - anatomy.rib_shift - slope * side - bend * side**2) / anatomy.rib_gap
        distance = (place - np.round(place)) * anatomy.rib_gap
        shown = soft(place + 0.5, 0.1) * soft(7.5 - place, 0.3)
        ribs += strength * shown * np.exp(-((distance / width) ** 2))
    clavicle = np.exp(-(((y + 0.66 + 0.18 * (side - 0.45)) / 0.035) ** 2)) * soft(0.72 - side) * soft(side - 0.12)
    return anatomy.rib_contrast * (ribs * inside + 1.3 * clavicle)


def _vessels(vessels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Attenuation of vessels that run in the image's plane: the strongest of all pieces at each place."""
    shown = np.zeros_like(x)
    # Piece by piece: all at once would be slower, since the arrays leave the processor's cache.
    for x1, y1, x2, y2, width, strength in vessels.tolist():
        along_x, along_y = x2 - x1, y2 - y1
        part = np.clip(((x - x1) * along_x + (y - y1) * along_y) / (along_x**2 + along_y**2), 0, 1)
        squared = (x - x1 - part * along_x) ** 2 + (y - y1 - part * along_y) ** 2
        np.maximum(shown, strength * np.exp(-squared / width**2), out=shown)
    return shown


def _spots(spots: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Attenuation of vessels that are seen end on."""
    at_x, at_y, radius, strength = (column[:, None, None] for column in spots.T.astype(np.float32))
    return (strength * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / radius**2)).sum(axis=0)
