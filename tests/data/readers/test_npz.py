"""NPZ files in MedMNIST's layout: each row of `..._images` is an image with its label and split."""

from pathlib import Path

import numpy as np
import pytest
from sample_rows import sample_of

from medino.core import UnreadableImageError
from medino.data.readers import describe, read_mask, read_pixels, sniff
from medino.data.source import Source

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (4, 5, 7, 3), np.uint8)
VOLUMES = RNG.integers(0, 256, (3, 2, 5, 7), np.uint8)
SAVE = {"stored": np.savez, "compressed": np.savez_compressed}


def images_of(path: Path, member: str) -> np.ndarray:
    """All images of an array through the reader, (N, C, H, W)."""
    source = Source(path, member)
    assert sniff(source) == "npz"
    return np.stack([read_pixels(source, sample_of(facts)).values.numpy() for facts in describe(source)])


@pytest.mark.parametrize("save", SAVE)
def test_every_image_comes_back_as_it_was_saved(tmp_path: Path, save: str) -> None:
    path = tmp_path / "mnist.npz"
    SAVE[save](path, train_images=GREY, val_images=COLOUR, test_images=VOLUMES, turned_images=np.asfortranarray(GREY))
    np.testing.assert_array_equal(images_of(path, "train_images"), GREY[:, None])
    np.testing.assert_array_equal(images_of(path, "val_images"), COLOUR.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(images_of(path, "test_images"), VOLUMES.reshape(6, 1, 5, 7))
    np.testing.assert_array_equal(images_of(path, "turned_images"), GREY[:, None])


def test_label_and_split_come_from_the_file(tmp_path: Path) -> None:
    labels = np.array([[3], [1], [0], [1], [2], [1]], np.uint8)
    np.savez_compressed(
        tmp_path / "x.npz",
        train_images=GREY,
        train_labels=labels,
        val_images=VOLUMES,
        val_labels=np.array([5, 6, 7]),
        test_images=COLOUR,
        test_labels=np.zeros((4, 14), np.uint8),  # several findings an image, as in ChestMNIST
    )
    train, val, test = (describe(Source(tmp_path / "x.npz", f"{name}_images")) for name in ("train", "val", "test"))
    assert [facts["label"] for facts in train] == ["3", "1", "0", "1", "2", "1"]
    assert [facts["label"] for facts in val] == ["5", "5", "6", "6", "7", "7"]
    assert [facts["label"] for facts in test] == [None] * 4
    assert [facts["frame"] for facts in val] == list(range(6))
    assert [facts[0]["split"] for facts in (train, val, test)] == ["train", "validation", "test"]
    assert (train[0]["rows"], train[0]["columns"], train[0]["samples_per_pixel"]) == (5, 7, 1)
    assert (test[0]["samples_per_pixel"], test[0]["bits_stored"]) == (3, 8)


@pytest.mark.parametrize(
    ("values", "full_range"),
    [
        (GREY, (0, 255)),
        (GREY > 100, (0, 1)),
        (GREY.astype(np.uint16), (0, 65535)),
        (GREY.astype(">i2"), (-32768, 32767)),
        (GREY.astype(np.float64) / 7, (GREY[0].min() / 7, GREY[0].max() / 7)),
    ],
)
def test_any_numbers_are_read(tmp_path: Path, values: np.ndarray, full_range: tuple[float, float]) -> None:
    np.savez(tmp_path / "x.npz", images=values)
    source = Source(tmp_path / "x.npz", "images")
    pixels = read_pixels(source, sample_of(describe(source)[0]))
    np.testing.assert_allclose(pixels.values[0], values[0].astype(np.float32))
    assert pixels.full_range == pytest.approx(full_range)
    assert describe(source)[0]["split"] is None


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    trap = np.array([[[Trap()]]], dtype=object)
    np.savez(tmp_path / "x.npz", train_images=trap, val_images=GREY, val_labels=np.array([Trap()] * 6, dtype=object))
    with pytest.raises(UnreadableImageError, match="never unpickled"):
        describe(Source(tmp_path / "x.npz", "train_images"))
    assert describe(Source(tmp_path / "x.npz", "val_images"))[0]["label"] is None
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_array_of_images_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, weights=GREY, a_images=GREY[0], b_images=GREY[:0], c_images=np.array(["x"]), d_images=COLOUR[None])
    for member, words in {
        "weights": "does not end in `images`",
        "a_images": "2 axes",
        "b_images": "3 axes",
        "c_images": "no numbers",
        "d_images": "5 axes",
    }.items():
        with pytest.raises(UnreadableImageError, match=words):
            describe(Source(path, member))
    np.savez(path, images=np.full((1, 2, 2), np.nan))
    row = sample_of(describe(Source(path, "images"))[0])
    with pytest.raises(UnreadableImageError, match="NaN"):
        read_pixels(Source(path, "images"), row)
    with pytest.raises(UnreadableImageError, match="image 1 is asked for, and the array has 1"):
        read_mask(Source(path, "images"), 1, format="npz")
    np.savez(tmp_path / "y.npz", images=GREY)
    damaged = (tmp_path / "y.npz").read_bytes().replace(b"(6, 5, 7)", b"(9, 5, 7)")
    (tmp_path / "y.npz").write_bytes(damaged)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        describe(Source(tmp_path / "y.npz", "images"))


def test_masks_are_read_as_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=GREY, colour_images=COLOUR)
    np.testing.assert_array_equal(read_mask(Source(tmp_path / "x.npz", "images"), 2), GREY[2])
    with pytest.raises(UnreadableImageError, match="one value a pixel"):
        read_mask(Source(tmp_path / "x.npz", "colour_images"), 0)
