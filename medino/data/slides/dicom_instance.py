"""What the header of a DICOM slide's instance says: one level of its pyramid, and where its tiles lie."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from medino.core import UnreadableImageError
from medino.data.readers.dicom_values import first_number, numbers
from medino.data.readers.failures import decoding

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "SeriesInstanceUID",
    "PyramidUID",
    "ConcatenationUID",
    "SamplesPerPixel",
    "BitsAllocated",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "DimensionOrganizationType",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixFocalPlanes",
    "NumberOfOpticalPaths",
    "OpticalPathSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class Instance:
    """What the header of one instance of a slide says.

    Attributes:
        path: the file.
        group: series and pyramid; the levels of one slide share them. Raw identifiers: never stored.
        width, height: of the whole level, pixels.
        tile_width, tile_height: of one frame, pixels.
        places: left and top of each frame, pixels of the level; None where the header does not say.
        mpp: micrometres per pixel, down and along; None where the header does not say.
        power: power of the objective, None where the header does not say.
        uid: the instance's, which puts equal ones in order.
    """

    path: Path
    group: tuple[str, str]
    width: int
    height: int
    tile_width: int
    tile_height: int
    frames: int
    places: tuple[tuple[int, int], ...] | None
    mpp: tuple[float, float] | None
    power: float | None
    uid: str

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along and down the level."""
        return -(-self.width // self.tile_width), -(-self.height // self.tile_height)


def read_instance(path: Path) -> Instance:
    """Read the header of one instance.

    Raises:
        UnreadableImageError: it is no level of a slide in colour with 8 bits, or its header can't be right.
    """
    with decoding("the header"):
        dataset = dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
        flavour = [str(value).upper() for value in dataset.get("ImageType") or ()][2:3]
        frames = int(dataset.get("NumberOfFrames") or 1)
        if flavour in (["LABEL"], ["OVERVIEW"]) or (not flavour and frames == 1):
            raise UnreadableImageError("a slide's label or overview image, which can show names: it is never read")
        if flavour == ["THUMBNAIL"]:
            raise UnreadableImageError("a slide's thumbnail: its tiles are read from the finest level")
        if "ConcatenationUID" in dataset:
            raise UnreadableImageError("a level of a slide that is parted over several files: join them first")
        if int(dataset.SamplesPerPixel) != 3 or int(dataset.BitsAllocated) != 8:
            raise UnreadableImageError("a slide that is not in colour with 8 bits: fluorescence is not read")
        if (
            int(dataset.get("TotalPixelMatrixFocalPlanes") or 1) > 1
            or int(dataset.get("NumberOfOpticalPaths") or 1) > 1
        ):
            raise UnreadableImageError("a slide of several focal planes or optical paths, which is not read")
        spacing = numbers(_shared(dataset, "PixelMeasuresSequence"), "PixelSpacing")
        paths = dataset.get("OpticalPathSequence") or [Dataset()]
        instance = Instance(
            path=path,
            group=(str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("PyramidUID", ""))),
            width=int(dataset.TotalPixelMatrixColumns),
            height=int(dataset.TotalPixelMatrixRows),
            tile_width=int(dataset.Columns),
            tile_height=int(dataset.Rows),
            frames=frames,
            places=_places(dataset, frames),
            mpp=(spacing[0] * 1000, spacing[1] * 1000) if len(spacing) == 2 and min(spacing) > 0 else None,
            power=first_number(paths[0], "ObjectiveLensPower"),
            uid=str(dataset.get("SOPInstanceUID", "")),
        )
    if min(instance.width, instance.height, instance.tile_width, instance.tile_height) < 1:
        raise UnreadableImageError("the header of the slide says that it has no pixels")
    if not _states_places(dataset) and instance.frames != instance.grid[0] * instance.grid[1]:
        raise UnreadableImageError("the slide has not as many tiles as its size needs")
    return instance


def _shared(dataset: Dataset, name: str) -> Dataset:
    """A functional group that all tiles share, or the first tile's; empty where there is none."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = dataset.get(groups)
        if items and items[0].get(name):
            return items[0].get(name)[0]
    return Dataset()


def _places(dataset: Dataset, frames: int) -> tuple[tuple[int, int], ...] | None:
    """Left and top of each frame from 0, where the header gives them (PS3.3 C.8.12.14) or says TILED_FULL."""
    if _states_places(dataset):
        groups = dataset.PerFrameFunctionalGroupsSequence
        if len(groups) != frames:
            raise UnreadableImageError("the slide does not say where each of its tiles lies")
        slides = [group.PlanePositionSlideSequence[0] for group in groups]
        return tuple(
            (int(each.ColumnPositionInTotalImagePixelMatrix) - 1, int(each.RowPositionInTotalImagePixelMatrix) - 1)
            for each in slides
        )
    if dataset.get("DimensionOrganizationType") != "TILED_FULL":
        return None
    return in_rows(int(dataset.TotalPixelMatrixColumns), int(dataset.Columns), int(dataset.Rows), frames)


def _states_places(dataset: Dataset) -> bool:
    """Whether each tile's place is in the header."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    return len(groups) > 0 and all(group.get("PlanePositionSlideSequence") for group in groups)


def in_rows(width: int, tile_width: int, tile_height: int, frames: int) -> tuple[tuple[int, int], ...]:
    """Places of tiles that follow each other along the rows (PS3.3 C.7.6.17.3)."""
    across = -(-width // tile_width)
    return tuple((frame % across * tile_width, frame // across * tile_height) for frame in range(frames))
