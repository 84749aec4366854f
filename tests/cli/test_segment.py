"""`medino segment`: a head that was trained by `medino fit`, and objects without labels, from files to files."""

import shutil
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from pydicom import dcmread
from volume_files import dice, ellipsoid, write_ct, write_pair

from medino.cli.main import main
from medino.data import Manifest, scan
from medino.models import PRESETS, build_backbone, save_backbone

CLASSES = {"background": 0, "ball": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    settings = {"embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 2, "image_size": 32, "name": "custom"}
    save_backbone(build_backbone(PRESETS["mini"].replace(**settings)), path)
    return path


@pytest.fixture(scope="module")
def trained(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a linear head on the slices of one drawn volume."""
    folder = tmp_path_factory.mktemp("trained")
    write_pair(folder / "images")
    (folder / "masks").mkdir()
    shutil.move(folder / "images" / "mask.nii.gz", folder / "masks" / "image.nii.gz")
    manifest = scan([folder / "images"], masks=folder / "masks", workers=1)
    manifest.with_column("split", ["train"] * len(manifest)).write(folder / "cohort.parquet")
    transform = {"size": 32, "fit": "pad", "intensity": {"window": "full"}}
    settings: dict[str, Any] = {
        "trainer": {"max_steps": 40, "accelerator": "cpu"},
        "model": {
            "class_path": "medino.segmentation.Segmentation",
            "init_args": {"class_names": list(CLASSES), "weights": str(weights), "learning_rate": 0.05},
        },
        "data": {
            "class_path": "medino.segmentation.SegmentationData",
            "init_args": {
                "manifest": str(folder / "cohort.parquet"),
                "class_values": CLASSES,
                "transform": transform,
                "batch_size": 10,
            },
        },
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert main(["fit", "--config", str(folder / "settings.yaml"), "-o", str(folder / "run")]) == 0
    return folder / "run"


def run(output: Path, *more: object) -> int:
    return main([str(word) for word in ("segment", "-o", output, "--device", "cpu", "--workers", 1, *more)])


def table(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "masks.parquet").to_pylist()


def test_a_folder_of_all_kinds_becomes_masks_where_the_images_are(trained: Path, weights: Path, tmp_path: Path) -> None:
    image, _ = write_pair(tmp_path / "in", "PSR")
    (tmp_path / "in" / "mask.nii.gz").unlink()
    _, truth = write_pair(tmp_path / "truth", "PSR")
    paths = write_ct(tmp_path / "in" / "ct")
    Image.fromarray(np.zeros((50, 30), np.uint8)).save(tmp_path / "in" / "flat.png")
    (tmp_path / "in" / "broken.dcm").write_bytes(paths[0].read_bytes()[:300])
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
    options = ("--run", trained, "--weights", weights, "--overlays", "--dicom_seg")
    assert run(tmp_path / "out", tmp_path / "in", *options) == 0

    records = {record["images"]: record for record in table(tmp_path / "out") if record["sample_id"] is None}
    volumes = [record for record in table(tmp_path / "out") if record["file"].endswith(".nii.gz")]
    assert len(volumes) == 2
    (of_nifti,) = (record for record in volumes if record["dicom_seg"] is None)
    (of_series,) = (record for record in volumes if record["dicom_seg"] is not None)
    assert of_nifti["dicom_seg_reason"] == "the images are not DICOM"
    source, found = nibabel.load(image), nibabel.load(tmp_path / "out" / of_nifti["file"])
    assert found.shape == source.shape
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-6)
    assert dice(np.asarray(found.dataobj) == 2, np.asarray(nibabel.load(truth).dataobj) == 2) > 0.85

    series = np.asarray(nibabel.load(tmp_path / "out" / of_series["file"]).dataobj) == 2
    segmentation = dcmread(tmp_path / "out" / of_series["dicom_seg"])
    uids = [dcmread(path).SOPInstanceUID for path in paths]
    frames = np.zeros_like(series)
    pixels = segmentation.pixel_array.reshape(-1, 24, 28)
    for frame, group in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        (of,) = group.DerivationImageSequence[0].SourceImageSequence
        frames[..., uids.index(of.ReferencedSOPInstanceUID)] = frame.T
    np.testing.assert_array_equal(frames, series)
    assert [item.SegmentLabel for item in segmentation.SegmentSequence] == ["ball"]

    manifest = Manifest.read(tmp_path / "out" / "cohort.parquet")
    assert [reject.path for reject in manifest.rejects] == ["broken.dcm"]
    (flat,) = manifest.column("sample_id")[manifest.column("format") == "raster"]
    assert Image.open(tmp_path / "out" / "masks" / f"{flat}.png").size == (30, 50)
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == len(manifest) == 21
    assert before == {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert records


def test_a_slice_that_breaks_in_decoding_takes_its_volume_with_it_and_is_named(
    trained: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_ct(tmp_path / "in" / "ct")
    write_pair(tmp_path / "in")
    (tmp_path / "in" / "mask.nii.gz").unlink()
    scan([tmp_path / "in"], workers=1).write(tmp_path / "cohort.parquet")
    paths[3].write_bytes(paths[3].read_bytes()[:-200])
    options = ("--run", trained, "--weights", weights)
    assert run(tmp_path / "out", tmp_path / "cohort.parquet", *options) == 0
    (lost,) = (record for record in table(tmp_path / "out") if record["file"] is None)
    assert lost["reason"].startswith("slice 4 of 10: ")
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 1
    assert len(Manifest.read(tmp_path / "cohort.parquet").rejects) == 1
    assert "1 images could not be decoded" in capsys.readouterr().out


def test_a_series_with_a_gap_becomes_pngs_and_the_reason_is_said(trained: Path, weights: Path, tmp_path: Path) -> None:
    paths = write_ct(tmp_path / "in")
    paths[4].unlink()
    assert run(tmp_path / "out", tmp_path / "in", "--run", trained, "--weights", weights, "--dicom_seg") == 0
    (record,) = table(tmp_path / "out")
    assert record["file"] == "masks"
    assert record["reason"]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 9
    assert (
        len(dcmread(tmp_path / "out" / record["dicom_seg"]).ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 9
    )


@pytest.mark.parametrize("way", ["pca", "tokencut"])
def test_objects_are_found_without_labels(way: str, weights: Path, tmp_path: Path) -> None:
    write_ct(tmp_path / "in")
    options = ("--unsupervised", way, "--weights", weights, "--size", 32, "--overlays")
    assert run(tmp_path / "out", tmp_path / "in", *options) == 0
    (record,) = table(tmp_path / "out")
    found = np.asarray(nibabel.load(tmp_path / "out" / record["file"]).dataobj)
    # Each slice is cut on its own, and there is nothing to cut from the first and the last.
    shown = ellipsoid().any(axis=(0, 1))
    assert dice(found[..., shown] > 0, ellipsoid()[..., shown]) > 0.75
    heights = [Image.open(path).height for path in (tmp_path / "out" / "overlays").iterdir()]
    assert len(heights) == 10
    # What pca finds is named below the picture; the numbers of tokencut are no names.
    assert all((height > 24) == (way == "pca") for height in heights)


CASES = {
    "nothing to make masks": ((), "give one of --run"),
    "two ways": (("--run", "RUN", "--unsupervised", "pca"), "give one of --run"),
    "no such way": (("--unsupervised", "magic", "--backbone", "mini"), "choose pca or tokencut"),
    "no backbone": (("--unsupervised", "pca"), "give one of --weights and --backbone"),
    "objects without names": (("--unsupervised", "pca", "--backbone", "mini", "--dicom_seg"), "leave --dicom_seg"),
    "no run": (("--run", "lost"), "run folder lost does not exist"),
    "another folder": (("--run", "IN"), "has no config.yaml"),
    "no weights": (("--run", "RUN"), "give it by --weights"),
    "other weights": (("--run", "RUN", "--weights", "OTHER"), "the checkpoint's head was trained on the backbone"),
    "a size of its own": (("--run", "RUN", "--weights", "WEIGHTS", "--size", "64"), "sees what it was trained on"),
    "no checkpoint": (
        ("--run", "RUN", "--weights", "WEIGHTS", "--checkpoint", "lost.ckpt"),
        "lost.ckpt does not exist",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_what_can_t_be_used_is_said_in_one_line_and_nothing_is_written(
    case: str, trained: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path / "in")
    save_backbone(build_backbone("mini"), tmp_path / "other.safetensors")
    options, said = CASES[case]
    places = {"RUN": trained, "IN": tmp_path / "in", "WEIGHTS": weights, "OTHER": tmp_path / "other.safetensors"}
    assert run(tmp_path / "out", tmp_path / "in", *(places.get(word, word) for word in options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("medino segment: error: ")
    assert said in line
    assert not (tmp_path / "out").exists()


def test_without_highdicom_nothing_is_begun(
    trained: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    write_ct(tmp_path / "in")
    assert run(tmp_path / "out", tmp_path / "in", "--run", trained, "--weights", weights, "--dicom_seg") == 2
    assert "install medino[dicomseg]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
