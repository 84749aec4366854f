"""Every transfer syntax that images meet: the values that went in come out, and frame by frame."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread, dcmwrite, uid
from pydicom.encaps import encapsulate_extended
from sample_rows import sample_of

from medino.core import UnreadableImageError
from medino.data.readers import describe, dicom_decoders, read_pixels

_Y, _X = np.mgrid[:40, :56]
UNSIGNED = (_Y * 60 + _X * 13 + _Y * _X % 7).astype(np.uint16)
"""12 bits."""
SIGNED = (UNSIGNED.astype(np.int16) - 2048).astype(np.int16)
"""12 bits and a sign, in 16."""
Encoder = Callable[[np.ndarray], bytes]
LOSSLESS: dict[str, tuple[str, Encoder]] = {
    "JPEG lossless, process 14": (
        uid.JPEGLossless,
        lambda a: imagecodecs.jpeg_encode(a.view(np.uint16), lossless=True, predictor=6, bitspersample=16),
    ),
    "JPEG lossless, selection value 1": (
        uid.JPEGLosslessSV1,
        lambda a: imagecodecs.jpeg_encode(a.view(np.uint16), lossless=True, predictor=1, bitspersample=16),
    ),
    "JPEG-LS lossless": (uid.JPEGLSLossless, lambda a: imagecodecs.jpegls_encode(a.view(np.uint16))),
    "JPEG 2000 lossless": (
        uid.JPEG2000Lossless,
        lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True),
    ),
    "JPEG 2000 lossless, sign lost": (
        uid.JPEG2000Lossless,
        lambda a: imagecodecs.jpeg2k_encode(a.view(np.uint16), codecformat="j2k", reversible=True),
    ),
    "HTJ2K lossless": (uid.HTJ2KLossless, lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
    "HTJ2K lossless, RPCL": (uid.HTJ2KLosslessRPCL, lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
}
Decoder = Callable[[bytes], np.ndarray]
LOSSY: dict[str, tuple[str, Encoder, Decoder]] = {
    "JPEG extended, 12 bits": (
        uid.JPEGExtended12Bit,
        lambda a: imagecodecs.jpeg_encode(a, level=98, bitspersample=12),
        imagecodecs.jpeg_decode,
    ),
    "JPEG-LS near": (
        uid.JPEGLSNearLossless,
        lambda a: imagecodecs.jpegls_encode(a.view(np.uint16), level=3),
        imagecodecs.jpegls_decode,
    ),
    "JPEG 2000": (
        uid.JPEG2000,
        lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=70, reversible=False),
        imagecodecs.jpeg2k_decode,
    ),
    "HTJ2K": (
        uid.HTJ2K,
        lambda a: imagecodecs.htj2k_encode(a, level=1e-3, reversible=False),
        imagecodecs.htj2k_decode,
    ),
}


def values_of(path: Path, frame: int = 0) -> np.ndarray:
    return read_pixels(path, sample_of(describe(path)[frame])).values.numpy()


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_uncompressed_values_survive_either_order_of_bytes(write_dicom, syntax: str, dtype: type) -> None:
    limits = np.iinfo(dtype)
    values = np.array([[limits.min, limits.max, 1], [2, 3, 4]], dtype)
    path = write_dicom(np.stack([values[::-1], values]))
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian:
        stored = np.stack([values[::-1], values]).astype(np.dtype(dtype).newbyteorder(">"))
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OB" if dtype is np.uint8 else "OW"
    dcmwrite(
        path,
        dataset,
        implicit_vr=syntax == uid.ImplicitVRLittleEndian,
        little_endian=syntax != uid.ExplicitVRBigEndian,
    )
    np.testing.assert_array_equal(values_of(path, 1)[0], values.astype(np.float32))


@pytest.mark.parametrize("values", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", [uid.DeflatedExplicitVRLittleEndian, uid.RLELossless])
def test_what_pydicom_deflates_and_run_length_encodes_is_read(write_dicom, syntax: str, values: np.ndarray) -> None:
    path = write_dicom(np.stack([values, values[::-1]]))
    dataset = dcmread(path)
    if syntax == uid.RLELossless:
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    np.testing.assert_array_equal(values_of(path, 1)[0], values[::-1])


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("values", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_lossless_encodings_give_back_what_went_in(write_dicom, encode, name: str, values: np.ndarray) -> None:
    syntax, encoder = LOSSLESS[name]
    path = encode(write_dicom(np.stack([values, values[::-1]])), syntax, [encoder(values), encoder(values[::-1])])
    np.testing.assert_array_equal(values_of(path)[0], values)
    np.testing.assert_array_equal(values_of(path, 1)[0], values[::-1])


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_encodings_decode_as_by_another_library_and_near_what_went_in(write_dicom, encode, name: str) -> None:
    syntax, encoder, decoder = LOSSY[name]
    frame = encoder(UNSIGNED)
    found = values_of(encode(write_dicom(UNSIGNED, BitsStored=12, HighBit=11), syntax, [frame]))[0]
    np.testing.assert_allclose(found, decoder(frame), atol=1)
    assert np.corrcoef(found.ravel(), UNSIGNED.ravel())[0, 1] > 0.999


def test_ten_bits_of_jpeg_extended_keep_their_scale(write_dicom, encode) -> None:
    values = UNSIGNED // 4
    frame = imagecodecs.jpeg_encode(values, level=98, bitspersample=12)
    path = encode(write_dicom(values, BitsStored=10, HighBit=9), uid.JPEGExtended12Bit, [frame])
    assert np.abs(values_of(path)[0] - values).max() <= 16


@pytest.mark.parametrize("subsampling", ["444", "422"])
def test_baseline_jpeg_in_ybr_becomes_rgb(write_dicom, encode, subsampling: str) -> None:
    rgb = np.stack([_Y * 6, _X * 4, 255 - _Y * 6], axis=-1).astype(np.uint8)
    facts = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    path = write_dicom(rgb[..., 0], **facts)
    path = encode(path, uid.JPEGBaseline8Bit, [imagecodecs.jpeg_encode(rgb, level=98, subsampling=subsampling)])
    assert np.abs(values_of(path) - rgb.transpose(2, 0, 1)).max() <= 12


def test_a_frame_is_found_by_the_extended_offset_table(write_dicom) -> None:
    frames = [UNSIGNED + shift for shift in range(3)]
    path = write_dicom(np.stack(frames))
    dataset = dcmread(path)
    encoded = [imagecodecs.jpegls_encode(frame) for frame in frames]
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(encoded)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    dataset.save_as(path)
    np.testing.assert_array_equal(values_of(path, 2)[0], frames[2])


def test_reading_one_frame_neither_reads_nor_decodes_the_others(write_dicom, encode) -> None:
    frames = [UNSIGNED, SIGNED.view(np.uint16), UNSIGNED[::-1]]
    encoded = [imagecodecs.jpegls_encode(frame) for frame in frames]
    path = encode(write_dicom(np.stack(frames)), uid.JPEGLSLossless, [b"\xff\xd8" + bytes(60), encoded[1], bytes(60)])
    np.testing.assert_array_equal(values_of(path, 1)[0], frames[1])
    with pytest.raises(UnreadableImageError, match="JPEG-LS"):
        values_of(path, 0)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("rle", [False, True], ids=["native", "RLE"])
def test_overlays_above_the_value_are_cut_off(write_dicom, signed: bool, rle: bool) -> None:
    values = SIGNED if signed else UNSIGNED
    cells = (values & 0xFFF).astype(np.uint16) | (((_X + _Y) % 2 << 14) | (_X % 2 << 12)).astype(np.uint16)
    path = write_dicom(cells, BitsStored=12, HighBit=11, PixelRepresentation=int(signed))
    if rle:
        dataset = dcmread(path)
        dataset.BitsStored = 16  # the encoder would refuse the overlay
        dataset.compress(uid.RLELossless)
        dataset.BitsStored = 12
        dataset.save_as(path)
    np.testing.assert_array_equal(values_of(path)[0], values)
    if not rle:
        # GDCM cuts the overlay off as well.
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0], values)


@pytest.mark.parametrize("values", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_a_value_in_the_upper_bits_of_its_cell_is_taken_from_there(write_dicom, values: np.ndarray) -> None:
    cells = ((values.astype(np.int32) << 4) | _X % 16).astype(values.dtype)
    path = write_dicom(cells, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(values_of(path)[0], values)


def test_one_bit_pixels_are_unpacked_where_a_frame_begins_inside_a_byte(write_dicom) -> None:
    frames = np.random.default_rng(0).integers(0, 2, (3, 5, 7), dtype=np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    path = write_dicom(frames, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed + bytes(len(packed) % 2))
    for frame in range(3):
        np.testing.assert_array_equal(values_of(path, frame)[0], frames[frame])


@pytest.mark.parametrize("values", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_cells_of_twelve_bits_are_unpacked(write_dicom, values: np.ndarray) -> None:
    frames = np.stack([values[:3, :5], values[5:8, 7:12]])
    bits = np.unpackbits(frames.ravel().astype("<u2").view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
    packed = np.packbits(bits[:, :12].ravel(), bitorder="little").tobytes()
    facts = {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}
    path = write_dicom(frames, **facts, PixelData=packed + bytes(len(packed) % 2))
    for frame in range(2):
        np.testing.assert_array_equal(values_of(path, frame)[0], frames[frame])
    if values is UNSIGNED:
        path = write_dicom(UNSIGNED, **facts, PixelData=pack_twelve(UNSIGNED))
        np.testing.assert_array_equal(values_of(path)[0], UNSIGNED)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0], UNSIGNED)


def pack_twelve(values: np.ndarray) -> bytes:
    """Two values in three bytes, written out."""
    low, high = values.ravel()[::2].astype(int), values.ravel()[1::2].astype(int)
    return np.stack([low & 255, low >> 8 | (high & 15) << 4, high >> 4], axis=1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("values", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_what_pydicom_encodes_with_twelve_of_sixteen_bits_comes_out(
    write_dicom, syntax: str, values: np.ndarray
) -> None:
    path = write_dicom(values, BitsStored=12, HighBit=11)
    dataset = dcmread(path)
    dataset.compress(syntax)
    dataset.save_as(path)
    np.testing.assert_array_equal(values_of(path)[0], values)


def test_pixel_data_that_was_decompressed_under_its_old_transfer_syntax_is_read_as_it_lies(shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "nema-enhanced-multiframe__dicom-ts-issues__20-wrong-transfer-syntax.dcm"
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(values_of(path), expected)


SIZED = LOSSLESS | {name: (syntax, encoder) for name, (syntax, encoder, _) in LOSSY.items()}


@pytest.mark.parametrize("name", SIZED)
def test_a_frame_that_announces_another_size_is_refused_before_room_is_made_for_it(
    write_dicom, encode, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    syntax, encoder = SIZED[name]
    path = encode(write_dicom(UNSIGNED[:20, :30], BitsStored=12, HighBit=11), syntax, [encoder(UNSIGNED)])
    monkeypatch.setattr(dicom_decoders, "get_decoder", None)
    monkeypatch.setattr(dicom_decoders, "_own_decoder", None)
    with pytest.raises(UnreadableImageError, match="decodes to 40x56, the header says 20x30"):
        values_of(path)


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.MPEG4HP41, uid.HEVCMP51])
def test_video_is_refused_by_name(write_dicom, encode, syntax: str) -> None:
    path = encode(write_dicom(UNSIGNED), syntax, [bytes(100)])
    with pytest.raises(UnreadableImageError, match=r"no decoder for the pixel data: (MPEG|HEVC)"):
        describe(path)
