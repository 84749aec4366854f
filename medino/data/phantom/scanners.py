"""Two simulated scanners: how attenuation becomes stored values, and what their files say about it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

HIGHEST_STORED = 4095
"""12 bits stored."""

NATIVE_SIZE = 96
"""Size of image at which blur and noise are given in pixels."""


@dataclass(frozen=True)
class Scanner:
    """One scanner. Makers and models are made up.

    Attributes:
        manufacturer: as the file says it.
        model: as the file says it.
        photometric: MONOCHROME2 stores attenuation, MONOCHROME1 the dose behind the patient: low values are bright.
        offset: stored value where there is no attenuation.
        gain: stored values for an attenuation of 1; negative for MONOCHROME1.
        response: exponent of the attenuation's curve.
        blur: standard deviation of the point spread, px at 96 px.
        noise: standard deviation of the noise, in attenuation.
        grain: standard deviation of the noise's own blur, px at 96 px.
        rescale: slope and intercept of the modality transformation; None where the file has none.
        window: lowest and highest attenuation that the file's own window shows.
    """

    manufacturer: str
    model: str
    photometric: str
    offset: float
    gain: float
    response: float
    blur: float
    noise: float
    grain: float
    rescale: tuple[float, float] | None
    window: tuple[float, float]

    def acquire(self, attenuation: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Expose: blur, noise, the detector's curve, 12 bits.

        Args:
            attenuation: (H, W).
            generator: where the noise comes from.

        Returns:
            (H, W) uint16, 0 to 4095.
        """
        pixel = attenuation.shape[0] / NATIVE_SIZE
        seen = ndimage.gaussian_filter(attenuation, self.blur * pixel)
        grain = ndimage.gaussian_filter(generator.standard_normal(seen.shape, dtype=np.float32), self.grain * pixel)
        seen = seen + self.noise * grain / grain.std()
        return np.clip(np.round(self.stored(seen)), 0, HIGHEST_STORED).astype(np.uint16)

    def stored(self, attenuation: np.ndarray) -> np.ndarray:
        """The detector's curve: attenuation to stored value, not yet rounded."""
        return self.offset + self.gain * np.clip(attenuation, 0, None) ** self.response

    def shown_window(self) -> tuple[float, float]:
        """Center and width of the file's own window, after the modality transformation."""
        slope, intercept = self.rescale or (1.0, 0.0)
        low, high = sorted(float(value) for value in self.stored(np.array(self.window)) * slope + intercept)
        return round((low + high) / 2, 1), round(high - low, 1)


SCANNERS = (
    Scanner(
        manufacturer="Phantom Scanner A",
        model="Drawn Chest 1",
        photometric="MONOCHROME2",
        offset=200.0,
        gain=2000.0,
        response=1.0,
        blur=0.5,
        noise=0.02,
        grain=0.0,
        rescale=(0.5, -100.0),
        window=(0.1, 1.5),
    ),
    Scanner(
        manufacturer="Phantom Scanner B",
        model="Drawn Chest 2",
        photometric="MONOCHROME1",
        offset=3700.0,
        gain=-1800.0,
        response=0.85,
        blur=0.7,
        noise=0.03,
        grain=0.6,
        rescale=None,
        window=(0.15, 1.4),
    ),
)
"""A is sharp with fine noise and stores attenuation; B is softer with coarse noise and stores the dose."""
