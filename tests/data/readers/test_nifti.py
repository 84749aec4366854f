"""NIfTI: the slices are what nibabel's canonical orientation says, whatever the orientation of the file."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from sample_rows import read_frame

from medino.core import UnreadableImageError
from medino.data.readers import ReadSettings, describe, read_mask, sniff

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
    with pytest.raises(UnreadableImageError, match="NIfTI header"):
        describe(path)
