"""The pixels of a manifest's rows, decoded one at a time."""

import dataclasses
import itertools
from collections import defaultdict

import numpy as np
import torch
from torch.utils.data import Dataset

from medino.core import InputError, UnreadableImageError
from medino.data.manifest import Manifest
from medino.data.pixels import Pixels
from medino.data.readers import read_mask, read_pixels


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
        sample, source = self.manifest.sample(index), self.manifest.mask_source(index)
        if source is None:
            raise InputError(f"sample {sample.sample_id} has no mask; scan again with --masks, or leave it out")
        mask = read_mask(source, sample.mask_frame or 0, sample.plane)
        if mask.shape != (sample.rows, sample.columns):
            raise InputError(
                f"the mask of sample {sample.sample_id} has {mask.shape[0]} x {mask.shape[1]} pixels and its image "
                f"{sample.rows} x {sample.columns}; a mask must lie on its image pixel by pixel"
            )
        return mask

    def _read(self, index: int) -> Pixels:
        return read_pixels(self.manifest.source(index), self.manifest.sample(index))

    def _neighbour(self, row: int, index: int, pixels: Pixels) -> torch.Tensor:
        if row == index:
            return pixels.values
        try:
            return self._read(row).values
        except UnreadableImageError as error:
            raise UnreadableImageError(f"the slice beside it can't be read: {error}") from error


def adjacent_slices(manifest: Manifest) -> np.ndarray:
    """For each row, the rows of the slices before and after it; the row itself where there is none.

    Single-frame DICOM files of one series are ordered by their position along the normal; where several share a
    position (phases, echoes), the n-th goes with the n-th. In a file of several frames, or slices of a volume, the
    frames before and after are meant, unless the position jumps there: a new volume begins.

    Args:
        manifest: its columns alone are looked at; no file is opened.

    Returns:
        (N, 2) int64 indices.
    """
    columns = {
        name: manifest.column(name)
        for name in ("root", "path", "frame", "series", "rows", "columns", "plane", "format")
    }
    position = np.array(
        [np.nan if value is None else value for value in manifest.column("slice_position_mm")], dtype=np.float64
    )
    files = list(zip(columns["root"], columns["path"], strict=True))
    whole = {file for file, frame in zip(files, columns["frame"], strict=True) if frame > 0}
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        size = (columns["rows"][row], columns["columns"][row], columns["plane"][row])
        one_file = file in whole or columns["format"][row] != "dicom"
        groups[(file if one_file else columns["series"][row], one_file, *size)].append(row)
    beside = np.repeat(np.arange(len(manifest))[:, None], 2, axis=1)
    for (_, one_file, *_), members in groups.items():
        rows = np.array(sorted(members, key=lambda row: (files[row], columns["frame"][row])))
        if one_file:
            _by_frame(beside, rows, np.array([columns["frame"][row] for row in rows]), position[rows])
        elif np.isfinite(position[rows]).all():
            _by_position(beside, rows, position[rows])
    return beside


def _by_frame(beside: np.ndarray, rows: np.ndarray, frames: np.ndarray, position: np.ndarray) -> None:
    """Link frames that follow each other, in place."""
    steps = np.abs(np.diff(position))
    following = np.diff(frames) == 1
    if following.any() and np.isfinite(steps[following]).all():
        following &= steps <= 1.5 * np.median(steps[following])
    beside[rows[1:][following], 0] = rows[:-1][following]
    beside[rows[:-1][following], 1] = rows[1:][following]


def _by_position(beside: np.ndarray, rows: np.ndarray, position: np.ndarray) -> None:
    """Link slices of neighbouring positions, in place; positions within a hundredth of a millimetre are the same."""
    levels: dict[float, list[int]] = defaultdict(list)
    for row, where in zip(rows, np.round(position, 2), strict=True):
        levels[float(where)].append(int(row))
    ordered = [levels[where] for where in sorted(levels)]
    for lower, upper in itertools.pairwise(ordered):
        for nth, row in enumerate(upper):
            beside[row, 0] = lower[min(nth, len(lower) - 1)]
        for nth, row in enumerate(lower):
            beside[row, 1] = upper[min(nth, len(upper) - 1)]
