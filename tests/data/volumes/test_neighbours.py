from pathlib import Path

import numpy as np
from slice_rows import manifest_of, manifest_of_files, shuffled, slice_row

from medino.data.volumes import adjacent_slices


def test_neighbours_are_of_the_same_echo() -> None:
    rows = [slice_row([0, 0, 2 * z], stack=f"echo {echo}; acquisition {z}") for echo in (1, 2) for z in range(4)]
    manifest = manifest_of(shuffled(rows))
    stacks = [text.split(";")[0] for text in manifest.column("stack")]
    heights = [position[2] for position in manifest.column("position_mm")]

    for row, (before, after) in enumerate(adjacent_slices(manifest)):
        assert stacks[before] == stacks[row] == stacks[after]
        assert heights[before] == max(heights[row] - 2, 0)
        assert heights[after] == min(heights[row] + 2, 6)


def test_acquisition_numbers_for_each_slice_part_no_neighbours(shared_data: Path) -> None:
    folder = shared_data / "series_ct_head_ge"
    manifest = manifest_of_files(sorted(folder.iterdir()), folder)
    count = np.arange(28)

    expected = np.stack([np.maximum(count - 1, 0), np.minimum(count + 1, 27)], axis=1)
    np.testing.assert_array_equal(adjacent_slices(manifest), expected)


def test_orientations_never_mix() -> None:
    coronal = [1.0, 0, 0, 0, 0, -1]
    manifest = manifest_of([slice_row([0, 0, 0]), slice_row([0, 0, 1], orientation=coronal), slice_row([0, 0, 2])])

    assert adjacent_slices(manifest).tolist() == [[0, 2], [1, 1], [0, 2]]


def test_frames_of_a_cine_at_one_place_follow_each_other() -> None:
    manifest = manifest_of(slice_row([0, 0, 0], path="cine.dcm", frame=frame) for frame in range(3))

    assert adjacent_slices(manifest).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_frames_of_an_enhanced_file_go_by_position() -> None:
    manifest = manifest_of(slice_row([0, 0, z], path="a.dcm", frame=frame) for frame, z in enumerate((2.0, 0.0, 1.0)))

    assert adjacent_slices(manifest).tolist() == [[2, 0], [1, 2], [1, 0]]


def test_images_that_are_there_twice_have_their_neighbours_among_the_copies() -> None:
    manifest = manifest_of([slice_row([0, 0, z], instance=f"i{z}") for z in range(3)] * 2)

    assert adjacent_slices(manifest).tolist() == [[0, 1], [0, 2], [1, 2], [3, 4], [3, 5], [4, 5]]
