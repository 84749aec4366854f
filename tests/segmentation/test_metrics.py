import numpy as np
import pytest
import SimpleITK
import torch
from monai.metrics import compute_surface_dice
from scipy.ndimage import binary_erosion, distance_transform_edt

from medino.segmentation import CaseResult, dice, hausdorff95, surface_dice
from medino.segmentation.metrics import case_results, mean_metrics


def square(top: int, left: int, side: int, size: int = 32) -> torch.Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def blobs(seed: int) -> torch.Tensor:
    """Some random discs."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:48, :48]
    mask = np.zeros((48, 48), dtype=bool)
    for _ in range(3):
        row, column = generator.uniform(8, 40, 2)
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < generator.uniform(3, 8) ** 2
    return torch.from_numpy(mask)


def scipy_hausdorff95(first: torch.Tensor, second: torch.Tensor, spacing: tuple[float, ...]) -> float:
    """The definition in a few lines: edges are what erosion by a cross takes away."""
    edges = [mask.numpy() & ~binary_erosion(mask.numpy()) for mask in (first, second)]
    directed = [np.percentile(distance_transform_edt(~edges[1 - i], sampling=spacing)[edges[i]], 95) for i in range(2)]
    return float(max(directed))


def balls(seed: int) -> torch.Tensor:
    """Two random balls in a volume of 12 slices."""
    generator = np.random.default_rng(seed)
    places = np.stack(np.mgrid[:12, :24, :24]).astype(float)
    centres = [generator.uniform((4, 8, 8), (8, 16, 16)) for _ in range(2)]
    return torch.from_numpy(
        np.logical_or.reduce([((places - c[:, None, None, None]) ** 2).sum(axis=0) < 12 for c in centres])
    )


def scipy_surface_dice(
    first: torch.Tensor, second: torch.Tensor, tolerance: float, spacing: tuple[float, ...]
) -> float:
    """The definition in a few lines."""
    edges = [mask.numpy() & ~binary_erosion(mask.numpy()) for mask in (first, second)]
    near = [distance_transform_edt(~edges[1 - i], sampling=spacing)[edges[i]] <= tolerance for i in range(2)]
    return float(np.concatenate(near).mean())


def test_dice_of_shifted_squares_is_the_closed_form() -> None:
    # 8 x 8 squares, four columns apart: half of each is shared.
    assert dice(square(4, 4, 8), square(4, 8, 8)) == pytest.approx(0.5)


def test_distance_of_two_points_is_theirs_in_pixels_and_in_mm() -> None:
    first, second = square(2, 3, 1), square(5, 7, 1)
    assert hausdorff95(first, second) == pytest.approx(5.0)
    assert hausdorff95(first, second, spacing=(2.0, 0.5)) == pytest.approx(np.hypot(6.0, 2.0))


@pytest.mark.parametrize("seed", range(4))
def test_distance_agrees_with_its_definition_by_scipy(seed: int) -> None:
    first, second = blobs(seed), blobs(seed + 100)
    expected = scipy_hausdorff95(first, second, (0.7, 1.3))
    assert hausdorff95(first, second, spacing=(0.7, 1.3)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_dice_agrees_with_simpleitk(seed: int) -> None:
    first, second = blobs(seed), blobs(seed + 100)
    images = [SimpleITK.GetImageFromArray(mask.numpy().astype(np.uint8)) for mask in (first, second)]
    peer = SimpleITK.LabelOverlapMeasuresImageFilter()
    peer.Execute(*images)
    assert dice(first, second) == pytest.approx(peer.GetDiceCoefficient(), rel=1e-6)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_surface_dice_agrees_with_its_definition_by_scipy_and_with_monai(seed: int) -> None:
    first, second = blobs(seed), blobs(seed + 100)
    found = surface_dice(first, second, 1.5, spacing=(0.7, 1.3))
    assert 0 < found < 1
    assert found == pytest.approx(scipy_surface_dice(first, second, 1.5, (0.7, 1.3)))
    peer = compute_surface_dice(
        first[None, None], second[None, None], class_thresholds=[1.5], include_background=True, spacing=[0.7, 1.3]
    )
    assert found == pytest.approx(float(peer))


@pytest.mark.parametrize("seed", range(3))
def test_volumes_are_measured_in_all_three_directions(seed: int) -> None:
    first, second, spacing = balls(seed), balls(seed + 100), (2.0, 0.7, 1.3)
    (result,) = case_results(first.long(), second.long(), ["background", "ball"], "s", "p", spacing, tolerance=1.5)
    assert result.hausdorff95 == pytest.approx(scipy_hausdorff95(first, second, spacing), rel=1e-5)
    assert result.surface_dice == pytest.approx(scipy_surface_dice(first, second, 1.5, spacing))
    peer = SimpleITK.LabelOverlapMeasuresImageFilter()
    peer.Execute(*(SimpleITK.GetImageFromArray(mask.numpy().astype(np.uint8)) for mask in (first, second)))
    assert result.dice == pytest.approx(peer.GetDiceCoefficient(), rel=1e-6)
    assert list(result.values) == ["dice", "surface_dice_1.5mm", "hausdorff95_mm"]


def test_hausdorff_of_volumes_agrees_with_simpleitk() -> None:
    # At the 100th percentile, which SimpleITK measures over whole masks and not their edges: for balls far apart alike.
    first, second = torch.zeros(12, 24, 24, dtype=torch.bool), torch.zeros(12, 24, 24, dtype=torch.bool)
    first[3, 4, 5], second[8, 14, 9] = True, True
    images = [SimpleITK.GetImageFromArray(mask.numpy().astype(np.uint8)) for mask in (first, second)]
    for image in images:
        image.SetSpacing((1.3, 0.7, 2.0))
    peer = SimpleITK.HausdorffDistanceImageFilter()
    peer.Execute(*images)
    assert hausdorff95(first, second, (2.0, 0.7, 1.3)) == pytest.approx(peer.GetHausdorffDistance(), rel=1e-6)


def test_empty_masks_follow_the_stated_rule() -> None:
    empty, some = torch.zeros(32, 32, dtype=torch.bool), square(4, 4, 8)
    assert dice(empty, empty) == 1
    assert hausdorff95(empty, empty) == 0
    assert surface_dice(empty, empty, 1.0) == 1
    for pair in ((empty, some), (some, empty)):
        assert dice(*pair) == 0
        assert hausdorff95(*pair) is None
        assert surface_dice(*pair, 1.0) == 0


def test_each_class_but_the_background_is_measured() -> None:
    target = torch.zeros(16, 16, dtype=torch.int64)
    target[2:6, 2:6], target[10:14, 10:14] = 1, 2
    predicted = target.clone()
    predicted[predicted == 2] = 0
    results = case_results(predicted, target, ["background", "cyst", "tumour"], "s", "p", (1.0, 1.0))
    assert [(r.class_name, r.dice, r.surface_dice, r.hausdorff95, r.unit) for r in results] == [
        ("cyst", 1.0, 1.0, 0.0, "mm"),
        ("tumour", 0.0, 0.0, None, "mm"),
    ]


def test_undefined_distances_stay_out_of_the_mean_and_are_counted() -> None:
    results = [
        CaseResult("a", "p", "cyst", 1.0, 2.0, "px", 1.0, 2.0),
        CaseResult("b", "p", "cyst", 0.0, None, "px", 0.0, 2.0),
        CaseResult("c", "p", "cyst", 0.5, 4.0, "px", 0.2, 2.0),
        CaseResult("a", "p", "tumour", 0.9, None, "px", 0.0, 2.0),
    ]
    means = mean_metrics(results)
    assert means["dice/cyst"] == pytest.approx(0.5)
    assert means["surface_dice_2px/cyst"] == pytest.approx(0.4)
    assert means["hausdorff95_px/cyst"] == pytest.approx(3.0)
    assert means["hausdorff95_px_undefined/cyst"] == 1
    assert "hausdorff95_px/tumour" not in means
    assert means["dice"] == pytest.approx(0.7)
