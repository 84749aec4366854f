"""NIfTI: the slices are what nibabel's canonical orientation says, whatever the orientation of the file."""

import gzip
import struct
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from sample_rows import read_frame

from medino.core import UnreadableImageError
from medino.data.readers import ReadSettings, describe, read_mask, sniff
from medino.data.source import Source

SHAPE = (5, 6, 7)
VOLUME = np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine), path)
    return path


def test_axes_run_as_dicom_viewers_show_them(tmp_path: Path) -> None:
    """Patient's right and front come first in axial slices, head first in the other two."""
    path = save(tmp_path / "volume.nii", VOLUME)
    assert sniff(path) == "nifti"
    axial, coronal, sagittal = (read_frame(path, 3, plane).values[0].numpy() for plane in (2, 1, 0))
    right, front, head = 0, SHAPE[1] - 1, SHAPE[2] - 1
    assert axial[0, -1] == VOLUME[right, front, 3]
    assert axial.shape == (SHAPE[1], SHAPE[0])
    assert coronal[0, -1] == VOLUME[right, 3, head]
    assert sagittal[0, 0] == VOLUME[3, front, head]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL", "SRA"])
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_volume_stored_in_any_orientation_gives_the_same_slices(tmp_path: Path, codes: str, plane: int) -> None:
    canonical = nibabel.Nifti1Image(VOLUME, np.diag([2.0, 3.0, 4.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(canonical.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(canonical.as_reoriented(turn), tmp_path / "turned.nii.gz")
    described = describe(tmp_path / "turned.nii.gz", ReadSettings(plane=plane))
    assert [facts["frame"] for facts in described] == list(range(SHAPE[plane]))
    sizes, others = (2.0, 3.0, 4.0), [axis for axis in range(3) if axis != plane]
    for facts in described:
        pixels = read_frame(tmp_path / "turned.nii.gz", facts["frame"], plane)
        expected = np.flip(np.take(VOLUME, facts["frame"], axis=plane)).T
        np.testing.assert_array_equal(pixels.values[0], expected)
        assert pixels.values.shape[1:] == (facts["rows"], facts["columns"])
        assert pixels.spacing == (facts["spacing_row_mm"], facts["spacing_column_mm"])
        assert pixels.spacing == (sizes[others[1]], sizes[others[0]])
        assert facts["slice_position_mm"] == pytest.approx(facts["frame"] * sizes[plane])
        assert facts["slice_thickness_mm"] == sizes[plane]


def test_hippocampus_volumes_and_labels_are_those_of_simpleitk(shared_data: Path) -> None:
    for path in sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:3]:
        image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "RAS")
        label = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path.parents[1] / "labels" / path.name)), "RAS")
        described = describe(path, ReadSettings(plane=1))
        assert len(described) == image.GetSize()[1]
        middle = len(described) // 2
        expected = SimpleITK.GetArrayFromImage(image)[::-1, middle, ::-1]
        np.testing.assert_array_equal(read_frame(path, middle, 1).values[0], expected)
        mask = read_mask(path.parents[1] / "labels" / path.name, middle, 1)
        np.testing.assert_array_equal(mask, SimpleITK.GetArrayFromImage(label)[::-1, middle, ::-1])
        assert set(mask.unique().tolist()) <= {0, 1, 2}


def test_slope_and_intercept_are_applied_to_values_and_full_range(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    image.to_filename(tmp_path / "scaled.nii")
    stored = np.asanyarray(nibabel.load(tmp_path / "scaled.nii").dataobj)
    pixels = read_frame(tmp_path / "scaled.nii", 2)
    np.testing.assert_allclose(pixels.values[0], np.flip(stored[:, :, 2]).T, rtol=1e-6)
    slope, intercept = nibabel.load(tmp_path / "scaled.nii").dataobj.slope, -10
    assert pixels.full_range == pytest.approx((-32768 * slope + intercept, 32767 * slope + intercept))


def test_the_full_range_of_floating_point_is_the_volumes_own(tmp_path: Path) -> None:
    path = save(tmp_path / "float.nii", VOLUME.astype(np.float32) / 7)
    assert read_frame(path, 0).full_range == pytest.approx((VOLUME.min() / 7, VOLUME.max() / 7))


def test_the_volumes_of_a_4d_file_follow_each_other(tmp_path: Path) -> None:
    path = save(tmp_path / "two.nii.gz", np.stack([VOLUME, VOLUME + 1000], axis=-1))
    described = describe(path, ReadSettings(plane=2))
    assert len(described) == 14
    assert described[7]["slice_position_mm"] == described[0]["slice_position_mm"]
    np.testing.assert_array_equal(read_frame(path, 7 + 3).values, read_frame(path, 3).values + 1000)
    save(path, np.stack([VOLUME, VOLUME + 1000], axis=-1)[..., None])
    assert len(describe(path, ReadSettings(plane=2))) == 14
    np.testing.assert_array_equal(read_frame(path, 7 + 3).values, read_frame(path, 3).values + 1000)


def test_nan_anywhere_in_a_volume_is_refused_in_every_slice(tmp_path: Path) -> None:
    data = VOLUME.astype(np.float32)
    data[1, 2, 3] = np.nan
    path = save(tmp_path / "nan.nii.gz", data)
    for frame in (0, 3):
        with pytest.raises(UnreadableImageError, match="1 voxels that are not numbers"):
            read_frame(path, frame)


def test_a_rewritten_volume_is_read_again(tmp_path: Path) -> None:
    path = save(tmp_path / "volume.nii", VOLUME)
    before = read_frame(path, 0).values
    save(path, VOLUME + 1)
    np.testing.assert_array_equal(read_frame(path, 0).values, before + 1)


def test_lengths_in_metres_and_micrometres_become_millimetres(tmp_path: Path) -> None:
    for unit, factor in (("meter", 1000), ("micron", 0.001)):
        image = nibabel.Nifti1Image(VOLUME, np.eye(4))
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "unit.nii")
        assert describe(tmp_path / "unit.nii", ReadSettings(plane=2))[0]["spacing_row_mm"] == pytest.approx(factor)


