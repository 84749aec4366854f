"""A manifest's rows become pixels, masks and stacks of adjacent slices."""

import dataclasses
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from medino.core import InputError, UnreadableImageError
from medino.data.dataset import PixelDataset, adjacent_slices
from medino.data.manifest import Manifest
from medino.data.readers import ReadSettings, describe
from medino.data.readers.description import FACTS
from medino.data.schema import Sample


def sample(number: int = 0, **facts: object) -> Sample:
    """A row of the manifest with what matters here."""
    blank: dict[str, object] = dict.fromkeys(Sample.__dataclass_fields__)
    blank |= {"sample_id": f"s{number}", "root": 0, "path": f"{number}.dcm", "format": "dicom", "frame": 0}
    blank |= {"patient": "p", "study": "t", "series": "s", "patient_unit": "patient"}
    blank |= {"rows": 4, "columns": 4, "samples_per_pixel": 1}
    return Sample(**(blank | facts))


def manifest_of(*rows: dict[str, object]) -> Manifest:
    return Manifest.from_samples([sample(number, **row) for number, row in enumerate(rows)])


def described(path: Path, plane: int = 2, series: str = "s") -> list[dict[str, object]]:
    row = {"path": path.name, "series": series}
    return [{name: facts[name] for name in FACTS} | row for facts in describe(path, ReadSettings(plane=plane))]


def test_slices_of_a_series_are_linked_by_position_whatever_their_order() -> None:
    manifest = manifest_of(*[{"slice_position_mm": place} for place in (12.5, -3.0, 5.0, 4.9)])
    assert adjacent_slices(manifest).tolist() == [[2, 0], [1, 3], [3, 0], [1, 2]]


def test_series_sizes_and_files_of_unknown_position_do_not_mix() -> None:
    manifest = manifest_of(
        {"slice_position_mm": 1.0},
        {"slice_position_mm": 2.0, "series": "other"},
        {"slice_position_mm": 3.0, "rows": 8},
        {"slice_position_mm": 4.0},
        {"series": "nowhere"},
        {"series": "nowhere"},
    )
    assert adjacent_slices(manifest).tolist() == [[0, 3], [1, 1], [2, 2], [0, 3], [4, 4], [5, 5]]


def test_slices_that_share_a_position_are_linked_phase_by_phase() -> None:
    manifest = manifest_of(*[{"slice_position_mm": place} for place in (0.0, 0.0, 5.0, 5.0, 10.0, 10.0)])
    assert adjacent_slices(manifest).tolist() == [[0, 2], [1, 3], [0, 4], [1, 5], [2, 4], [3, 5]]


def test_frames_of_one_file_are_linked_by_number_and_a_gap_or_a_new_volume_parts_them() -> None:
    film = [{"path": "film.dcm", "frame": frame} for frame in (0, 1, 3)]
    row = [
        {"path": "row.nii", "format": "nifti", "plane": 2, "frame": frame, "slice_position_mm": 2.0 * (frame % 3)}
        for frame in range(6)
    ]
    expected = [[0, 1], [0, 1], [2, 2], [3, 4], [3, 5], [4, 5], [6, 7], [6, 8], [7, 8]]
    assert adjacent_slices(manifest_of(*film, *row)).tolist() == expected


def test_a_real_series_is_stacked_with_its_neighbours(shared_data: Path) -> None:
    folder = shared_data / "series_ct_head_ge"
    rows = [row for path in sorted(folder.iterdir())[:6] for row in described(path)]
    manifest = Manifest.from_samples([sample(number, **row) for number, row in enumerate(rows)], roots=(folder,))
    order = np.argsort([row["slice_position_mm"] for row in rows])
    single, stacked = PixelDataset(manifest), PixelDataset(manifest, neighbours=True)
    assert len(stacked) == 6
    for place in (0, 2, 5):
        pixels = stacked[int(order[place])]
        assert pixels.stacked
        assert pixels.modality == "CT"
        for channel, other in enumerate((max(place - 1, 0), place, min(place + 1, 5))):
            assert torch.equal(pixels.values[channel], single[int(order[other])].values[0])


def test_colour_has_no_neighbours(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "0.png")
    manifest = Manifest.from_samples([sample(0, **described(tmp_path / "0.png")[0])], roots=(tmp_path,))
    pixels = PixelDataset(manifest, neighbours=True)[0]
    assert pixels.colour
    assert pixels.values.shape == (3, 4, 4)


@pytest.fixture
def volume(tmp_path: Path) -> Manifest:
    """A NIfTI volume of 3 coronal slices with its label volume."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image((values % 3).astype(np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    rows = described(tmp_path / "image.nii.gz", plane=1)
    masks = [{"mask_root": 0, "mask_path": "label.nii.gz", "mask_frame": frame} for frame in range(2)]
    facts = [row | mask for row, mask in zip(rows, [*masks, {}], strict=True)]
    samples = [sample(number, **row) for number, row in enumerate(facts)]
    return Manifest.from_samples(samples, roots=(tmp_path,), mask_roots=(tmp_path,))


def test_a_mask_is_cut_and_turned_like_its_volume(volume: Manifest) -> None:
    dataset = PixelDataset(volume)
    for index in range(2):
        mask = dataset.mask(index)
        assert mask.dtype == torch.int64
        assert torch.equal(mask, dataset[index].values[0].long() % 3)


def test_a_disk_that_is_away_is_said_before_anything_is_read(volume: Manifest, tmp_path: Path) -> None:
    for gone in ({"roots": (tmp_path / "away",)}, {"mask_roots": (tmp_path / "away",)}):
        with pytest.raises(InputError, match="away is not there"):
            PixelDataset(dataclasses.replace(volume, **gone))


def test_a_row_without_a_mask_is_said_in_words(volume: Manifest) -> None:
    with pytest.raises(InputError, match="s2 has no mask"):
        PixelDataset(volume).mask(2)


def test_a_mask_of_another_size_is_refused_with_both_sizes(volume: Manifest, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 3, 4), np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    with pytest.raises(InputError, match="4 x 5 pixels and its image 4 x 2"):
        PixelDataset(volume).mask(0)


def test_an_unreadable_neighbour_is_told_from_an_unreadable_slice(shared_data: Path, tmp_path: Path) -> None:
    for name in ("01.dcm", "02.dcm"):
        (tmp_path / name).write_bytes((shared_data / "series_ct_head_ge" / name).read_bytes())
    rows = [row for path in sorted(tmp_path.iterdir()) for row in described(path)]
    manifest = Manifest.from_samples([sample(number, **row) for number, row in enumerate(rows)], roots=(tmp_path,))
    (tmp_path / "02.dcm").write_bytes(b"damaged")
    dataset = PixelDataset(manifest, neighbours=True)
    with pytest.raises(UnreadableImageError, match="the slice beside it can't be read"):
        dataset[0]
    with pytest.raises(UnreadableImageError) as caught:
        dataset[1]
    assert "beside" not in str(caught.value)
