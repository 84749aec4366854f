"""Volumes are read in the voxel size that was asked for, as SimpleITK resamples them."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from medino.cli.main import main
from medino.core import InputError
from medino.data import Manifest, PixelDataset
from medino.data.identity import IdentityKey
from medino.data.scanning.scan import scan

KEY = IdentityKey(b"k" * 32)
SPACING = (1.6, 0.8, 2.0)


def peer(path: Path, size: tuple[int, int, int], interpolator: int) -> np.ndarray:
    """The volume in canonical orientation and the other voxel size, (x, y, z), first voxel where it was."""
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "RAS")
    made = SimpleITK.Resample(
        image, size, SimpleITK.Transform(), interpolator, image.GetOrigin(), SPACING, image.GetDirection(), -1000
    )
    return SimpleITK.GetArrayFromImage(made).transpose(2, 1, 0)


@pytest.fixture
def volumes(tmp_path: Path, shared_data: Path) -> Path:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        for path in sorted((shared_data / "hippocampus" / name).glob("*.nii.gz"))[:2]:
            shutil.copy(path, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_slices_and_labels_are_those_of_simpleitk_in_the_spacing_asked_for(volumes: Path, plane: int) -> None:
    manifest = scan([volumes], key=KEY, plane=plane, spacing_mm=SPACING, verify=True)
    assert not manifest.rejects
    dataset = PixelDataset(manifest)
    axes = [axis for axis in (0, 1, 2) if axis != plane]
    for path in sorted(set(manifest.column("path"))):
        rows = np.flatnonzero(manifest.column("path") == path)
        first = manifest.sample(int(rows[0]))
        sizes = {plane: len(rows), axes[0]: first.columns, axes[1]: first.rows}
        spacing = {plane: first.slice_thickness_mm, axes[0]: first.spacing_column_mm, axes[1]: first.spacing_row_mm}
        assert [spacing[axis] for axis in range(3)] == pytest.approx(SPACING)
        size = (sizes[0], sizes[1], sizes[2])
        own = nibabel.as_closest_canonical(nibabel.load(volumes / path))
        extent = (np.array(own.shape) - 1) * own.header.get_zooms()
        np.testing.assert_array_equal(size, np.round(extent / SPACING + 1))
        image = peer(volumes / path, size, SimpleITK.sitkLinear)
        label = peer(volumes / path.replace("images", "labels"), size, SimpleITK.sitkNearestNeighbor)
        inside = np.flip(np.take(image, 1, axis=plane)).T != -1000  # what rounding lets stand out has no value there
        pixels = dataset[int(rows[1])]
        expected = np.flip(np.take(image, 1, axis=plane)).T
        scale = np.ptp(image)
        np.testing.assert_allclose(pixels.values[0].numpy()[inside], expected[inside], atol=2e-4 * scale)
        assert pixels.spacing == pytest.approx((spacing[axes[1]], spacing[axes[0]]))
        middle = len(rows) // 2
        mask = dataset.mask(int(rows[middle])).numpy()
        wanted = np.flip(np.take(label, middle, axis=plane)).T
        inside = np.flip(np.take(image, middle, axis=plane)).T != -1000
        # Voxels half way between two may fall to either.
        assert (mask[inside] != wanted[inside]).mean() < 0.01
        assert mask.any()


def test_a_volume_that_has_the_spacing_is_left_as_it_is(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0001, 1, 1])), tmp_path / "v.nii")
    plain, asked = scan([tmp_path], key=KEY), scan([tmp_path], key=KEY, spacing_mm=(1, 1, 1))
    assert plain.table == asked.table


def test_the_command_takes_the_spacing(tmp_path: Path) -> None:
    values = np.zeros((5, 6, 7), np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2, 2, 1])), tmp_path / "v.nii")
    output = tmp_path / "cohort.parquet"
    assert main(["scan", str(tmp_path), "-o", str(output), "--spacing", "1", "1", "4", "--verify"]) == 0
    manifest = Manifest.read(output)
    assert len(manifest) == 4
    assert (manifest.sample(0).rows, manifest.sample(0).columns) == (11, 9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, float("nan"))])
def test_what_is_no_voxel_size_is_refused(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="no voxel size"):
        scan([tmp_path], key=KEY, spacing_mm=spacing)


def test_a_volume_too_large_in_the_spacing_is_rejected(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.float32), np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(InputError, match="more voxels than can be read"):
        scan([tmp_path], key=KEY, spacing_mm=(0.001, 0.001, 0.001))
