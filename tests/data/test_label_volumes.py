"""Label volumes among the scanned files become masks of their images, or rejects with the reason; never images."""

import json
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from archive_files import write_nifti, write_png
from PIL import Image

from medino.core import InputError
from medino.data import Manifest, PixelDataset
from medino.data.identity import IdentityKey
from medino.data.scanning.scan import scan

KEY = IdentityKey(b"k" * 32)
DESCRIPTION = {
    "name": "Hippocampus",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
}


@pytest.fixture
def decathlon(tmp_path: Path, shared_data: Path) -> Path:
    """Three volumes and their labels in the layout of the Medical Segmentation Decathlon, with a test image more."""
    folder = tmp_path / "Task04_Hippocampus"
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    images = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:4]
    for path in images[:3]:
        shutil.copy(path, folder / "imagesTr")
        shutil.copy(path.parents[1] / "labels" / path.name, folder / "labelsTr")
    shutil.copy(images[3], folder / "imagesTs")
    training = [{"image": f"./imagesTr/{p.name}", "label": f"./labelsTr/{p.name}"} for p in images[:3]]
    description = DESCRIPTION | {"training": training, "test": [f"./imagesTs/{images[3].name}"]}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def check_decathlon(manifest: Manifest) -> None:
    """Each row of a training image has its label's slice, and nothing else is listed."""
    assert not manifest.rejects
    assert set(manifest.column("modality")) == {"MR"}
    assert manifest.settings["mask_classes"] == {"0": "background", "1": "Anterior", "2": "Posterior"}
    dataset = PixelDataset(manifest)
    places = [row.path if row.member is None else row.member for row in manifest.samples()]
    assert not any("labelsTr" in place for place in places)
    found = set()
    for row, place in enumerate(places):
        source = manifest.mask_source(row)
        assert (source is None) == ("imagesTs" in place)
        if source is not None:
            assert source.name == Path(place).name
            found |= set(dataset.mask(row).unique().tolist())
    assert found == {0, 1, 2}


def test_a_decathlon_folder_is_paired_by_its_description(decathlon: Path, tmp_path: Path) -> None:
    scan([decathlon], key=KEY).write(tmp_path / "cohort.parquet")
    check_decathlon(Manifest.read(tmp_path / "cohort.parquet"))


def test_a_decathlon_archive_is_paired_without_being_unpacked(decathlon: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "task"), "zip", decathlon.parent, decathlon.name)
    check_decathlon(scan([archive], key=KEY))


def test_masks_are_the_labels_slices(decathlon: Path) -> None:
    manifest = scan([decathlon], key=KEY, plane="coronal")
    row = int(np.flatnonzero([path is not None for path in manifest.column("mask_path")])[20])
    sample = manifest.sample(row)
    label = nibabel.as_closest_canonical(nibabel.load(decathlon / "labelsTr" / Path(sample.path).name))
    expected = np.flip(np.asanyarray(label.dataobj)[:, sample.frame, :]).T
    np.testing.assert_array_equal(PixelDataset(manifest).mask(row), expected)


def test_folders_of_images_and_labels_are_paired_without_a_description(decathlon: Path) -> None:
    (decathlon / "dataset.json").unlink()
    (decathlon / "imagesTr").rename(decathlon / "images")
    (decathlon / "labelsTr").rename(decathlon / "labels")
    image = sorted((decathlon / "images").iterdir())[0]
    image.rename(image.with_name(image.name.replace(".nii.gz", "_0000.nii.gz")))  # as nnU-Net names channels
    shutil.copy(sorted((decathlon / "labels").iterdir())[0], decathlon / "labels" / "alone.nii.gz")
    manifest = scan([decathlon], key=KEY)
    masks = dict(zip(manifest.column("path"), manifest.column("mask_path"), strict=True))
    assert {path: mask for path, mask in masks.items() if mask is None} == {sorted(masks)[-1]: None}
    assert sorted(masks)[-1].startswith("imagesTs/")
    assert all(mask == path.replace("images/", "labels/").replace("_0000", "") for path, mask in masks.items() if mask)
    assert [(reject.path, reject.reason) for reject in manifest.rejects] == [
        ("labels/alone.nii.gz", "a label volume without its image")
    ]


