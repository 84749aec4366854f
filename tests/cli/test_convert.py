import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from archive_files import write_dicom, write_nifti
from segmentation_files import item

from medino.cli.main import main


def _written(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.nii.gz"))


def _table(folder: Path) -> list[dict[str, object]]:
    return pq.read_table(folder / "volumes.parquet").to_pylist()


def _lps(image: nibabel.Nifti1Image, voxel: tuple[int, ...]) -> np.ndarray:
    return (np.diag([-1.0, -1, 1, 1]) @ image.affine @ [*voxel, 1.0])[:3]


def _series(folder: Path, echoes: int = 2, slices: int = 4, **tags: object) -> Path:
    """A tilted series of several echoes under names that say nothing."""
    for number, (echo, index) in enumerate(itertools.product(range(echoes), range(slices))):
        write_dicom(
            folder / f"{(number * 7) % 11:02d}{number}.dcm",
            Modality="MR",
            EchoNumbers=echo + 1,
            InstanceNumber=100 - number,
            PixelSpacing=[0.5, 0.75],
            ImageOrientationPatient=[1, 0, 0, 0, 0.8, -0.6],
            ImagePositionPatient=[3, 4, 5 + 2.5 * index],
            PatientID="MRN-31415",
            PatientName="Doe^Jane",
            RescaleSlope=1,
            RescaleIntercept=10 * echo + index,
            **tags,
        )
    return folder


def test_the_mr_series_lies_where_simpleitk_puts_it_and_has_its_values(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "series_mr_brain"
    assert main(["convert", str(folder), "-o", str(tmp_path)]) == 0
    (path,) = _written(tmp_path)
    image = nibabel.load(path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    peer = reader.Execute()

    assert image.shape == peer.GetSize()
    for corner in itertools.product(*((0, size - 1) for size in image.shape)):
        np.testing.assert_allclose(_lps(image, corner), peer.TransformIndexToPhysicalPoint(corner), atol=1e-3)
    values = np.asarray(image.dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(peer))
    assert image.get_data_dtype() == np.int16
    # ITK itself finds the same place in the file.
    again = sitk.ReadImage(str(path))
    np.testing.assert_allclose(again.GetOrigin(), peer.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(again.GetDirection(), peer.GetDirection(), atol=1e-5)


def test_tilted_slices_get_the_sheared_affine_that_places_each_corner_of_each_slice(tmp_path: Path) -> None:
    archive = _series(tmp_path / "archive")
    assert main(["convert", str(archive), "-o", str(tmp_path / "out")]) == 0
    headers = [pydicom.dcmread(path) for path in archive.iterdir()]
    images = [nibabel.load(path) for path in _written(tmp_path / "out")]

    assert len(images) == 2
    for image, record in zip(images, _table(tmp_path / "out"), strict=True):
        echo = int(record["stack"].split()[-1])
        own = sorted(
            (each for each in headers if each.EchoNumbers == echo), key=lambda each: each.ImagePositionPatient[2]
        )
        for index, header in enumerate(own):
            cosines, spacing = np.array(header.ImageOrientationPatient, float), header.PixelSpacing
            for column, row in itertools.product((0, header.Columns - 1), (0, header.Rows - 1)):
                expected = np.array(header.ImagePositionPatient, float)
                expected += column * spacing[1] * cosines[:3] + row * spacing[0] * cosines[3:]
                np.testing.assert_allclose(_lps(image, (column, row, index)), expected, atol=1e-3)
            np.testing.assert_array_equal(image.dataobj[..., index], float(header.RescaleIntercept))
        assert image.header["qform_code"] == 0
        assert "tilt" in record["problems"][0]


def test_the_ge_head_is_refused_for_its_gaps_unless_it_may_be_resampled(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(shared_data / "series_ct_head_ge")
    assert main(["convert", folder, "-o", str(tmp_path / "plain")]) == 2
    assert "no volume could be written" in capsys.readouterr().err
    assert _written(tmp_path / "plain") == []
    reason = _table(tmp_path / "plain")[0]["reason"]
    assert "uneven distances from slice to slice: 1.1 mm (1x)" in reason
    assert "--resample" in reason

    assert main(["convert", folder, "-o", str(tmp_path / "even"), "--resample"]) == 0
    (path,) = _written(tmp_path / "even")
    image, header = nibabel.load(path), pydicom.dcmread(shared_data / "series_ct_head_ge" / "28.dcm")
    np.testing.assert_allclose(_lps(image, (0, 0, image.shape[2] - 1)), header.ImagePositionPatient, atol=1e-3)
    seen = header.pixel_array != header.PixelPaddingValue
    hounsfield = header.pixel_array * header.RescaleSlope + header.RescaleIntercept
    np.testing.assert_allclose(image.dataobj[..., -1].T[seen], hounsfield[seen], atol=1e-2)
    facts = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert facts["resampled"]
    assert facts["units"] == "HU"
    assert abs(facts["tilt_degrees"] - 18.5) < 0.01


def test_a_deskewed_volume_is_one_that_itk_reads(shared_data: Path, tmp_path: Path) -> None:
    folder = str(shared_data / "series_ct_head_ge")
    assert main(["convert", folder, "-o", str(tmp_path), "--resample", "--deskew"]) == 0
    (path,) = _written(tmp_path)
    image = sitk.ReadImage(str(path))

    direction = np.array(image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-5)
    # A voxel of the first slice is where the file says, with its value.
    header = pydicom.dcmread(shared_data / "series_ct_head_ge" / "01.dcm")
    cosines = np.array(header.ImageOrientationPatient, float)
    place = np.array(header.ImagePositionPatient, float) + 250 * header.PixelSpacing[0] * (cosines[:3] + cosines[3:])
    found = image.TransformPhysicalPointToContinuousIndex(place)
    np.testing.assert_allclose(found, np.rint(found), atol=1e-3)
    value = image.GetPixel(*(round(index) for index in found))
    assert value == pytest.approx(header.pixel_array[250, 250] * header.RescaleSlope + header.RescaleIntercept, abs=0.1)


def test_the_frames_of_a_dose_grid_become_one_volume(shared_data: Path, tmp_path: Path) -> None:
    file = next((shared_data / "dicom_zoo").glob("*__rtdose.dcm"))
    assert main(["convert", str(file), "-o", str(tmp_path)]) == 0
    image, header = nibabel.load(_written(tmp_path)[0]), pydicom.dcmread(file)

    for index, offset in enumerate(header.GridFrameOffsetVector):
        expected = np.add(header.ImagePositionPatient, [0, 0, offset])
        np.testing.assert_allclose(_lps(image, (0, 0, index)), expected, atol=1e-3)
    dose = header.pixel_array * float(header.DoseGridScaling)
    np.testing.assert_allclose(image.get_fdata().transpose(2, 1, 0), dose, rtol=1e-6)


def test_an_enhanced_file_of_two_echoes_becomes_two_volumes_in_their_order(tmp_path: Path) -> None:
    places = [(echo, index) for index in (2, 0, 3, 1) for echo in (2, 1)]
    groups = []
    for echo, index in places:
        group = pydicom.Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=[0, 0, 3 * index])
        group.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        group.PixelMeasuresSequence = item(PixelSpacing=[1, 1], SliceThickness=3)
        group.MREchoSequence = item(EffectiveEchoTime=10.0 * echo)
        groups.append(group)
    file = write_dicom(
        tmp_path / "enhanced.dcm", Modality="MR", PerFrameFunctionalGroupsSequence=pydicom.Sequence(groups)
    )
    dataset = pydicom.dcmread(file)
    dataset.NumberOfFrames = len(places)
    dataset.PixelData = b"".join(bytes([10 * echo + index]) * 48 for echo, index in places)
    dataset.save_as(file)
    assert main(["convert", str(file), "-o", str(tmp_path / "out")]) == 0

    found = {}
    for record in _table(tmp_path / "out"):
        image = nibabel.load(tmp_path / "out" / record["file"])
        found[record["stack"]] = np.asarray(image.dataobj)[0, 0].tolist()
        np.testing.assert_allclose(image.affine[:3, 2], [0, 0, 3])
    assert found == {"echo time 10": [10, 11, 12, 13], "echo time 20": [20, 21, 22, 23]}


def test_a_manifest_is_converted_like_its_folder(tmp_path: Path) -> None:
    archive, key = _series(tmp_path / "archive"), str(tmp_path / "key")
    assert main(["scan", str(archive), "-o", str(tmp_path / "cohort.parquet"), "--key", key]) == 0
    assert main(["convert", str(tmp_path / "cohort.parquet"), "-o", str(tmp_path / "a")]) == 0
    assert main(["convert", str(archive), "--key", key, "-o", str(tmp_path / "b")]) == 0

    for one, other in zip(_written(tmp_path / "a"), _written(tmp_path / "b"), strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()


def test_nothing_that_is_written_names_anybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = _series(tmp_path / "archive", StudyDescription="of Jane Doe", AccessionNumber="ACC-2718")
    assert main(["convert", str(archive), "-o", str(tmp_path / "out")]) == 0
    shown = "".join(capsys.readouterr())

    header = pydicom.dcmread(next(archive.iterdir()))
    secrets = ["MRN-31415", "Doe", "Jane", "ACC-2718", header.SeriesInstanceUID, header.StudyInstanceUID, str(archive)]
    for path in (tmp_path / "out").iterdir():
        data = path.read_bytes() if path.suffix != ".gz" else nibabel.load(path).to_bytes()
        for secret in secrets:
            assert secret.encode() not in data
            assert secret not in path.name
    assert not any(secret in shown for secret in secrets[:-1])


def test_images_that_are_no_volume_are_told_with_the_reason(tmp_path: Path) -> None:
    archive = _series(tmp_path / "archive", echoes=1)
    write_dicom(archive / "film.dcm", SeriesInstanceUID="1.9")
    write_nifti(archive / "volume.nii.gz")
    assert main(["convert", str(archive), "-o", str(tmp_path / "out")]) == 0

    reasons = {record["reason"]: record["slices"] for record in _table(tmp_path / "out")}
    assert reasons == {None: 4, "the images have no place in the patient": 1, "a NIfTI file already": 6}


def test_what_can_not_be_used_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("here already")
    for arguments in (
        [str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")],
        [str(tmp_path / "nowhere.parquet"), "-o", str(tmp_path / "out")],
        [str(tmp_path), str(tmp_path / "cohort.parquet"), "-o", str(tmp_path / "out")],
        [str(tmp_path), "-o", str(tmp_path / "file")],
    ):
        assert main(["convert", *arguments]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("medino: error: ") or "error" in shown
        assert len(shown.strip().splitlines()) == 1


def test_a_slice_that_takes_too_long_costs_its_volume_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "cohort.parquet"
    assert main(["scan", str(_series(tmp_path / "series")), "-o", str(manifest), "--workers", "1"]) == 0
    command = ["convert", str(manifest), "-o", str(tmp_path / "out"), "--workers", "2"]
    assert main([*command, "--time_limit", "0.000001"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    reasons = [str(record["reason"]) for record in _table(tmp_path / "out")]
    assert len(reasons) == 2
    assert all(reason.startswith("slice 1 of 4: reading it takes longer than the 1e-06 s") for reason in reasons)
    assert _written(tmp_path / "out") == []
    # With the usual limits the same volumes are there.
    assert main(command) == 0
    assert len(_written(tmp_path / "out")) == 2
