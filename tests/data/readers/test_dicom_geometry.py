from pathlib import Path

import numpy as np
import pydicom
import pytest
from archive_files import write_dicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medino.data.readers import describe
from medino.data.stack import stack_parts

AXIAL = [1, 0, 0, 0, 1, 0]


def _sequence(**tags: object) -> Sequence:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return Sequence([item])


def _enhanced(path: Path, frames: list[Dataset], shared: Dataset) -> Path:
    write_dicom(
        path,
        NumberOfFrames=len(frames),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
        SharedFunctionalGroupsSequence=Sequence([shared]),
    )
    dataset = pydicom.dcmread(path)
    dataset.PixelData = bytes(dataset.Rows * dataset.Columns * len(frames))
    dataset.save_as(path)
    return path


def test_a_classic_slice_says_where_it_lies(shared_data: Path) -> None:
    file = shared_data / "series_ct_head_ge" / "03.dcm"
    facts, header = describe(file)[0], pydicom.dcmread(file, stop_before_pixels=True)

    assert facts["position_mm"] == [float(value) for value in header.ImagePositionPatient]
    assert facts["orientation"] == [float(value) for value in header.ImageOrientationPatient]
    assert facts["slice_thickness_mm"] == 4.0
    assert stack_parts(facts["stack"]) == {"type": "ORIGINAL PRIMARY AXIAL", "kV": "120", "acquisition": "3"}


def test_frames_of_an_enhanced_image_take_their_own_group_before_the_shared_one(tmp_path: Path) -> None:
    shared, frames = Dataset(), []
    shared.PlaneOrientationSequence = _sequence(ImageOrientationPatient=AXIAL)
    shared.PixelMeasuresSequence = _sequence(PixelSpacing=[2, 3], SliceThickness=5)
    shared.MRImageFrameTypeSequence = _sequence(
        FrameType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], ComplexImageComponent="MAGNITUDE"
    )
    for index in range(2):
        frame = Dataset()
        frame.PlanePositionSequence = _sequence(ImagePositionPatient=[1, 2, 3 + index])
        frame.MREchoSequence = _sequence(EffectiveEchoTime=80.5)
        frame.FrameContentSequence = _sequence(TemporalPositionIndex=index + 1, StackID="1", FrameAcquisitionNumber=7)
        frame.MRDiffusionSequence = _sequence(
            DiffusionBValue=1000.0 * index,
            DiffusionGradientDirectionSequence=_sequence(DiffusionGradientOrientation=[0.0, 0.6, 0.8]),
        )
        frames.append(frame)
    first, second = describe(_enhanced(tmp_path / "enhanced.dcm", frames, shared))

    assert (first["position_mm"], second["position_mm"]) == ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert second["orientation"] == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert (second["spacing_row_mm"], second["spacing_column_mm"], second["slice_thickness_mm"]) == (2.0, 3.0, 5.0)
    assert stack_parts(second["stack"]) == {
        "echo time": "80.5",
        "b": "1000",
        "direction": "0.0000 0.6000 0.8000",
        "temporal position": "2",
        "type": "ORIGINAL PRIMARY DIFFUSION MAGNITUDE",
        "stack": "1",
        "acquisition": "7",
    }


def test_planes_of_a_dose_grid_are_moved_by_their_offsets(shared_data: Path) -> None:
    file = next((shared_data / "dicom_zoo").glob("*__rtdose.dcm"))
    header = pydicom.dcmread(file, stop_before_pixels=True)
    found = np.array([facts["position_mm"] for facts in describe(file)])

    expected = np.array(header.ImagePositionPatient, dtype=float) + np.outer(header.GridFrameOffsetVector, [0, 0, 1])
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_reconstructed_nuclear_medicine_is_placed_by_slice_vector_and_spacing(tmp_path: Path) -> None:
    detector = _sequence(ImagePositionPatient=[0, 0, 10], ImageOrientationPatient=AXIAL)
    file = write_dicom(
        tmp_path / "spect.dcm", DetectorInformationSequence=detector, SpacingBetweenSlices=-4, SliceVector=[1, 2, 3]
    )
    dataset = pydicom.dcmread(file)
    dataset.NumberOfFrames, dataset.PixelData = 3, bytes(3 * dataset.Rows * dataset.Columns)
    dataset.save_as(file)

    assert [facts["slice_position_mm"] for facts in describe(file)] == [10.0, 6.0, 2.0]


@pytest.mark.parametrize("orientation", [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 2, 0], [1, 0, 0]])
def test_cosines_that_span_no_plane_place_nothing(tmp_path: Path, orientation: list[float]) -> None:
    file = write_dicom(tmp_path / "a.dcm", ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=orientation)
    facts = describe(file)[0]

    assert facts["orientation"] is None
    assert facts["slice_position_mm"] is None


def test_what_parts_volumes_is_told_in_numbers_and_known_terms_alone(tmp_path: Path) -> None:
    file = write_dicom(
        tmp_path / "a.dcm", ImageType=["ORIGINAL", "PRIMARY", "OF MR DOE", "M"], EchoNumbers=2, EchoTime="9.84"
    )

    assert describe(file)[0]["stack"] == "echo 2; echo time 9.84; type ORIGINAL PRIMARY M"


def test_an_image_of_which_nothing_is_known_has_no_stack(tmp_path: Path) -> None:
    assert describe(write_dicom(tmp_path / "a.dcm"))[0]["stack"] is None
