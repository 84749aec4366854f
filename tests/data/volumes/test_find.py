from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from slice_rows import manifest_of, manifest_of_files, shuffled, slice_row

from medino.data import Manifest
from medino.data.volumes import Volume, find_volumes


def _kinds(volume: Volume) -> set[str]:
    return {problem.kind for problem in volume.problems}


def _words(volume: Volume, kind: str) -> str:
    return next(problem.words for problem in volume.problems if problem.kind == kind)


def _heights(manifest: Manifest, volume: Volume) -> list[float]:
    return [manifest.sample(int(row)).position_mm[2] for row in volume.rows]


def test_the_ge_head_is_one_volume_whose_tilt_and_gaps_are_named(shared_data: Path) -> None:
    folder = shared_data / "series_ct_head_ge"
    files = sorted(folder.iterdir())
    files = [files[index] for index in np.random.default_rng(3).permutation(len(files))]
    manifest = manifest_of_files(files, folder)
    (volume,) = find_volumes(manifest)

    assert [manifest.sample(int(row)).path for row in volume.rows] == [f"{number:02d}.dcm" for number in range(1, 29)]
    assert abs(volume.arrangement.tilt - 18.5) < 0.01
    assert (round(volume.arrangement.steps.min(), 1), round(volume.arrangement.steps.max(), 1)) == (1.1, 7.4)
    assert _kinds(volume) == {"tilt", "gaps", "thickness"}
    assert not volume.sound
    assert "18.5 degrees" in _words(volume, "tilt")
    assert "1.1 mm (1x), 4.2 mm (13x), 7.4 mm (13x)" in _words(volume, "gaps")
    assert _words(volume, "thickness") == "slices of 4, 7 mm thickness"


def test_the_mr_series_is_in_the_order_of_simpleitk(shared_data: Path) -> None:
    folder = shared_data / "series_mr_brain"
    manifest = manifest_of_files(shuffled(sorted(folder.iterdir())), folder)
    (volume,) = find_volumes(manifest)

    expected = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    assert [manifest.sample(int(row)).path for row in volume.rows] == [Path(name).name for name in expected]
    assert volume.sound
    assert volume.problems == ()
    np.testing.assert_allclose(np.linalg.norm(volume.arrangement.step), 6.5, atol=1e-4)


def test_slices_are_ordered_by_position_and_not_by_file_name() -> None:
    heights = [4.0, 0.0, 3.0, 1.0, 2.0]
    manifest = manifest_of(slice_row([0, 0, height]) for height in heights)
    (volume,) = find_volumes(manifest)

    assert _heights(manifest, volume) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert volume.sound


def test_two_echoes_are_two_volumes() -> None:
    rows = [slice_row([0, 0, 2 * z], stack=f"echo {echo}; acquisition 1") for echo in (1, 2) for z in range(5)]
    manifest = manifest_of(shuffled(rows))
    first, second = sorted(find_volumes(manifest), key=lambda volume: volume.stack)

    assert (first.stack, second.stack) == ("echo 1", "echo 2")
    assert _heights(manifest, first) == _heights(manifest, second) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert first.sound
    assert second.sound


def test_b_values_and_their_directions_are_parted_in_turn() -> None:
    stacks = ["b 0", "b 1000; direction 1 0 0", "b 1000; direction 0 1 0", "b 1000; direction 0 0 1"]
    rows = [slice_row([0, 0, z], stack=stack) for z in range(4) for stack in stacks]
    found = find_volumes(manifest_of(shuffled(rows)))

    assert {volume.stack for volume in found} == set(stacks)
    assert all(volume.sound and len(volume.rows) == 4 for volume in found)


def test_an_acquisition_number_for_each_slice_parts_nothing() -> None:
    rows = [slice_row([0, 0, z], stack=f"acquisition {z + 1}") for z in range(6)]
    (volume,) = find_volumes(manifest_of(shuffled(rows)))

    assert volume.sound
    assert volume.stack is None


