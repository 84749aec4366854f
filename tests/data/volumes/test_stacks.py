from pathlib import Path

import nibabel
import numpy as np
import pytest
from volume_files import SHAPE, ellipsoid, write_ct, write_pair

from medino.core import InputError
from medino.data import Manifest, PixelDataset, Source, scan
from medino.data.volumes.label_grid import labels_on_slices
from medino.data.volumes.stacks import SliceStack, find_stacks

ORIENTATIONS = ["RAS", "LPS", "LAS", "PSR", "SAL", "IRP"]


def only(manifest: Manifest) -> SliceStack:
    (stack,) = find_stacks(manifest)
    return stack


def slices_of(manifest: Manifest, stack: SliceStack) -> np.ndarray:
    pixels = PixelDataset(manifest)
    return np.stack([pixels[row].values[0].numpy() for row in stack.rows.tolist()])


@pytest.mark.parametrize("plane", [0, 1, 2])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_mask_of_slices_lies_on_the_voxels_of_its_nifti_source(codes: str, plane: int, tmp_path: Path) -> None:
    image, _ = write_pair(tmp_path / "in", codes)
    manifest = scan([image], plane=plane, workers=1)
    stack = only(manifest)
    stack.write(tmp_path / "out.nii.gz", (slices_of(manifest, stack) > 500).astype(np.int64) * 300)
    source, written = nibabel.load(image), nibabel.load(tmp_path / "out.nii.gz")
    assert written.shape == source.shape
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), 300 * (np.asarray(source.dataobj) > 500))


@pytest.mark.parametrize("plane", [0, 1, 2])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_label_volume_of_any_orientation_is_read_onto_the_slices(codes: str, plane: int, tmp_path: Path) -> None:
    image, _ = write_pair(tmp_path / "image")
    _, mask = write_pair(tmp_path / "mask", codes)
    manifest = scan([image], plane=plane, workers=1)
    stack = only(manifest)
    values = slices_of(manifest, stack)
    labels = labels_on_slices(Source(mask), stack, *values.shape[1:])
    np.testing.assert_array_equal(labels, 2 * (values > 500))


def test_a_mask_of_a_series_lies_where_its_slices_do(tmp_path: Path) -> None:
    """In LPS the voxel (c, r, k) is at position + c * spacing * row cosines + ...; in RAS the first two change sign."""
    write_ct(tmp_path / "ct")
    manifest = scan([tmp_path / "ct"], workers=1)
    stack = only(manifest)
    stack.write(tmp_path / "out.nii.gz", (slices_of(manifest, stack) > 0).astype(np.int64))
    written = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, ellipsoid())
    for voxel in ((0, 0, 0), (27, 23, 9)):
        wanted = [10 - 0.8 * voxel[0], 12 - 0.9 * voxel[1], 2 * voxel[2]]
        np.testing.assert_allclose((written.affine @ [*voxel, 1])[:3], wanted, atol=1e-4)


def test_a_label_volume_is_read_onto_the_series_that_it_was_drawn_on(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    manifest = scan([tmp_path / "ct"], workers=1)
    stack = only(manifest)
    drawn = (slices_of(manifest, stack) > 0).astype(np.int64)
    stack.write(tmp_path / "drawn.nii.gz", drawn)
    np.testing.assert_array_equal(labels_on_slices(Source(tmp_path / "drawn.nii.gz"), stack, 24, 28), drawn)


def test_each_volume_of_a_4d_file_is_one(tmp_path: Path) -> None:
    values = np.arange(3 * 4 * 5 * 2, dtype=np.int16).reshape(3, 4, 5, 2)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), tmp_path / "two.nii")
    manifest = scan([tmp_path], workers=1)
    stacks = find_stacks(manifest)
    assert [stack.name[-2:] for stack in stacks] == ["-1", "-2"]
    for number, stack in enumerate(stacks):
        stack.write(tmp_path / "out.nii.gz", slices_of(manifest, stack).astype(np.int64))
        np.testing.assert_array_equal(nibabel.load(tmp_path / "out.nii.gz").dataobj, values[..., number])


def test_slices_that_are_missing_or_resampled_have_no_affine_and_the_reason_is_said(tmp_path: Path) -> None:
    image, _ = write_pair(tmp_path)
    manifest = scan([image], workers=1)
    assert only(manifest.select(np.arange(SHAPE[2]) != 3)).reason == "the manifest holds 9 of its 10 slices"
    resampled = only(scan([image], workers=1, spacing_mm=(1, 1, 1)))
    assert resampled.affine is None
    assert "another voxel size" in str(resampled.reason)


def test_a_series_with_gaps_has_no_affine_and_the_reason_is_said(tmp_path: Path) -> None:
    paths = write_ct(tmp_path / "ct")
    paths[4].unlink()
    stack = only(scan([tmp_path / "ct"], workers=1))
    assert stack.affine is None
    assert stack.reason


@pytest.mark.parametrize(("shift", "words"), [(0.4, "lie beside the volume's pixels"), (100.0, "beside the volume")])
def test_labels_beside_the_volume_are_refused(shift: float, words: str, tmp_path: Path) -> None:
    image, mask = write_pair(tmp_path)
    moved = nibabel.load(mask)
    affine = moved.affine.copy()
    affine[0, 3] += shift * 0.8
    nibabel.save(nibabel.Nifti1Image(np.asarray(moved.dataobj), affine), tmp_path / "moved.nii.gz")
    stack = only(scan([image], workers=1))
    with pytest.raises(InputError, match=words):
        labels_on_slices(Source(tmp_path / "moved.nii.gz"), stack, 24, 28)


def test_a_file_that_was_broken_since_the_scan_has_no_affine_and_the_reason_is_said(tmp_path: Path) -> None:
    image, _ = write_pair(tmp_path)
    manifest = scan([image], workers=1)
    image.write_bytes(b"no longer a volume")
    stack = only(manifest)
    assert stack.affine is None
    assert stack.reason
