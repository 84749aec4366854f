"""What is done to a crop of each kind of image: natural as DINOv2's recipe has it, radiology, histology.

A kind is a plain object with two methods: `windows` draws the grey windows that a view is looked at through, `draw`
what is done to the crop in [0, 1] (`medino.views.changes`). Where in the ten views a crop stands (`Place`) decides its
blur and its solarisation.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import numpy as np

from medino.data import Window
from medino.views.blur import BLUR_SIGMAS, draw_blur_sigma
from medino.views.changes import Change
from medino.views.grey import draw_gamma, draw_noise, draw_window_jitter, jitter_window
from medino.views.photometry import ColourJitter, draw_colour_jitter
from medino.views.stain import draw_stain_jitter

BLUR_PROBABILITIES = {"published": (1.0, 0.1, 0.5), "reference": (0.0, 0.9, 0.5)}
"""Probability of blur for the first global crop, the second and the local ones. The reference code inverts what the
paper gives, so that "reference" is what ran; networks trained by either are equally accurate."""

FLIP_PROBABILITY = 0.5
JITTER_PROBABILITY = 0.8
GREYSCALE_PROBABILITY = 0.2
SOLARISE_PROBABILITY = 0.2
"""Probabilities of the recipe."""

NOISE_PROBABILITY = 0.5
"""Radiology: half of the views get noise, so that a view with and one without often meet."""

HISTOLOGY_CONTRAST = 0.1
"""Histology: reach of brightness and contrast; more than that is left to the stains."""

RECIPE_SIDE = 224
"""Side of the global crops that the recipe's blur is meant for, in pixels."""


class Place(IntEnum):
    """Where a crop stands among the views of an image."""

    FIRST_GLOBAL = 0
    SECOND_GLOBAL = 1
    LOCAL = 2


class Kind(Protocol):
    """How crops of one kind of image are made to differ."""

    def windows(self, windows: Sequence[Window], generator: np.random.Generator) -> tuple[Window, ...]:
        """Draw the grey windows of one view from those of its image."""
        ...

    def draw(self, place: Place, generator: np.random.Generator) -> Change:
        """Draw what is done to a crop."""
        ...


class Natural:
    """The recipe: flip, colour jitter, greyscale, blur, solarise, with its probabilities (RECIPE section 5).

    Args:
        global_size: side of the global crops in pixels; the recipe's blur does not depend on it.
        blur: "published" or "reference", see `BLUR_PROBABILITIES`.
        horizontal_flip: whether half of the crops are flipped.
    """

    default_flip = True

    def __init__(self, global_size: int, blur: str, horizontal_flip: bool) -> None:
        self.blur_probabilities = BLUR_PROBABILITIES[blur]
        self.horizontal_flip = horizontal_flip

    def windows(self, windows: Sequence[Window], generator: np.random.Generator) -> tuple[Window, ...]:
        """The image's own windows: brightness and contrast are jittered after them."""
        return tuple(windows)

    def draw(self, place: Place, generator: np.random.Generator) -> Change:
        """Draw what is done to a crop."""
        flip, jitter, greyscale, blur, solarise = generator.random(5).tolist()
        return Change(
            flip=self.horizontal_flip and flip < FLIP_PROBABILITY,
            jitter=draw_colour_jitter(generator) if jitter < JITTER_PROBABILITY else None,
            greyscale=greyscale < GREYSCALE_PROBABILITY,
            sigma=draw_blur_sigma(generator) if blur < self.blur_probabilities[place] else None,
            solarise=place is Place.SECOND_GLOBAL and solarise < SOLARISE_PROBABILITY,
        )


class Radiology:
    """Grey images in physical units: window jitter, gamma, blur, noise; no hue, no solarise, no greyscale.

    Flips are off unless asked for: left and right matter (the heart's side, a marker in a radiograph).

    Args:
        global_size: side of the global crops in pixels; the blur is the recipe's at 224 px and in proportion elsewhere,
            since a blur of 2 px in a crop of 64 px would wipe out the texture that a finding is made of.
        blur: "published" or "reference", see `BLUR_PROBABILITIES`.
        horizontal_flip: whether half of the crops are flipped.
    """

    default_flip = False

    def __init__(self, global_size: int, blur: str, horizontal_flip: bool) -> None:
        self.blur_probabilities = BLUR_PROBABILITIES[blur]
        self.blur_sigmas = _scaled_sigmas(global_size)
        self.horizontal_flip = horizontal_flip

    def windows(self, windows: Sequence[Window], generator: np.random.Generator) -> tuple[Window, ...]:
        """Jitter the image's windows, all of them alike, so that three channels keep their order."""
        shift, factor = draw_window_jitter(generator)
        return tuple(jitter_window(window, shift, factor) for window in windows)

    def draw(self, place: Place, generator: np.random.Generator) -> Change:
        """Draw what is done to a crop."""
        flip, gamma, blur, noise = generator.random(4).tolist()
        return Change(
            flip=self.horizontal_flip and flip < FLIP_PROBABILITY,
            gamma=draw_gamma(generator) if gamma < JITTER_PROBABILITY else None,
            sigma=draw_blur_sigma(generator, self.blur_sigmas) if blur < self.blur_probabilities[place] else None,
            noise=draw_noise(generator) if noise < NOISE_PROBABILITY else None,
        )


class Histology:
    """Stained sections: stain jitter in optical density, flips and quarter turns, mild brightness and contrast, blur.

    A section has no up and no left, so all eight ways to lay it are drawn alike.

    Args:
        global_size: side of the global crops in pixels; blur in proportion, as for radiology.
        blur: "published" or "reference", see `BLUR_PROBABILITIES`.
        horizontal_flip: whether half of the crops are flipped; quarter turns are always drawn.
    """

    default_flip = True

    def __init__(self, global_size: int, blur: str, horizontal_flip: bool) -> None:
        self.blur_probabilities = BLUR_PROBABILITIES[blur]
        self.blur_sigmas = _scaled_sigmas(global_size)
        self.horizontal_flip = horizontal_flip

    def windows(self, windows: Sequence[Window], generator: np.random.Generator) -> tuple[Window, ...]:
        """The image's own windows: the stains are jittered after them."""
        return tuple(windows)

    def draw(self, place: Place, generator: np.random.Generator) -> Change:
        """Draw what is done to a crop."""
        flip, turns, stain, blur = generator.random(4).tolist()
        stained = stain < JITTER_PROBABILITY
        brightness, contrast = (1 + HISTOLOGY_CONTRAST * (2 * draw - 1) for draw in generator.random(2).tolist())
        return Change(
            flip=self.horizontal_flip and flip < FLIP_PROBABILITY,
            turns=int(4 * turns),
            stain=draw_stain_jitter(generator) if stained else None,
            jitter=ColourJitter(brightness, contrast) if stained else None,
            sigma=draw_blur_sigma(generator, self.blur_sigmas) if blur < self.blur_probabilities[place] else None,
        )


def _scaled_sigmas(global_size: int) -> tuple[float, float]:
    """The recipe's range of blur, in proportion to the size of the global crops."""
    return BLUR_SIGMAS[0] * global_size / RECIPE_SIDE, BLUR_SIGMAS[1] * global_size / RECIPE_SIDE


KINDS: dict[str, type[Natural] | type[Radiology] | type[Histology]] = {
    "natural": Natural,
    "radiology": Radiology,
    "histology": Histology,
}
"""The kinds by name."""
