"""One row of a shard: an image or a mask as whole numbers, compressed, with what is known of it and a checksum."""

import dataclasses
import json
import zlib
from dataclasses import dataclass
from typing import Any, cast

import imagecodecs
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
        pa.field("valid", pa.large_binary(), False, {"description": "which pixels are valid, compressed; empty: all"}),
        pa.field("checksum", pa.uint32(), False, {"description": "CRC-32 of the other four, one after the other"}),
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
        valid: the compressed validity mask, one bit a pixel; empty where all are valid.
        kept: `EXACT`, `ROUNDED` or `QUANTISED`; for the summary.
    """

    sample_id: str
    facts: str
    pixels: bytes
    valid: bytes = b""
    kept: str = EXACT

    def batch(self) -> pa.RecordBatch:
        """The row as a record batch of its own, so that it can be read without its neighbours."""
        known = (self.sample_id, self.facts, self.pixels, self.valid)
        values = (*known, checksum(*known))
        columns = [pa.array([value], field.type) for value, field in zip(values, ROW_SCHEMA, strict=True)]
        return pa.record_batch(columns, schema=ROW_SCHEMA)


def checksum(sample_id: str, facts: str, pixels: bytes | memoryview, valid: bytes | memoryview) -> int:
    """CRC-32 of a row: finds every run of up to 32 wrong bits, and of others all but one in four billion.

    Four times as fast as BLAKE2, which would cost as much as the decompression, and here nobody is out to deceive.
    """
    return zlib.crc32(valid, zlib.crc32(pixels, zlib.crc32(facts.encode(), zlib.crc32(sample_id.encode()))))


def image_row(sample_id: str, pixels: Pixels, short_side: int | None) -> Row:
    """Resize an image and make a row of it.

    Raises:
        UnreadableImageError: it holds values that are not finite.
    """
    source = pixels.values.float().numpy()
    if not np.isfinite(source).all():
        raise UnreadableImageError("pixel values that are not finite (NaN or infinity)")
    resized = shrink(pixels, short_side)
    values = resized.values.float().numpy()
    grid = own_grid(source)
    kept = EXACT if resized is pixels else ROUNDED
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
    valid = b"" if resized.valid is None else imagecodecs.zstd_encode(np.packbits(resized.valid.numpy()).tobytes())
    return Row(sample_id, json.dumps(facts, separators=(",", ":")), data, bytes(valid), kept)


def image_of(facts: dict[str, Any], data: memoryview, valid: memoryview) -> Pixels:
    """The image of a row's facts and bytes."""
    shape = tuple(facts["shape"])
    stored = decode(facts["codec"], data, shape, facts["dtype"])
    values = torch.from_numpy(Grid(facts["slope"], facts["intercept"]).physical(stored))
    return Pixels(
        values=values,
        full_range=(facts["full_range"][0], facts["full_range"][1]),
        spacing=_tuple(facts.get("spacing")),
        box=_tuple(facts.get("box")),
        windows=tuple(Window(**{**window, "table": tuple(window["table"])}) for window in facts["windows"]),
        inverted=facts["inverted"],
        modality=facts.get("modality"),
        valid=_mask_of_bits(valid, shape[-2:]) if len(valid) else None,
        body_part=facts.get("body_part"),
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


def _mask_of_bits(data: memoryview, shape: tuple[int, ...]) -> torch.Tensor:
    bits = np.frombuffer(imagecodecs.zstd_decode(cast(bytes, data)), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool))


def _known(pixels: Pixels) -> dict[str, Any]:
    """What is known of an image beside its values."""
    return {
        "full_range": pixels.full_range,
        "spacing": pixels.spacing,
        "box": pixels.box,
        "windows": [dataclasses.asdict(window) for window in pixels.windows],
        "inverted": pixels.inverted,
        "modality": pixels.modality,
        "body_part": pixels.body_part,
    }


def _tuple(values: list[Any] | None) -> Any:
    return None if values is None else tuple(values)
