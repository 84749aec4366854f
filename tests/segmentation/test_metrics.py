import numpy as np
import pytest
import SimpleITK
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt

from medino.segmentation import CaseResult, dice, hausdorff95
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


def scipy_hausdorff95(first: torch.Tensor, second: torch.Tensor, spacing: tuple[float, float]) -> float:
    """The definition in a few lines: edges are what erosion by a cross takes away."""
    edges = [mask.numpy() & ~binary_erosion(mask.numpy()) for mask in (first, second)]
    directed = [np.percentile(distance_transform_edt(~edges[1 - i], sampling=spacing)[edges[i]], 95) for i in range(2)]
    return float(max(directed))


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


def test_empty_masks_follow_the_stated_rule() -> None:
    empty, some = torch.zeros(32, 32, dtype=torch.bool), square(4, 4, 8)
    assert dice(empty, empty) == 1
    assert hausdorff95(empty, empty) == 0
    for pair in ((empty, some), (some, empty)):
        assert dice(*pair) == 0
        assert hausdorff95(*pair) is None


def test_each_class_but_the_background_is_measured() -> None:
    target = torch.zeros(16, 16, dtype=torch.int64)
    target[2:6, 2:6], target[10:14, 10:14] = 1, 2
    predicted = target.clone()
    predicted[predicted == 2] = 0
    results = case_results(predicted, target, ["background", "cyst", "tumour"], "s", "p", (1.0, 1.0))
    assert [(r.class_name, r.dice, r.hausdorff95, r.unit) for r in results] == [
        ("cyst", 1.0, 0.0, "mm"),
        ("tumour", 0.0, None, "mm"),
    ]


def test_undefined_distances_stay_out_of_the_mean_and_are_counted() -> None:
    results = [
        CaseResult("a", "p", "cyst", 1.0, 2.0, "px"),
        CaseResult("b", "p", "cyst", 0.0, None, "px"),
        CaseResult("c", "p", "cyst", 0.5, 4.0, "px"),
        CaseResult("a", "p", "tumour", 0.9, None, "px"),
    ]
    means = mean_metrics(results)
    assert means["dice/cyst"] == pytest.approx(0.5)
    assert means["hausdorff95_px/cyst"] == pytest.approx(3.0)
    assert means["hausdorff95_px_undefined/cyst"] == 1
    assert "hausdorff95_px/tumour" not in means
    assert means["dice"] == pytest.approx(0.7)
