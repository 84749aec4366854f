"""How volumes and slides are cut into the images that a manifest lists."""

from dataclasses import dataclass, field

from medino.data.slides.settings import Tiles

PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}
"""What a slice perpendicular to each canonical axis is called."""


@dataclass(frozen=True)
class ReadSettings:
    """What a scan can choose about reading; a file alone does not tell it.

    Attributes:
        plane: the axis that slices of NIfTI volumes are perpendicular to, a key of `PLANES`.
        spacing_mm: voxel size along x, y and z that NIfTI volumes are brought to, mm; None: each keeps its own.
        tiles: how slides are cut into tiles.
    """

    plane: int = 2
    spacing_mm: tuple[float, float, float] | None = None
    tiles: Tiles = field(default_factory=Tiles)


DEFAULT_SETTINGS = ReadSettings()
