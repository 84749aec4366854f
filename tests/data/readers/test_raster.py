"""PNG, JPEG and TIFF: values as Pillow gives them, sixteen bits kept, rotated as the camera says."""

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sample_rows import read_frame

from medino.core import UnreadableImageError
from medino.data.readers import describe, read_mask, sniff

RNG = np.random.default_rng(0)
GREY8, GREY16 = RNG.integers(0, 256, (5, 7), np.uint8), RNG.integers(0, 65536, (5, 7), np.uint16)
RGB8, RGB16 = RNG.integers(0, 256, (5, 7, 3), np.uint8), RNG.integers(0, 65536, (5, 7, 3), np.uint16)


def check(path: Path, expected: np.ndarray, bits: int) -> None:
    """The header and the pixels of a file say the same, and the pixels are those expected."""
    assert sniff(path) == "raster"
    (facts,) = describe(path)
    pixels = read_frame(path, 0)
    expected = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels.values.numpy(), expected.astype(np.float32))
    assert pixels.values.shape == (facts["samples_per_pixel"], facts["rows"], facts["columns"])
    assert facts["bits_stored"] == bits
    assert pixels.full_range == (0, 2**bits - 1)
    assert pixels.spacing is None


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("values", "bits"), [(GREY8, 8), (GREY16, 16), (RGB8, 8)])
def test_lossless_files_keep_every_value(tmp_path: Path, values: np.ndarray, bits: int, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(values).save(path)
    check(path, values, bits)


def test_sixteen_bit_colour_is_not_cut_to_eight(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(imagecodecs.png_encode(RGB16))
    check(tmp_path / "image.png", RGB16, 16)
    (tmp_path / "image.tif").write_bytes(imagecodecs.tiff_encode(RGB16, photometric="rgb"))
    check(tmp_path / "image.tif", RGB16, 16)


def test_one_bit_is_zero_and_one(tmp_path: Path) -> None:
    Image.fromarray(GREY8 > 127).save(tmp_path / "bits.png")
    check(tmp_path / "bits.png", GREY8 > 127, 1)


def test_alpha_is_dropped_and_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    alpha = np.dstack([RGB8, GREY8])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    check(tmp_path / "alpha.png", RGB8, 8)
    Image.fromarray(np.dstack([GREY8, GREY8[::-1]])).save(tmp_path / "grey_alpha.png")
    check(tmp_path / "grey_alpha.png", GREY8, 8)
    palette = Image.fromarray(GREY8 % 3).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png")
    check(tmp_path / "palette.png", np.eye(3)[GREY8 % 3] * 255, 8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_applied_to_image_and_mask(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    image = Image.fromarray(GREY8)
    exif = image.getexif()
    exif[274] = orientation
    image.save(path, exif=exif)
    # Pillow is the peer for PNG and JPEG; a TIFF must look like the PNG of the same numbers.
    image.save(tmp_path / "peer.png", exif=exif)
    with Image.open(path if suffix == ".jpg" else tmp_path / "peer.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    assert expected.shape == ((7, 5) if orientation >= 5 else (5, 7))
    check(path, expected, 8)
    np.testing.assert_array_equal(read_mask(path), expected)


def test_the_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY8 // factor) for factor in (1, 2, 4)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert [facts["frame"] for facts in describe(tmp_path / "pages.tif")] == [0, 1, 2]
    for frame, page in enumerate(pages):
        np.testing.assert_array_equal(read_frame(tmp_path / "pages.tif", frame).values[0], np.asarray(page))
    with pytest.raises(UnreadableImageError, match="page 3 is asked for, and the file has 3"):
        read_frame(tmp_path / "pages.tif", 3)


def test_floating_point_tiffs_take_their_own_range_and_refuse_nan(tmp_path: Path) -> None:
    values = RNG.normal(size=(5, 7)).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "float.tif")
    pixels = read_frame(tmp_path / "float.tif", 0)
    np.testing.assert_array_equal(pixels.values[0], values)
    assert pixels.full_range == (values.min(), values.max())
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "float.tif")
    with pytest.raises(UnreadableImageError, match="NaN"):
        read_frame(tmp_path / "float.tif", 0)


def test_real_masks_keep_their_values(shared_data: Path) -> None:
    lung = read_mask(sorted((shared_data / "cxr_shenzhen" / "lung_masks").glob("*.png"))[0])
    assert lung.dtype == torch.int64
    assert lung.unique().tolist() == [0, 1]
    cell = read_mask(shared_data / "wbc_dataset1" / "001_mask.png")
    assert cell.unique().tolist() == [0, 128, 255]
    path = sorted((shared_data / "dsb2018_nuclei" / "labels").glob("*.png"))[0]
    nuclei = read_mask(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(nuclei, np.asarray(image))
    assert len(nuclei.unique()) > 2


def test_a_palette_mask_is_its_indices_and_a_grey_one_in_colour_its_grey(tmp_path: Path) -> None:
    palette = Image.fromarray(GREY8 % 3).convert("P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "palette.png"), GREY8 % 3)
    Image.fromarray(np.dstack([GREY8] * 3)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), GREY8)
    Image.fromarray(RGB8).save(tmp_path / "colour.png")
    with pytest.raises(UnreadableImageError, match="one value a pixel"):
        read_mask(tmp_path / "colour.png")


def write_grey_png(path: Path, bits: int, samples: int, rows: list[bytes], width: int) -> None:
    """A PNG of rows as they lie in the file, for depths that Pillow does not write (PNG specification, section 5)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, 4 if samples == 2 else 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("bits", "samples", "row", "expected"),
    [
        (2, 1, bytes([0b00011011]), [0, 1, 2, 3]),
        (4, 1, bytes([0x01, 0x2F]), [0, 1, 2, 15]),
        (16, 1, struct.pack(">4H", 0, 1, 300, 65535), [0, 1, 300, 65535]),
        (16, 2, struct.pack(">8H", 0, 65535, 1, 65535, 300, 65535, 65535, 65535), [0, 1, 300, 65535]),
    ],
)
def test_a_grey_mask_of_any_depth_keeps_its_numbers_and_an_image_its_channels(
    tmp_path: Path, bits: int, samples: int, row: bytes, expected: list[int]
) -> None:
    write_grey_png(tmp_path / "mask.png", bits, samples, [row] * 3, width=4)
    pixels = read_frame(tmp_path / "mask.png", 0)
    assert pixels.values.shape == (describe(tmp_path / "mask.png")[0]["samples_per_pixel"], 3, 4)
    assert read_mask(tmp_path / "mask.png").tolist() == [expected] * 3


def test_broken_files_are_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(RNG.integers(0, 256, (99, 99), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UnreadableImageError, match="truncated"):
        read_frame(path, 0)
    path.write_text("no image")
    with pytest.raises(UnreadableImageError, match="image file"):
        describe(path)
    (tmp_path / "notes.txt").write_text("no image")
    assert sniff(tmp_path / "notes.txt") is None
    with pytest.raises(UnreadableImageError, match="no image of a kind that is read"):
        describe(tmp_path / "notes.txt")


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize(("values", "bits"), [(GREY8, 8), (GREY16, 16), (RGB8, 8), (RGB16, 16)])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"bigtiff": True}, {"predictor": "horizontal"}])
def test_tiffs_of_every_lossless_compression_and_layout_keep_every_value(
    tmp_path: Path, compression: str, values: np.ndarray, bits: int, layout: dict[str, object]
) -> None:
    if "predictor" in layout and compression not in ("lzw", "deflate", "zstd"):
        pytest.skip("TIFF has the predictor for LZW, deflate and Zstandard alone")
    photometric = "rgb" if values.ndim == 3 else "minisblack"
    encoded = imagecodecs.tiff_encode(values, compression=compression, photometric=photometric, **layout)
    (tmp_path / "image.tif").write_bytes(encoded)
    check(tmp_path / "image.tif", values, bits)


@pytest.mark.parametrize(("values", "bits"), [(RGB8, 8), (RGB16, 16)])
def test_colours_that_lie_apart_are_put_together(tmp_path: Path, values: np.ndarray, bits: int) -> None:
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    encoded = imagecodecs.tiff_encode(planes, photometric="rgb", planarconfig="separate")
    (tmp_path / "image.tif").write_bytes(encoded)
    check(tmp_path / "image.tif", values, bits)


def test_jpeg_in_a_tiff_is_what_the_jpeg_is(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)
    (tmp_path / "image.tif").write_bytes(imagecodecs.tiff_encode(smooth, compression="jpeg", photometric="minisblack"))
    assert np.abs(read_frame(tmp_path / "image.tif").values[0].numpy() - smooth).max() <= 2


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
def test_tiffs_of_signed_and_long_numbers_keep_them(tmp_path: Path, dtype: type) -> None:
    values = (
        (GREY8.astype(np.int64) - (100 if np.iinfo(dtype).min < 0 else 0)).clip(np.iinfo(dtype).min, 127).astype(dtype)
    )
    (tmp_path / "image.tif").write_bytes(imagecodecs.tiff_encode(values, photometric="minisblack"))
    pixels = read_frame(tmp_path / "image.tif")
    np.testing.assert_array_equal(pixels.values[0], values)
    assert pixels.full_range == (values.min(), values.max())


def test_windows_bitmaps_and_lossless_webp_are_read(tmp_path: Path) -> None:
    for name, values in {"grey.bmp": GREY8, "colour.bmp": RGB8, "colour.webp": RGB8}.items():
        Image.fromarray(values).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        check(tmp_path / name, values, 8)
    Image.fromarray(GREY8).save(tmp_path / "grey.gif")
    check(tmp_path / "grey.gif", np.dstack([GREY8] * 3), 8)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_the_pictures_of_an_animation_are_frames_as_they_are_shown(tmp_path: Path, suffix: str) -> None:
    pictures = [np.full((8, 9, 3), 0, np.uint8) for _ in range(3)]
    for number, picture in enumerate(pictures):
        picture[number : number + 3, 2:5] = (255, 0, 0)
    first, *others = map(Image.fromarray, pictures)
    first.save(tmp_path / f"film{suffix}", save_all=True, append_images=others, lossless=True)
    assert [facts["frame"] for facts in describe(tmp_path / f"film{suffix}")] == [0, 1, 2]
    for number, picture in enumerate(pictures):
        frame = read_frame(tmp_path / f"film{suffix}", number).values.numpy()
        np.testing.assert_array_equal(frame, picture.transpose(2, 0, 1))


def test_of_an_animated_png_the_first_picture_is_read(tmp_path: Path) -> None:
    Image.fromarray(GREY8).save(tmp_path / "film.png", save_all=True, append_images=[Image.fromarray(GREY8 // 2)])
    check(tmp_path / "film.png", GREY8, 8)


def test_the_colours_of_print_become_those_of_a_screen(tmp_path: Path) -> None:
    ink = Image.merge("CMYK", [Image.new("L", (8, 8), value) for value in (0, 255, 255, 0)])
    ink.save(tmp_path / "print.jpg", quality=100)
    pixels = read_frame(tmp_path / "print.jpg")
    assert describe(tmp_path / "print.jpg")[0]["samples_per_pixel"] == 3
    np.testing.assert_allclose(pixels.values.float().mean(dim=(1, 2)), [255, 0, 0], atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_that_stands_behind_the_pixels_of_a_png_is_applied(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(GREY8)
    exif = image.getexif()
    exif[274] = orientation
    image.save(tmp_path / "before.png", exif=exif)
    data = (tmp_path / "before.png").read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    (tmp_path / "behind.png").write_bytes(moved)
    check(tmp_path / "behind.png", read_frame(tmp_path / "before.png").values[0].numpy(), 8)


def test_resolution_tags_are_no_spacing(tmp_path: Path) -> None:
    Image.fromarray(GREY8).save(tmp_path / "image.png", dpi=(254, 254))
    check(tmp_path / "image.png", GREY8, 8)
    assert describe(tmp_path / "image.png")[0]["spacing_row_mm"] is None