def test_phases_whose_times_differ_from_slice_to_slice_go_the_nth_with_the_nth() -> None:
    rows = [slice_row([0, 0, z], stack=f"trigger time {40 * phase + z + 10}") for z in range(5) for phase in range(3)]
    manifest = manifest_of(shuffled(rows))
    found = find_volumes(manifest)

    assert [volume.stack for volume in sorted(found, key=lambda volume: volume.stack)] == [
        f"trigger time no. {phase}" for phase in (1, 2, 3)
    ]
    for volume in found:
        times = [float(manifest.sample(int(row)).stack.split()[-1]) for row in volume.rows]
        np.testing.assert_allclose(np.diff(times), 1.0)


def test_a_repeated_part_of_a_scan_becomes_a_volume_of_its_own() -> None:
    rows = [slice_row([0, 0, z], stack="acquisition 1") for z in range(8)]
    rows += [slice_row([0, 0, z], stack="acquisition 2") for z in (3, 4, 5)]
    found = find_volumes(manifest_of(shuffled(rows)))

    assert sorted(len(volume.rows) for volume in found) == [3, 8]
    assert all(volume.sound for volume in found)


def test_the_same_image_twice_is_taken_once_and_said() -> None:
    rows = [slice_row([0, 0, z], instance=f"i{z}") for z in range(4)] * 2
    (volume,) = find_volumes(manifest_of(rows))

    assert volume.sound
    assert volume.rows.tolist() == [0, 1, 2, 3]
    assert _words(volume, "copies") == "4 of 8 images are there again, the same; one of each is taken"


def test_a_name_that_all_images_were_given_makes_none_a_copy() -> None:
    rows = [slice_row([0, 0, z], instance="same", stack=f"echo {echo}") for z in range(4) for echo in (1, 2)]

    assert [len(volume.rows) for volume in find_volumes(manifest_of(rows))] == [4, 4]


def test_slices_at_one_place_that_nothing_parts_are_no_sound_volume() -> None:
    rows = [slice_row([0, 0, z], instance=f"{z} {take}", stack="echo 1") for z in range(4) for take in range(2)]
    (volume,) = find_volumes(manifest_of(rows))

    assert not volume.sound
    assert _words(volume, "duplicates") == "4 of 8 slices lie where another does, and nothing parts them"


def test_a_localiser_is_parted_by_orientation() -> None:
    coronal, sagittal = [1.0, 0, 0, 0, 0, -1], [0, 1.0, 0, 0, 0, -1]
    rows = [slice_row([0, 0, z]) for z in range(3)]
    rows += [slice_row([0, 0, 0], orientation=coronal), slice_row([0, 5, 0], orientation=coronal)]
    rows += [slice_row([0, 0, 0], orientation=sagittal)]
    found = find_volumes(manifest_of(rows))

    assert [len(volume.rows) for volume in found] == [3, 2, 1]
    assert [volume.sound for volume in found] == [True, True, False]
    assert all(_words(volume, "orientations").startswith("the series holds 3 orientations") for volume in found)
    assert "single" in _kinds(found[2])


def test_mixed_sizes_and_spacings_are_parted_and_named() -> None:
    rows = [slice_row([0, 0, z]) for z in range(3)] + [slice_row([0, 0, z + 0.5], rows=8) for z in range(3)]
    rows += [slice_row([0, 0, z + 0.7], spacing_row_mm=0.5) for z in range(3)]
    found = find_volumes(manifest_of(rows))

    assert len(found) == 3
    assert all({"sizes", "spacings"} <= _kinds(volume) and volume.sound for volume in found)


def test_thick_slices_between_thin_ones_are_a_volume_of_their_own() -> None:
    rows = [slice_row([0, 0, z], slice_thickness_mm=1.0) for z in range(12)]
    rows += [slice_row([0, 0, 0.5 + 3 * z], slice_thickness_mm=3.0) for z in range(4)]
    found = find_volumes(manifest_of(shuffled(rows)))

    assert {(volume.stack, len(volume.rows)) for volume in found} == {("thickness 1 mm", 12), ("thickness 3 mm", 4)}
    assert all(volume.sound for volume in found)


