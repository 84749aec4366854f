"""What will be packed: which rows of a manifest go to which shard, and how much room they take at most."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.compute as pc

from medino.core import InputError, table_fingerprint
from medino.data.manifest import Manifest
from medino.data.pack.resize import shrunk_size
from medino.data.pack.shards import SHARD_VERSION

SHARD_BYTES = 2**27
"""Most bytes of a shard before compression, 128 MiB (one image can be larger). A shard is written whole, so that this
is also what is kept in memory, and what is done again after a kill."""

SHARD_ROWS = 2**13
"""Most rows of a shard. Each costs some thirty bytes of the footer, which is what opening a shard reads."""

_DECIDING = (
    *("sample_id", "format", "rows", "columns", "samples_per_pixel", "bits_stored", "file_bytes"),
    *("spacing_row_mm", "spacing_column_mm", "slice_thickness_mm", "tile_left", "tile_top", "tile_side"),
    *("mask_path", "mask_member", "mask_frame"),
)
"""Columns that decide what a shard holds."""


@dataclass(frozen=True)
class Part:
    """The rows of one shard.

    Attributes:
        number: of the shard.
        start: first row of the manifest.
        stop: the row after the last one.
        masks: whether any of them has a mask.
        fingerprint: of what the shard will hold; one that is there already is this one or another.
    """

    number: int
    start: int
    stop: int
    masks: bool
    fingerprint: str

    @property
    def images_name(self) -> str:
        """The file of the images."""
        return f"images-{self.number:05d}.arrow"

    @property
    def masks_name(self) -> str:
        """The file of the masks."""
        return f"masks-{self.number:05d}.arrow"

    @property
    def names(self) -> tuple[str, ...]:
        """The files of the shard."""
        return (self.images_name, self.masks_name) if self.masks else (self.images_name,)


@dataclass(frozen=True, eq=False)
class PackPlan:
    """Shards for all rows of a manifest, in its order; nothing is read for it but the manifest.

    Attributes:
        manifest: what is packed.
        short_side: images with a longer short side are resized to it, pixels; None keeps all sizes.

    Raises:
        InputError: the manifest is empty, or the short side is no number of pixels.
    """

    manifest: Manifest
    short_side: int | None = None

    def __post_init__(self) -> None:
        if not len(self.manifest):
            raise InputError(f"the manifest {self.manifest.name} is empty: there is nothing to pack; scan again")
        if self.short_side is not None and self.short_side < 1:
            raise InputError(f"a short side of {self.short_side} pixels is none; give 1 or more")

    @cached_property
    def sizes(self) -> np.ndarray:
        """Rows and columns of each packed image, (N, 2) int64."""
        pairs = np.stack([self._column("rows"), self._column("columns")], axis=1)
        # Sizes repeat: a million images have some hundreds.
        distinct, places = np.unique(pairs, axis=0, return_inverse=True)
        shrunk = [shrunk_size(int(rows), int(columns), self.short_side) for rows, columns in distinct]
        return np.array(shrunk)[places.reshape(-1)]

    @cached_property
    def most_bytes(self) -> np.ndarray:
        """Bytes of each row before compression, (N,) int64: what it takes at most, but for some hundred bytes."""
        deep = pc.fill_null(self.manifest.table["bits_stored"], 16).to_numpy() > 8
        masked = self.manifest.table["mask_path"].is_valid().to_numpy()
        values = self.sizes.prod(axis=1) * self._column("samples_per_pixel")
        most: np.ndarray = values * (1 + deep) + self.sizes.prod(axis=1) * 2 * masked
        return most

    @cached_property
    def parts(self) -> list[Part]:
        """The shards."""
        table = self.manifest.table
        masked = table["mask_path"].is_valid().to_numpy()
        parts: list[Part] = []
        start = total = 0
        for row, size in enumerate((*self.most_bytes.tolist(), SHARD_BYTES + 1)):
            if row > start and (total + size > SHARD_BYTES or row - start == SHARD_ROWS):
                has_masks = bool(masked[start:row].any())
                parts.append(Part(len(parts), start, row, has_masks, self._fingerprint(start, row)))
                start, total = row, 0
            total += size
        return parts

    def _column(self, name: str) -> np.ndarray:
        column: np.ndarray = self.manifest.table[name].to_numpy()
        return column

    def _fingerprint(self, start: int, stop: int) -> str:
        rows = self.manifest.table.slice(start, stop - start)
        settings = json.dumps([SHARD_VERSION, self.short_side, start, table_fingerprint(rows.select(_DECIDING))])
        return hashlib.blake2b(settings.encode(), digest_size=16).hexdigest()
