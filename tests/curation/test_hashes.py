"""Hashes in a pose are those of the image shown in that pose."""

import numpy as np

from medino.curation.hashes import distance, hashes, posed_hashes, poses


def thumbnails(count: int) -> np.ndarray:
    """Smooth noise."""
    from scipy import ndimage

    noise = np.random.default_rng(0).normal(size=(count, 64, 64))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def test_the_eight_symmetries_of_the_square_are_exact() -> None:
    images = thumbnails(6)
    short, long = posed_hashes(images)
    for turns in range(4):
        for mirrored in (False, True):
            shown = np.rot90(images, turns, axes=(1, 2))
            shown = shown[:, :, ::-1] if mirrored else shown
            shown_short, shown_long = hashes(np.ascontiguousarray(shown))
            # Rounding of the transform can turn a coefficient that is nearly 0.
            best = np.bitwise_count(short[:, :8] ^ shown_short[:, None]).min(axis=1)
            assert best.max() <= 1
            assert distance(long[:, :8], shown_long[:, None]).min(axis=1).max() <= 2


def test_strangers_differ_in_about_half_of_the_bits() -> None:
    _, long = hashes(thumbnails(50))
    bits = distance(long[:, None], long[None])[np.triu_indices(50, 1)]
    assert 120 < bits.mean() < 136
    assert bits.min() > 88


def test_a_pose_says_where_its_pixels_come_from() -> None:
    line = (np.arange(64) + 0.5) / 64 * 2 - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    images = thumbnails(1)
    short, _ = posed_hashes(images)
    for place in (0, 3, 4, 7):
        at = np.einsum("ij,jhw->ihw", poses()[place].matrix, np.stack([x, y]))
        columns, rows = (((part + 1) / 2 * 64 - 0.5).round().astype(int) for part in at)
        assert np.bitwise_count(hashes(images[:, rows, columns])[0][0] ^ short[0, place]) <= 1