def test_slices_that_follow_each_other_in_two_distances_stay_together() -> None:
    rows = [slice_row([0, 0, z], slice_thickness_mm=1.0) for z in range(6)]
    rows += [slice_row([0, 0, 7 + 3 * z], slice_thickness_mm=3.0) for z in range(4)]
    (volume,) = find_volumes(manifest_of(shuffled(rows)))

    assert _kinds(volume) == {"gaps", "thickness"}


def test_a_missing_slice_is_a_gap() -> None:
    rows = [slice_row([0, 0, 2.5 * z]) for z in range(6) if z != 3]
    (volume,) = find_volumes(manifest_of(rows))

    assert not volume.sound
    assert "2.5 mm (3x), 5.0 mm (1x)" in _words(volume, "gaps")


def test_positions_rounded_to_a_tenth_are_even() -> None:
    rows = [slice_row([0, 0, round(0.7 + 0.625 * z, 1)]) for z in range(60)]
    (volume,) = find_volumes(manifest_of(rows))

    assert volume.sound
    assert volume.problems == ()


def test_microscopic_slices_have_places_of_their_own() -> None:
    rows = [slice_row([0, 0, 0.004 * z], spacing_row_mm=0.004, spacing_column_mm=0.004) for z in range(20)]
    (volume,) = find_volumes(manifest_of(shuffled(rows)))

    assert volume.sound
    np.testing.assert_allclose(volume.arrangement.step, [0, 0, 0.004], rtol=1e-4)


def test_slices_that_lie_on_no_line_are_no_sound_volume() -> None:
    rows = [slice_row([20.0 * (z > 3), 0, z]) for z in range(8)]
    (volume,) = find_volumes(manifest_of(rows))

    assert not volume.sound
    assert "line" in _kinds(volume)


def test_slices_moved_sideways_more_than_on_are_no_sound_volume() -> None:
    (volume,) = find_volumes(manifest_of(slice_row([3.0 * z, 0, z]) for z in range(8)))

    assert not volume.sound
    assert _words(volume, "line") == "the slices are moved sideways, 72 degrees off their normal"


def test_series_are_never_mixed_and_unplaced_images_are_in_no_volume() -> None:
    rows = [slice_row([0, 0, z], series=series) for z in range(3) for series in ("a", "b")]
    rows += [slice_row([0, 0, 0], position_mm=None), slice_row([0, 0, 1], orientation=None)]
    found = find_volumes(manifest_of(rows))

    assert [volume.series for volume in found] == ["a", "b"]
    assert [volume.rows.tolist() for volume in found] == [[0, 2, 4], [1, 3, 5]]


def test_patients_are_never_mixed_even_where_their_series_share_a_name() -> None:
    rows = [slice_row([0, 0, z], patient=patient) for z in range(3) for patient in ("p", "q")]
    assert [volume.rows.tolist() for volume in find_volumes(manifest_of(rows))] == [[0, 2, 4], [1, 3, 5]]

    # Where files stand for patients nobody knows whose they are: the series counts.
    unknown = [slice_row([0, 0, z], patient=f"file{z}", patient_unit="file") for z in range(3)]
    assert [volume.rows.tolist() for volume in find_volumes(manifest_of(unknown))] == [[0, 1, 2]]


def test_files_of_several_frames_at_the_same_places_are_parted_by_file() -> None:
    rows = [
        slice_row([0, 0, z], path=path, frame=z, instance=path) for path in ("early.dcm", "late.dcm") for z in range(4)
    ]
    found = find_volumes(manifest_of(rows))

    assert [volume.rows.tolist() for volume in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert all(volume.sound for volume in found)


def test_frames_of_one_file_at_one_place_that_nothing_parts_are_named(shared_data: Path) -> None:
    folder = shared_data / "dicom_zoo"
    manifest = manifest_of_files([next(folder.glob("*BRTUMMM1"))], folder)
    (volume,) = find_volumes(manifest)

    assert "duplicates" in _kinds(volume)
