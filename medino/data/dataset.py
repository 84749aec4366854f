"""The pixels of a manifest's rows, decoded one at a time."""

import dataclasses

import torch
from torch.utils.data import Dataset

from medino.core import InputError, UnreadableImageError
from medino.data.manifest import Manifest
from medino.data.pixels import Pixels
from medino.data.readers import read_map, read_mask, read_pixels
from medino.data.schema import Sample
from medino.data.source import Source
from medino.data.volumes import adjacent_slices


class PixelDataset(Dataset[Pixels]):
    """Map-style access to the images of a manifest, and to their masks.

    Args:
        manifest: the rows; item i is row i.
        neighbours: give a grey slice the slices before and after it as first and third channel
            (`Pixels.stacked`). They are looked for among the manifest's own rows, so that a selection never shows what
            was left out; at the ends, where there is none, the slice itself stands in.

    Raises:
        InputError: a scanned folder is not there (a disk that is not mounted).
    """

    def __init__(self, manifest: Manifest, neighbours: bool = False) -> None:
        manifest.check_roots()
        self.manifest = manifest
        self._beside = adjacent_slices(manifest) if neighbours else None

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Pixels:
        """Decode row `index`.

        Raises:
            UnreadableImageError: the file, frame or slice (or the one beside it) can't be decoded.
        """
        pixels = self._read(index)
        if self._beside is None or pixels.values.shape[0] != 1:
            return pixels
        channels = [self._neighbour(int(row), index, pixels) for row in self._beside[index]]
        values = torch.cat([channels[0], pixels.values, channels[1]])
        return dataclasses.replace(pixels, values=values, stacked=True)

    def mask(self, index: int) -> torch.Tensor:
        """The mask of row `index`, (H, W) int64, values as stored.

        Raises:
            InputError: the row has no mask, or its mask is of another size than the image.
            UnreadableImageError: the mask can't be decoded.
        """
        return sample_mask(self.manifest.sample(index), self.manifest.mask_source(index))

    def map(self, index: int) -> torch.Tensor:
        """The map of values that row `index` has in place of a mask, (H, W) float32; NaN where it has none.

        Raises:
            InputError: the row has no mask, or its mask is of another size than the image.
            UnreadableImageError: the file can't be decoded, or is of no format that holds maps.
        """
        sample = self.manifest.sample(index)
        source = _mask_source(sample, self.manifest.mask_source(index))
        return _checked(sample, read_map(source, sample.mask_frame or 0, sample.plane, _spacing(sample)))

    def _read(self, index: int) -> Pixels:
        return read_pixels(self.manifest.source(index), self.manifest.sample(index))

    def _neighbour(self, row: int, index: int, pixels: Pixels) -> torch.Tensor:
        if row == index:
            return pixels.values
        try:
            return self._read(row).values
        except UnreadableImageError as error:
            raise UnreadableImageError(f"the slice beside it can't be read: {error}") from error


def sample_mask(sample: Sample, source: Source | None) -> torch.Tensor:
    """The mask of a row of a manifest; see `PixelDataset.mask`.

    Args:
        sample: the row.
        source: where its mask lies, if it has one.
    """
    source = _mask_source(sample, source)
    # Masks are packed with their images; the format of others is told by the file.
    format = sample.format if sample.format == "packed" else None
    return _checked(sample, read_mask(source, sample.mask_frame or 0, sample.plane, format, _spacing(sample)))


def _mask_source(sample: Sample, source: Source | None) -> Source:
    if source is None:
        raise InputError(f"sample {sample.sample_id} has no mask; scan again with --masks, or leave it out")
    return source


def _spacing(sample: Sample) -> tuple[float | None, float | None, float | None]:
    """Slices of NIfTI volumes may be resampled, and their labels with them."""
    if sample.format != "nifti":
        return None, None, None
    return sample.spacing_row_mm, sample.spacing_column_mm, sample.slice_thickness_mm


def _checked(sample: Sample, mask: torch.Tensor) -> torch.Tensor:
    if mask.shape != (sample.rows, sample.columns):
        raise InputError(
            f"the mask of sample {sample.sample_id} has {mask.shape[0]} x {mask.shape[1]} pixels and its image "
            f"{sample.rows} x {sample.columns}; a mask must lie on its image pixel by pixel"
        )
    return mask
