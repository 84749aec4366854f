"""Small slides of known content: pyramids in TIFF as scanners write them, and DICOM slides."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid

PERIOD = 64.0
"""Wave length of `waves`, pixels of the full resolution."""


def waves(height: int, width: int, factor: int = 1) -> np.ndarray:
    """A level of a slide whose red swings along the rows, green down the columns; blue is 128.

    Each pixel is the mean over its `factor` x `factor` pixels of the full resolution, in closed form, of the level that
    a scanner would make of `height` x `width` pixels (incomplete pixels are cut off).
    """
    rows, columns = height // factor, width // factor
    image = np.full((rows, columns, 3), 128.0)
    image[..., 0] = wave(np.arange(columns) * factor, factor)[None]
    image[..., 1] = wave(np.arange(rows) * factor, factor)[:, None]
    return np.rint(image).astype(np.uint8)


def wave(start: np.ndarray, length: float) -> np.ndarray:
    """The mean of 128 + 100 cos(2 pi x / PERIOD) over intervals [start, start + length]."""
    turn = 2 * np.pi / PERIOD
    return 128 + 100 * (np.sin(turn * (start + length)) - np.sin(turn * start)) / (turn * length)


def stained(height: int, width: int, seed: int = 0) -> np.ndarray:
    """White glass with a field of pink tissue with dark nuclei in the middle half of rows and columns."""
    image = np.full((height, width, 3), 245, dtype=np.uint8)
    generator = np.random.default_rng(seed)
    field = image[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    field[:] = (225, 150, 190)
    nuclei = generator.random(field.shape[:2]) < 0.15
    field[nuclei] = (110, 60, 140)
    return image


def write_tiff(
    path: Path, levels: Sequence[np.ndarray], *, mpp: float | None = None, power: float | None = None, tile: int = 64
) -> Path:
    """A tiled TIFF of these levels; with `mpp` or `power` in the layout of Aperio's SVS, else in no vendor's."""
    height, width = levels[0].shape[:2]
    known = [f"{name} = {value}" for name, value in (("AppMag", power), ("MPP", mpp)) if value is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(levels):
            size = f"{level.shape[1]}x{level.shape[0]}"
            text = f"Aperio Image Library v12.0.0\r\n{size} ({tile}x{tile}) " + "|".join(["", *known])
            file.write(
                level,
                tile=(tile, tile),
                photometric="rgb",
                compression="zlib",
                subfiletype=0 if known or number == 0 else 1,
                description=text if known else None,
                metadata=None,
            )
            if known and number == 0:
                # The second page of an SVS is its thumbnail, in strips.
                file.write(level[::8, ::8], photometric="rgb", description=text, metadata=None)
    assert (height, width) == levels[0].shape[:2]
    return path


def write_dicom_slide(
    path: Path, image: np.ndarray, *, tile: int = 32, mpp: float | None = 0.5, **tags: object
) -> Path:
    """One level as an uncompressed DICOM slide, TILED_FULL; `tags` are set on top, None leaves one out."""
    height, width = image.shape[:2]
    across, down = -(-width // tile), -(-height // tile)
    padded = np.zeros((down * tile, across * tile, 3), dtype=np.uint8)
    padded[:height, :width] = image
    frames = padded.reshape(down, tile, across, tile, 3).swapaxes(1, 2)
    dataset = Dataset()
    dataset.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientID = "1.2.3", "1.2.3.4", "P7"
    dataset.Modality, dataset.Manufacturer = "SM", "SIEMENS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = width, height
    dataset.Rows = dataset.Columns = tile
    dataset.NumberOfFrames = across * down
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if mpp is not None:
        measures, group = Dataset(), Dataset()
        measures.PixelSpacing = [mpp / 1000, mpp / 1000]
        group.PixelMeasuresSequence = [measures]
        dataset.SharedFunctionalGroupsSequence = [group]
    dataset.PixelData = frames.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
