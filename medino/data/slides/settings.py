"""How slides are cut into tiles: what a scan is asked."""

from dataclasses import dataclass

from medino.core import InputError

MICRONS_AT_ONE_POWER = 10.0
"""Micrometres per pixel at an objective power of 1: 40x is about 0.25 and 20x about 0.5, the convention of the field;
scanners differ from it by some percent."""

COARSEST_RATIO = 1.1
"""A slide may be this much coarser than what is asked for: scanners called 40x have 0.23 to 0.27 micrometres per pixel.
Beyond it, tiles would be enlarged and show their own blur."""


@dataclass(frozen=True)
class Tiles:
    """A grid of square tiles over each slide; one of `mpp`, `magnification` and `level` is to be given.

    Attributes:
        mpp: micrometres per pixel of the tiles.
        magnification: objective power of the tiles; 40 is taken as 0.25 micrometres per pixel, 20 as 0.5.
        level: the slide's own level, 0 the finest: for slides that do not say how large their pixels are.
        size: side of a tile in its own pixels.
        overlap: pixels that neighbouring tiles share.
        tissue: least share of tissue in a tile.
        blur: a tile is blurred if its sharpness is below this part of the median of its slide's tiles; 0 keeps all, and
            saves decoding every tile while scanning.
        pens: pen marks (blue, green, black) are no tissue. False for stains that are blue or green themselves.
        assumed_mpp: micrometres per pixel of the finest level, for slides whose header does not say.

    Raises:
        InputError: a value can't be meant, or more than one resolution is given.
    """

    mpp: float | None = None
    magnification: float | None = None
    level: int | None = None
    size: int = 224
    overlap: int = 0
    tissue: float = 0.5
    blur: float = 0.1
    pens: bool = True
    assumed_mpp: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("mpp", "magnification", "level") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(f'tiles.{name}' for name in given)} are given; choose one of them")
        for name in ("mpp", "magnification", "assumed_mpp"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1000:
                raise InputError(f"tiles.{name} is {value}; give a number between 0 and 1000")
        if self.level is not None and self.level < 0:
            raise InputError(f"tiles.level is {self.level}; give 0 for the finest level, 1 for the next")
        if self.size < 1:
            raise InputError(f"tiles.size is {self.size}; give the side of a tile in pixels, such as 224")
        if not 0 <= self.overlap < self.size:
            raise InputError(f"tiles.overlap is {self.overlap}; give pixels from 0 to below tiles.size ({self.size})")
        for name in ("tissue", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"tiles.{name} is {getattr(self, name)}; give a share from 0 to 1")

    @property
    def asked(self) -> bool:
        """Whether a resolution is given, without which no slide is cut."""
        return not self.mpp is self.magnification is self.level is None
