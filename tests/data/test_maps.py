"""Maps of values, which stand where a mask does."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from archive_files import write_dicom
from PIL import Image

from medino.core import InputError, UnreadableImageError
from medino.data import Manifest, PixelDataset, scan


def scanned(folder: Path, image: str, **settings: Any) -> Manifest:
    return scan([folder / "images" / image], masks=folder / "maps", **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("images", "maps"):
        (tmp_path / part).mkdir()
    Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save(tmp_path / "images" / "a.png")
    return tmp_path


def test_a_tiff_map_keeps_its_numbers_and_its_nan(folder: Path) -> None:
    values = np.linspace(-1.5, 2.5, 24, dtype=np.float32).reshape(4, 6)
    values[1, 2] = np.nan
    Image.fromarray(values).save(folder / "maps" / "a.tiff")
    pixels = PixelDataset(scanned(folder, "a.png"))
    np.testing.assert_array_equal(pixels.map(0).numpy(), values)
    with pytest.raises(UnreadableImageError, match="not whole numbers"):
        pixels.mask(0)


def test_a_png_map_of_16_bits_is_its_stored_numbers(folder: Path) -> None:
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    Image.fromarray(values).save(folder / "maps" / "a.png")
    np.testing.assert_array_equal(PixelDataset(scanned(folder, "a.png")).map(0).numpy(), values)


def test_a_nifti_map_is_in_the_units_of_its_file_and_turned_like_its_image(folder: Path) -> None:
    generator = np.random.default_rng(0)
    stored = generator.integers(0, 1000, (5, 4, 3)).astype(np.int16)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    image = nib.Nifti1Image(stored, affine)
    nib.save(image, folder / "images" / "v.nii.gz")
    scaled = nib.Nifti1Image(stored, affine)
    scaled.header.set_slope_inter(0.5, 10)
    nib.save(scaled, folder / "maps" / "v.nii.gz")
    manifest = scan([folder / "images" / "v.nii.gz"], masks=folder / "maps")
    pixels = PixelDataset(manifest)
    for row in range(3):
        np.testing.assert_allclose(pixels.map(row).numpy(), pixels[row].values[0].numpy() * 0.5 + 10)


def test_a_nifti_map_may_hold_nan_and_is_resampled_by_nearest_neighbour(folder: Path) -> None:
    values = np.random.default_rng(0).random((6, 6, 3), dtype=np.float32) + 1
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "images" / "v.nii")
    values[2, 3, 1] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "maps" / "v.nii")
    own = PixelDataset(scanned(folder, "v.nii"))
    assert int(own.map(1).isnan().sum()) == 1
    finer = PixelDataset(scanned(folder, "v.nii", spacing_mm=(0.5, 0.5, 1.0)))
    mapped = finer.map(1)
    assert mapped.shape == finer[1].values.shape[-2:]
    present = set(values[np.isfinite(values)].tolist())
    assert set(mapped[mapped.isfinite()].tolist()) <= present


def test_a_map_in_colour_of_another_size_or_format_is_refused(folder: Path) -> None:
    manifest = folder / "cohort.parquet"
    Image.fromarray(np.zeros((4, 6), dtype=np.float32)).save(folder / "maps" / "a.tiff")
    scanned(folder, "a.png").write(manifest)
    pixels = PixelDataset(Manifest.read(manifest))
    Image.fromarray(np.zeros((5, 6), dtype=np.float32)).save(folder / "maps" / "a.tiff")
    with pytest.raises(InputError, match=r"5 x 6 pixels and its image 4 x 6"):
        pixels.map(0)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)).save(folder / "maps/a.tiff")
    with pytest.raises(UnreadableImageError, match="in colour"):
        pixels.map(0)
    (folder / "maps" / "a.tiff").write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match="can't be decoded"):
        pixels.map(0)
    write_dicom(folder / "maps" / "a.tiff", size=(4, 6))
    with pytest.raises(UnreadableImageError, match="NIfTI, TIFF and PNG"):
        pixels.map(0)
    with pytest.raises(InputError, match="has no mask"):
        PixelDataset(scan([folder / "images" / "a.png"])).map(0)