def volume(path: Path, shape: tuple[int, ...] = (6, 7, 8), affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(
        nibabel.Nifti1Image(np.ones(shape, np.uint8), np.diag([2.0, 3, 4, 1]) if affine is None else affine), path
    )
    return path


@pytest.mark.parametrize(
    ("shape", "shift", "words"),
    [
        ((6, 7, 8), 0.19, None),
        ((6, 7, 8), 0.21, "lies up to 0.21 mm beside its image"),
        ((6, 7, 9), 0.0, "the label volume has 6 x 7 x 9 voxels, its image 6 x 7 x 8"),
        ((6, 7, 8, 3), 0.0, "the label file holds 3 volumes, its image 1"),
    ],
)
def test_a_label_that_does_not_fit_is_the_reject(
    tmp_path: Path, shape: tuple[int, ...], shift: float, words: str | None
) -> None:
    volume(tmp_path / "images" / "a.nii.gz")
    affine = np.diag([2.0, 3, 4, 1])
    affine[1, 3] = shift
    volume(tmp_path / "labels" / "a.nii.gz", shape, affine)
    manifest = scan([tmp_path], key=KEY)
    assert set(manifest.column("path")) == {"images/a.nii.gz"}
    assert len(manifest) == 8
    if words is None:
        assert set(manifest.column("mask_path")) == {"labels/a.nii.gz"}
        assert not manifest.rejects
    else:
        assert set(manifest.column("mask_path")) == {None}
        assert [(reject.path, words in reject.reason) for reject in manifest.rejects] == [("labels/a.nii.gz", True)]


def test_one_label_serves_all_volumes_of_an_image(tmp_path: Path) -> None:
    volume(tmp_path / "images" / "a.nii.gz", (6, 7, 8, 2))
    volume(tmp_path / "labels" / "a.nii.gz")
    assert list(scan([tmp_path], key=KEY).column("mask_frame")) == [*range(8), *range(8)]


def test_a_label_stored_in_another_orientation_fits_all_the_same(tmp_path: Path) -> None:
    image = nibabel.load(volume(tmp_path / "images" / "a.nii.gz"))
    (tmp_path / "labels").mkdir()
    turn = nibabel.orientations.axcodes2ornt("LPI")
    nibabel.save(image.as_reoriented(turn), tmp_path / "labels" / "a.nii.gz")
    assert set(scan([tmp_path], key=KEY).column("mask_path")) == {"labels/a.nii.gz"}


@pytest.mark.parametrize("pattern", ["{stem}_seg.nii.gz", "../segmentations/{stem}.nii.gz"])
def test_a_pattern_says_where_masks_lie(tmp_path: Path, pattern: str) -> None:
    for name in ("a", "b"):
        volume(tmp_path / "volumes" / f"{name}.nii.gz")
    (tmp_path / "segmentations").mkdir()
    volume(tmp_path / "volumes" / pattern.format(stem="a"))
    manifest = scan([tmp_path], key=KEY, mask_pattern=pattern)
    has_mask = dict(
        zip(manifest.column("path"), [path is not None for path in manifest.column("mask_path")], strict=True)
    )
    assert has_mask == {"volumes/a.nii.gz": True, "volumes/b.nii.gz": False}


def test_a_pattern_pairs_raster_images_too(tmp_path: Path, shared_data: Path) -> None:
    for path in sorted((shared_data / "wbc_dataset1").glob("00*.png")):
        shutil.copy(path, tmp_path)
    Image.new("L", (5, 5)).save(tmp_path / "002_mask.png")
    manifest = scan([tmp_path], key=KEY, mask_pattern="{stem}_mask.png")
    assert len(manifest) == 9
    masks = dict(zip(manifest.column("path"), manifest.column("mask_path"), strict=True))
    assert masks.pop("002.png") is None
    assert all(mask == f"{path[:3]}_mask.png" for path, mask in masks.items())
    assert [reject.path for reject in manifest.rejects] == ["002_mask.png"]
    assert PixelDataset(manifest).mask(0).unique().tolist() == [0, 128, 255]


@pytest.mark.parametrize(("pattern", "words"), [("_seg.nii.gz", "no {stem}"), ("{stem}_x.png", "fits none of the 1")])
def test_patterns_that_cannot_be_meant_are_refused(tmp_path: Path, pattern: str, words: str) -> None:
    write_nifti(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=words):
        scan([tmp_path], key=KEY, mask_pattern=pattern)


def test_other_descriptions_stay_rejects(tmp_path: Path) -> None:
    write_png(tmp_path / "labels" / "a.png")
    write_png(tmp_path / "images" / "a.png")
    write_nifti(tmp_path / "b.nii.gz")
    (tmp_path / "dataset.json").write_text('{"anything": 1}')
    manifest = scan([tmp_path], key=KEY)
    assert [reject.path for reject in manifest.rejects] == ["dataset.json"]
    assert set(manifest.column("path")) == {"labels/a.png", "images/a.png", "b.nii.gz"}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("dataset.json", "{")
    assert len(scan([tmp_path], key=KEY).rejects) == 2


def test_a_description_nested_without_end_is_one_more_reject(decathlon: Path) -> None:
    (decathlon / "dataset.json").write_text("[" * 200_000)
    manifest = scan([decathlon], key=KEY)
    assert [reject.path for reject in manifest.rejects] == ["dataset.json"]
    assert sum(path is not None for path in manifest.column("mask_path")) > 0
