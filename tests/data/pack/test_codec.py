"""Compression is lossless for whatever whole numbers images and masks have."""

import numpy as np
import pytest

from medino.core import UnreadableImageError
from medino.data.pack.codec import BYTES, RAW, WORDS, decode, encode


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (3, 1, 7), (1, 35, 51), (3, 120, 80), (64, 60)])
@pytest.mark.parametrize("smooth", [False, True])
def test_numbers_come_back(dtype: str, shape: tuple[int, ...], smooth: bool) -> None:
    limits = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    if smooth:
        values = np.broadcast_to(values[..., :1], shape).copy()
    name, data = encode(values)
    decoded = decode(name, memoryview(data), shape, dtype)
    assert decoded.dtype == values.dtype
    assert np.array_equal(decoded, values)


def test_smooth_images_shrink_and_noise_is_kept_as_it_lies() -> None:
    rows = np.arange(200, dtype=np.uint16) * 13
    smooth = np.broadcast_to(rows, (1, 100, 200)).copy()
    name, data = encode(smooth)
    assert name == WORDS
    assert len(data) < smooth.nbytes / 20
    assert encode(smooth.astype(np.uint8))[0] == BYTES
    noise = np.random.default_rng(0).integers(0, 2**16, (1, 64, 64), dtype=np.uint16)
    assert encode(noise) == (RAW, noise.tobytes())


def test_a_codec_of_another_version_is_a_reason_not_a_crash() -> None:
    with pytest.raises(UnreadableImageError, match="does not know"):
        decode("wavelets", memoryview(b"abc"), (1, 1, 3), "uint8")
