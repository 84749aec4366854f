"""One row of a shard: an image or a mask as whole numbers, compressed, with what is known of it and a checksum."""

import dataclasses
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from medino.core import UnreadableImageError
from medino.data.pack.codec import decode, encode
from medino.data.pack.quantise import Grid, finest_grid, own_grid
from medino.data.pack.resize import shrink, shrink_mask
from medino.data.pixels import Pixels, Window

ROW_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), False, {"description": "the sample's keyed hash, as in the manifest"}),
        pa.field("facts", pa.string(), False, {"description": "JSON: how the pixels are stored, and what they are"}),
        pa.field("pixels", pa.large_binary(), False, {"description": "the stored numbers, compressed"}),
        pa.field("checksum", pa.uint32(), False, {"description": "CRC-32 of the other three, one after the other"}),
    ]
)

EXACT, ROUNDED, QUANTISED = "exact", "rounded", "quantised"
"""How stored numbers stand for values: each value itself; rounded to the steps of the image's own numbers (a resized CT
in whole HU again); rounded to 2^16 steps over the image's range."""


@dataclass(frozen=True)
class Row:
    """A row as it is written.

    Attributes:
        sample_id: of the manifest's sample.
        facts: JSON.
        pixels: the compressed numbers.
        kept: `EXACT`, `ROUNDED` or `QUANTISED`; for the summary.
    """

    sample_id: str
    facts: str
    pixels: bytes
    kept: str = EXACT

    def batch(self) -> pa.RecordBatch:
        """The row as a record batch of its own, so that it can be read without its neighbours."""
        sum_ = checksum(self.sample_id, self.facts, self.pixels)
        columns = [[self.sample_id], [self.facts], [self.pixels], [sum_]]
        return pa.record_batch(
            [pa.array(column, field.type) for column, field in zip(columns, ROW_SCHEMA, strict=True)],
            schema=ROW_SCHEMA,
        )


def checksum(sample_id: str, facts: str, pixels: bytes | memoryview) -> int:
    """CRC-32 of a row: finds every run of up to 32 wrong bits, and of others all but one in four billion.

    Four times as fast as BLAKE2, which would cost as much as the decompression, and here nobody is out to deceive.
    """
    return zlib.crc32(pixels, zlib.crc32(facts.encode(), zlib.crc32(sample_id.encode())))


def image_row(sample_id: str, pixels: Pixels, short_side: int | None) -> Row:
    """Resize an image and make a row of it.

    Raises:
        UnreadableImageError: it holds values that are not finite.
    """
    source = pixels.values.numpy()
    if not np.isfinite(source).all():
        raise UnreadableImageError("pixel values that are not finite (NaN or infinity)")
    resized = shrink(pixels, short_side)
    values = resized.values.numpy()
    grid = own_grid(source)
    kept = EXACT if values is source else ROUNDED
    if grid is None:
        grid, kept = finest_grid(values), QUANTISED
    stored = grid.stored(values)
    codec, data = encode(stored)
    facts = {
        "shape": stored.shape,
        "dtype": stored.dtype.name,
        "codec": codec,
        "slope": grid.slope,
        "intercept": grid.intercept,
        "largest_error": float(np.abs(grid.physical(stored) - values).max()),
        **{name: value for name, value in _known(resized).items() if value is not None},
    }
    return Row(sample_id, json.dumps(facts, separators=(",", ":")), data, kept)


def image_of(facts: dict[str, Any], data: memoryview) -> Pixels:
    """The image of a row's facts and bytes."""
    stored = decode(facts["codec"], data, tuple(facts["shape"]), facts["dtype"])
    values = torch.from_numpy(Grid(facts["slope"], facts["intercept"]).physical(stored))
    return Pixels(
        values=values,
        full_range=(facts["full_range"][0], facts["full_range"][1]),
        spacing=_tuple(facts.get("spacing")),
        box=_tuple(facts.get("box")),
        windows=tuple(Window(**window) for window in facts.get("windows", ())),
        inverted=facts["inverted"],
        modality=facts.get("modality"),
    )


def mask_row(sample_id: str, mask: torch.Tensor, short_side: int | None) -> Row:
    """Resize a mask (H, W) int64 and make a row of it: the numbers as they are, in the fewest bytes."""
    values = shrink_mask(mask, short_side).numpy()
    small = values.astype(np.result_type(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))
    codec, data = encode(small)
    facts = {"shape": small.shape, "dtype": small.dtype.name, "codec": codec}
    return Row(sample_id, json.dumps(facts, separators=(",", ":")), data)


def mask_of(facts: dict[str, Any], data: memoryview) -> torch.Tensor:
    """The mask of a row's facts and bytes, (H, W) int64."""
    return torch.from_numpy(decode(facts["codec"], data, tuple(facts["shape"]), facts["dtype"]).astype(np.int64))


def _known(pixels: Pixels) -> dict[str, Any]:
    """What is known of an image beside its values."""
    return {
        "full_range": pixels.full_range,
        "spacing": pixels.spacing,
        "box": pixels.box,
        "windows": [dataclasses.asdict(window) for window in pixels.windows],
        "inverted": pixels.inverted,
        "modality": pixels.modality,
    }


def _tuple(values: list[Any] | None) -> Any:
    return None if values is None else tuple(values)
