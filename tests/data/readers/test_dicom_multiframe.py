"""Enhanced images: what holds for a frame stands in its own group, in the shared one, or in the data set."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sample_rows import sample_of

from medino.data.intensity import Intensity
from medino.data.pixels import Window
from medino.data.readers import describe, read_pixels

NEMA = "nema-enhanced-multiframe__medical.nema.org__multiframe__DISCIMG__IMAGES__"


@pytest.mark.parametrize("name", ["BRFSMPRS", "BRTUMMM1"])
def test_frames_of_nemas_enhanced_mr_have_what_their_shared_groups_say(shared_data: Path, name: str) -> None:
    path = shared_data / "dicom_zoo" / f"{NEMA}{name}"
    dataset = dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    scale = shared.PixelValueTransformationSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    # BRTUMMM1 has the sequence without an item: no window.
    windows = [Window(float(voi.WindowCenter) - 0.5, float(voi.WindowWidth) - 1) for voi in shared.FrameVOILUTSequence]
    stored = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    frames = describe(path)
    assert len(frames) == len(stored)
    for frame in {0, len(stored) // 2, len(stored) - 1}:
        facts = frames[frame]
        assert [facts["spacing_row_mm"], facts["spacing_column_mm"]] == [float(each) for each in measures.PixelSpacing]
        assert facts["slice_thickness_mm"] == float(measures.SliceThickness)
        pixels = read_pixels(path, sample_of(facts))
        expected = stored[frame] * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
        np.testing.assert_allclose(pixels.values[0], expected, rtol=1e-6)
        assert list(pixels.windows) == windows
        assert pixels.spacing == tuple(float(each) for each in measures.PixelSpacing)


def group(**sequences: Dataset) -> Dataset:
    found = Dataset()
    for keyword, item in sequences.items():
        setattr(found, keyword, Sequence([item]))
    return found


def item(**elements: object) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def test_a_frames_own_group_goes_before_the_shared_one_and_that_before_the_data_set(write_dicom) -> None:
    stored = np.arange(36, dtype=np.int16).reshape(3, 3, 4)
    shared = group(
        PixelValueTransformationSequence=item(RescaleSlope=2, RescaleIntercept=-7),
        FrameVOILUTSequence=item(WindowCenter=30, WindowWidth=8, VOILUTFunction="SIGMOID"),
    )
    own = [
        group(PixelValueTransformationSequence=item(RescaleSlope=-3, RescaleIntercept=0)),
        group(FrameVOILUTSequence=item(WindowCenter=[5, 6], WindowWidth=[7, 8], VOILUTFunction="LINEAR_EXACT")),
        Dataset(),
    ]
    path = write_dicom(
        stored,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(own),
        PixelSpacing=[0.5, 0.25],
        RescaleSlope=99,
        WindowCenter=99,
        WindowWidth=99,
    )
    frames = [read_pixels(path, sample_of(facts)) for facts in describe(path)]
    np.testing.assert_array_equal(frames[0].values[0], -3.0 * stored[0])
    np.testing.assert_array_equal(frames[1].values[0], 2.0 * stored[1] - 7)
    np.testing.assert_array_equal(frames[2].values[0], 2.0 * stored[2] - 7)
    assert frames[0].full_range == (-3 * 32767, 3 * 32768)
    assert frames[0].windows == frames[2].windows == (Window(30, 8, "sigmoid"),)
    assert frames[1].windows == (Window(5, 7), Window(6, 8))
    assert {pixels.spacing for pixels in frames} == {(0.5, 0.25)}


def test_a_frame_whose_group_is_missing_takes_the_shared_one(write_dicom) -> None:
    shared = group(PixelValueTransformationSequence=item(RescaleSlope=2, RescaleIntercept=1))
    path = write_dicom(
        np.ones((2, 3, 4), np.int16),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence([group(PixelValueTransformationSequence=item(RescaleSlope=5))]),
    )
    values = [float(read_pixels(path, sample_of(facts)).values.max()) for facts in describe(path)]
    assert values == [5, 3]


def test_every_frame_of_an_ultrasound_cine_is_shown_in_its_colours(shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "dicom-test-files__pydicom__OBXXXX1A_rle_2frame.dcm"
    first, second = (read_pixels(path, sample_of(facts)) for facts in describe(path))
    assert first.colour
    assert first.values.shape == second.values.shape == (3, 600, 800)
    assert not (first.values == second.values).all()
    assert 0.9 < Intensity().apply(first).max() <= 1