def test_what_is_no_grey_volume_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "odd.nii.gz"
    save(path, VOLUME.astype(np.complex64))
    with pytest.raises(UnreadableImageError, match="complex"):
        describe(path)
    save(path, np.zeros((2, 2, 2, 2, 2), np.float32))
    with pytest.raises(UnreadableImageError, match="5 axes"):
        describe(path)
    save(path, VOLUME + np.float32(0.5))
    with pytest.raises(UnreadableImageError, match="whole numbers"):
        read_mask(path, 0, 2)
    with pytest.raises(UnreadableImageError, match="slice 7 is asked for, and the file has 7"):
        read_mask(path, 7, 2)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UnreadableImageError, match="volume"):
        read_frame(path, 0)
    path.write_bytes(gzip.compress(b"not a volume"))
    with pytest.raises(UnreadableImageError, match="no NIfTI image"):
        describe(path)


def axial(path: Path | Source, frames: int = SHAPE[2]) -> np.ndarray:
    """All axial slices as one array."""
    return np.stack([read_frame(path, frame).values[0].numpy() for frame in range(frames)])


def expected_axial(volume: np.ndarray) -> np.ndarray:
    return np.stack([np.flip(volume[:, :, k]).T for k in range(volume.shape[2])])


def test_gzip_is_known_by_its_bytes_and_may_be_in_several_parts(tmp_path: Path) -> None:
    plain = nibabel.Nifti1Image(VOLUME, np.eye(4)).to_bytes()
    for name, data in {
        "packed.nii": gzip.compress(plain),
        "plain.nii.gz": plain,
        "no_name": gzip.compress(plain),
        "parts.nii.gz": gzip.compress(plain[:100]) + gzip.compress(plain[100:500]) + gzip.compress(plain[500:]),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert len(describe(tmp_path / name)) == SHAPE[2]
        np.testing.assert_array_equal(axial(tmp_path / name), expected_axial(VOLUME))


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_a_pair_of_header_and_voxels_is_read_through_its_header(tmp_path: Path, kind: type, ending: str) -> None:
    pair = kind(VOLUME, np.diag([2.0, 3.0, 4.0, 1.0]))
    nibabel.save(pair, tmp_path / "pair.hdr")
    for name in ("pair.hdr", "pair.img"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"{name}{ending}").write_bytes(gzip.compress(data) if ending else data)
    with zipfile.ZipFile(tmp_path / "pair.zip", "w") as archive:
        archive.write(tmp_path / f"pair.hdr{ending}", f"a/pair.hdr{ending}")
        archive.write(tmp_path / f"pair.img{ending}", f"a/pair.img{ending}")
    for source in (Source(tmp_path / f"pair.hdr{ending}"), Source(tmp_path / "pair.zip", f"a/pair.hdr{ending}")):
        assert describe(source)[0]["spacing_row_mm"] == 3
        np.testing.assert_array_equal(axial(source), expected_axial(VOLUME))
    for path in tmp_path.glob("pair.img*"):
        path.unlink()
    with pytest.raises(UnreadableImageError, match=r"the \.img file"):
        describe(tmp_path / f"pair.hdr{ending}")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_either_version_and_byte_order_is_read_from_a_file_and_from_an_archive(
    tmp_path: Path, kind: type, order: str
) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    nibabel.save(kind(VOLUME, np.eye(4), header), tmp_path / "volume.nii.gz")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(tmp_path / "volume.nii.gz", "volume.nii.gz")
    for source in (Source(tmp_path / "volume.nii.gz"), Source(tmp_path / "study.zip", "volume.nii.gz")):
        np.testing.assert_array_equal(axial(source), expected_axial(VOLUME))
        assert describe(source)[0]["bits_stored"] == 16


def test_the_sform_counts_before_the_qform_where_its_code_says_so(tmp_path: Path) -> None:
    turned, plain = np.diag([-2.0, 3.0, 4.0, 1.0]), np.diag([2.0, 3.0, 5.0, 1.0])
    for codes, affine in {(1, 1): plain, (0, 1): plain, (1, 0): turned}.items():
        image = nibabel.Nifti1Image(VOLUME, np.eye(4))
        image.set_qform(turned, codes[0])
        image.set_sform(plain, codes[1])
        image.header["qform_code"], image.header["sform_code"] = codes
        path = tmp_path / f"{codes[0]}{codes[1]}.nii"
        nibabel.save(image, path)
        stored = VOLUME[::-1] if affine is turned else VOLUME
        np.testing.assert_array_equal(axial(path), expected_axial(stored))
        assert describe(path)[0]["slice_thickness_mm"] == abs(affine[2, 2])


def test_without_either_the_first_axis_runs_to_the_left_as_in_nibabel(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, None)
    image.header["pixdim"][1:4] = 2, 3, 4
    nibabel.save(image, tmp_path / "nowhere.nii")
    canonical = nibabel.as_closest_canonical(nibabel.load(tmp_path / "nowhere.nii"))
    np.testing.assert_array_equal(axial(tmp_path / "nowhere.nii"), expected_axial(np.asanyarray(canonical.dataobj)))
    assert describe(tmp_path / "nowhere.nii")[0]["spacing_row_mm"] == 3


@pytest.mark.parametrize("slope", [0.0, float("nan"), float("inf")])
def test_a_slope_that_is_no_number_means_unscaled(tmp_path: Path, slope: float) -> None:
    data = bytearray(nibabel.Nifti1Image(VOLUME, np.eye(4)).to_bytes())
    data[112:120] = struct.pack("<ff", slope, 3.0)
    (tmp_path / "x.nii").write_bytes(bytes(data))
    np.testing.assert_array_equal(axial(tmp_path / "x.nii"), expected_axial(VOLUME))
    assert read_frame(tmp_path / "x.nii", 0).full_range == (-32768, 32767)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.uint32])
