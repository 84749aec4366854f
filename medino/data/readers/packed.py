"""Packed images: rows of the shards that `medino pack` has made of decoded files."""

from typing import TYPE_CHECKING

from medino.core import UnreadableImageError
from medino.data.pack.rows import image_of, mask_of
from medino.data.pack.shards import read_row
from medino.data.pixels import Pixels
from medino.data.readers.failures import decoding
from medino.data.readers.settings import ReadSettings
from medino.data.schema import Sample
from medino.data.source import Source

if TYPE_CHECKING:
    import torch


def describe(source: Source, settings: ReadSettings) -> list[dict[str, object]]:
    """Nothing: a shard keeps neither series nor patients, so that a scan could not make rows of it.

    Raises:
        UnreadableImageError: always.
    """
    raise UnreadableImageError("a shard of packed images: use the manifest that medino pack wrote with it")


def read(source: Source, sample: Sample) -> Pixels:
    """The row of a shard that `source.member` counts.

    Raises:
        UnreadableImageError: the shard or the row is missing, damaged, or another sample's.
    """
    row = read_row(source)
    if row.sample_id != sample.sample_id:
        raise UnreadableImageError("the shard has another sample in this row: it belongs to another manifest")
    with decoding("the packed row"):
        return image_of(row.facts, row.pixels, row.valid)


def read_mask(source: Source, frame: int, plane: int | None) -> "torch.Tensor":
    """The row of a shard of masks that `source.member` counts, (H, W) int64.

    Raises:
        UnreadableImageError: the shard or the row is missing or damaged.
    """
    row = read_row(source)
    with decoding("the packed row"):
        return mask_of(row.facts, row.pixels)
