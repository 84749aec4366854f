"""`medino propagate`: a NIfTI mask, a DICOM segmentation or images go through the volume; bad input in words."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from volume_files import SHAPE, dice, ellipsoid, write_ct, write_pair

from medino.cli.main import main
from medino.data import Source
from medino.models import PRESETS, build_backbone, save_backbone
from medino.segmentation.dicom_seg import write_dicom_seg


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained backbone of patches of two pixels: its tokens are what the pixels are."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    settings = {"embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 2, "image_size": 32, "name": "custom"}
    save_backbone(build_backbone(PRESETS["mini"].replace(**settings)), path)
    return str(path)


def run(volume: Path, output: Path, weights: str, *more: object) -> int:
    words = ["propagate", volume, "-o", output, "--weights", weights, "--size", 32, "--device", "cpu"]
    # One window for all slices: each slice's own would turn the noise of empty ones into structure.
    words += ["--intensity.window", "full", *more]
    return main([str(word) for word in words])


@pytest.mark.parametrize("codes", ["RAS", "PSR"])
def test_one_slice_of_a_nifti_becomes_a_volume_on_its_grid(codes: str, weights: str, tmp_path: Path) -> None:
    image, mask = write_pair(tmp_path, codes, labelled=5)
    _, truth = write_pair(tmp_path / "truth", codes)
    assert run(image, tmp_path / "out.nii.gz", weights, "--mask", mask, "--propagation.radius", 3) == 0
    source, found = nibabel.load(image), nibabel.load(tmp_path / "out.nii.gz")
    assert found.shape == source.shape
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-6)
    values, wanted = np.asarray(found.dataobj), np.asarray(nibabel.load(truth).dataobj)
    assert set(np.unique(values)) == {0, 2}
    # Copied, the slice that was marked would reach 0.77.
    assert dice(values == 2, wanted == 2) > 0.85
    given = np.asarray(nibabel.load(mask).dataobj)
    np.testing.assert_array_equal(values[given > 0], given[given > 0])


def test_a_png_of_one_slice_goes_through_a_series_to_pngs(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ct(tmp_path / "ct")
    truth = ellipsoid().transpose(2, 1, 0)
    Image.fromarray(truth[5].astype(np.uint8) * 7).save(tmp_path / "mask.png")
    more = ("--mask", tmp_path / "mask.png", "--slices", 5)
    assert run(tmp_path / "ct", tmp_path / "out", weights, *more) == 0
    assert "labels 7 in 10 slices, from slice 5" in capsys.readouterr().out
    found = np.stack([np.asarray(Image.open(tmp_path / "out" / f"{place:04d}.png")) for place in range(SHAPE[2])])
    assert dice(found == 7, truth) > 0.85
    np.testing.assert_array_equal(found[5] == 7, truth[5])


def test_slices_that_are_named_count_and_others_of_the_mask_do_not(weights: str, tmp_path: Path) -> None:
    image, mask = write_pair(tmp_path)
    assert run(image, tmp_path / "out", weights, "--mask", mask, "--slices", 5, 1) == 0
    truth = ellipsoid().transpose(2, 1, 0)[:, ::-1, ::-1]
    found = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())])
    np.testing.assert_array_equal(found[[1, 5]] == 2, truth[[1, 5]])
    assert (found[7] == 2).any()
    assert not np.array_equal(found[7] == 2, truth[7])


def words_of(case: str, folder: Path) -> tuple[list[object], str]:
    """The volume, the output and the mask's options of a case that must be refused, and what is said."""
    image, mask = write_pair(folder, labelled=5)
    blank, small, text = folder / "blank.nii.gz", folder / "small.png", folder / "note.txt"
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), nibabel.load(mask).affine), blank)
    Image.fromarray(np.ones((4, 4), np.uint8)).save(small)
    text.write_text("no image")
    write_pair(folder / "two" / "a")
    out = folder / "out.nii.gz"
    return {
        "no such mask": ([image, out, "--mask", folder / "lost.nii.gz"], "does not exist"),
        "no image": ([image, out, "--mask", text], "give one NIfTI file or DICOM segmentation"),
        "nothing marked": ([image, out, "--mask", blank], "marks nothing"),
        "a slice that is not there": ([image, out, "--mask", mask, "--slices", 10], "the volume has 0 to 9"),
        "an empty slice": ([image, out, "--mask", mask, "--slices", 0], "nothing but background"),
        "an image without its slice": ([image, out, "--mask", small], "one image for each of --slices"),
        "an image of another size": ([image, out, "--mask", small, "--slices", 1], "4 x 4 pixels, the slices 24 x 28"),
        "two volumes": ([folder / "two", out, "--mask", mask], "holds 2 volumes"),
        "a size of no patches": ([image, out, "--mask", mask, "--size", 33], "no multiple of the backbone's patch"),
        "a folder that holds something": ([image, folder, "--mask", mask], "is not empty"),
    }[case]


@pytest.mark.parametrize(
    "case",
    [
        "no such mask",
        "no image",
        "nothing marked",
        "a slice that is not there",
        "an empty slice",
        "an image without its slice",
        "an image of another size",
        "two volumes",
        "a size of no patches",
        "a folder that holds something",
    ],
)
def test_what_can_t_be_used_is_said_in_one_line_and_nothing_is_written(
    case: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (volume, output, *more), said = words_of(case, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(volume, output, weights, *more) == 2  # type: ignore[arg-type]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert line.startswith("medino propagate: error: ")
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_slice_stops_it_in_words(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_ct(tmp_path / "ct")
    Image.fromarray(np.ones((SHAPE[1], SHAPE[0]), np.uint8)).save(tmp_path / "mask.png")
    paths[3].write_bytes(paths[3].read_bytes()[:-200])
    more = ("--mask", tmp_path / "mask.png", "--slices", 5)
    assert run(tmp_path / "ct", tmp_path / "out", weights, *more) == 2
    assert "1 file of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dicom_segmentation_of_one_slice_goes_through_its_series_onto_the_series_grid(
    weights: str, tmp_path: Path
) -> None:
    paths = write_ct(tmp_path / "ct")
    truth = ellipsoid()
    masks = np.zeros((SHAPE[2], SHAPE[1], SHAPE[0], 1), dtype=bool)
    masks[5, ..., 0] = truth[..., 5].T
    write_dicom_seg(tmp_path / "seg.dcm", [(Source(path), 0) for path in paths], masks, ["ball"], "none")
    assert run(tmp_path / "ct", tmp_path / "out.nii.gz", weights, "--mask", tmp_path / "seg.dcm") == 0
    found = np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj)
    assert dice(found == 1, truth) > 0.85
    np.testing.assert_array_equal(found[..., 5] == 1, truth[..., 5])