def test_long_integers_are_read_without_a_warning_and_as_masks_without_loss(
    tmp_path: Path, dtype: type, recwarn: pytest.WarningsRecorder
) -> None:
    values = VOLUME.astype(np.int64) + 500 + 2**25
    nibabel.save(nibabel.Nifti1Image(values.astype(dtype), np.eye(4), dtype=dtype), tmp_path / "long.nii")
    np.testing.assert_array_equal(axial(tmp_path / "long.nii"), expected_axial(values).astype(np.float32))
    np.testing.assert_array_equal(read_mask(tmp_path / "long.nii", 3), expected_axial(values)[3])
    assert read_frame(tmp_path / "long.nii", 0).full_range == (values.min(), values.max())
    assert not recwarn.list


def test_colours_are_said_to_be_what_is_not_read(tmp_path: Path) -> None:
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii")
    with pytest.raises(UnreadableImageError, match="colour"):
        describe(tmp_path / "rgb.nii")


def test_what_is_shorter_than_its_header_says_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "cut.nii", VOLUME)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnreadableImageError, match="shorter than its header"):
        describe(path)
    header = nibabel.Nifti1Header()
    header.set_data_shape((100, 100, 32767, 32767))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "claims.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    with pytest.raises(UnreadableImageError, match="shorter than its header"):
        describe(tmp_path / "claims.nii.gz")


def test_a_damaged_or_cut_gzip_file_is_rejected_in_words(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32)
    whole = save(tmp_path / "x.nii.gz", noise).read_bytes()
    for data in (whole[: len(whole) // 2], whole[:9000] + bytes(200) + whole[9200:], whole[:-8] + bytes(8)):
        (tmp_path / "x.nii.gz").write_bytes(data)
        describe(tmp_path / "x.nii.gz")
        with pytest.raises(UnreadableImageError, match="the volume"):
            read_frame(tmp_path / "x.nii.gz", 29)


def test_the_volumes_of_a_4d_archive_member_are_read(tmp_path: Path) -> None:
    two = save(tmp_path / "two.nii.gz", np.stack([VOLUME, VOLUME + 1000], axis=-1))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(two, "two")
    np.testing.assert_array_equal(axial(Source(tmp_path / "x.zip", "two"), 14), axial(two, 14))
