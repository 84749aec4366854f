"""Objects without labels: against known cuts, numpy's and scipy's eigenvectors, and drawn images."""

import numpy as np
import pytest
import torch
from scipy import linalg
from volume_files import dice

from medino.core import InputError
from medino.data import Intensity, Pixels
from medino.features import EvaluationTransform, PatchPixels
from medino.segmentation import cut_scores, foreground_scores, numbered_objects
from medino.segmentation.prediction import CutMasker, ForegroundMasker, shown_box
from medino.segmentation.unsupervised import WEAK


def two_kinds(inside: torch.Tensor, noise: float = 0.05, seed: int = 0) -> torch.Tensor:
    """Tokens (h, w, 8): one direction inside, another outside."""
    directions = torch.eye(8)
    tokens = torch.where(inside[..., None], directions[0], directions[1])
    return tokens + noise * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed))


def block(height: int = 9, width: int = 7) -> torch.Tensor:
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[3:6, 2:5] = True
    return inside


def test_the_foreground_is_the_first_component_of_all_images_as_numpy_finds_it() -> None:
    images = [two_kinds(block(), 0.3, 1), two_kinds(block(6, 8), 0.3, 2)]
    found = torch.cat([each.flatten() for each in foreground_scores(images)]).numpy()
    flat = np.concatenate([each.reshape(-1, 8).numpy() for each in images]).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    wanted = centred @ directions[0]
    np.testing.assert_allclose(found, wanted * np.sign(wanted @ found), atol=1e-5)


@pytest.mark.parametrize("inverted", [False, True])
def test_the_side_with_less_of_the_border_is_the_foreground(inverted: bool) -> None:
    inside = block()
    tokens = two_kinds(~inside if inverted else inside)
    (scores,) = foreground_scores([tokens])
    assert torch.equal(scores > 0, inside)


def test_tokens_that_are_all_alike_have_no_foreground() -> None:
    with pytest.raises(InputError, match="nothing stands out"):
        foreground_scores([torch.ones(4, 4, 3)])
    with pytest.raises(InputError, match="no principal component"):
        foreground_scores([torch.ones(1, 1, 3)])


def test_a_known_cut_is_found() -> None:
    inside = block()
    assert torch.equal(cut_scores(two_kinds(inside)) > 0, inside)


def test_the_cut_is_the_second_solution_of_the_generalised_problem() -> None:
    """scipy's general solver on (D - W) y = lambda D y, with the weights written out pair by pair."""
    tokens = torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(3))
    flat = [token / token.norm() for token in tokens.reshape(-1, 4).double()]
    weights = np.array([[1.0 if float(one @ other) > 0.2 else WEAK for other in flat] for one in flat])
    degrees = np.diag(weights.sum(axis=1))
    values, vectors = linalg.eig(degrees - weights, degrees)
    wanted = vectors[:, np.argsort(values.real)[1]].real
    wanted = wanted - wanted.mean()
    found = cut_scores(tokens).flatten().double().numpy()
    assert abs(found @ wanted) / (np.linalg.norm(found) * np.linalg.norm(wanted)) > 1 - 1e-6


def test_the_side_that_holds_three_corners_is_the_background() -> None:
    """The border is the smaller side and has the larger values; its corners tell."""
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    assert torch.equal(cut_scores(two_kinds(inside)) > 0, inside)


def test_one_patch_has_no_cut() -> None:
    with pytest.raises(InputError, match="no cut"):
        cut_scores(torch.ones(1, 1, 3))


def test_objects_are_numbered_from_the_largest_and_corners_do_not_join() -> None:
    foreground = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    wanted = torch.tensor([[3, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0], [2, 2, 0, 0]])
    assert torch.equal(numbered_objects(foreground), wanted)
    assert not numbered_objects(torch.zeros(2, 2, dtype=torch.bool)).any()


def drawn(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image (1, H, W) of two bright discs on dark noise, and where they are."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = ((height * 0.35, width * 0.3, 9.0), (height * 0.65, width * 0.7, 6.0))
    inside = torch.zeros(height, width, dtype=torch.bool)
    for row, column, radius in places:
        inside |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    noise = 0.03 * torch.randn(height, width, generator=torch.Generator().manual_seed(0))
    return (inside.float() + noise)[None], inside


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (80, 48)])
@pytest.mark.parametrize("way", [ForegroundMasker, CutMasker])
def test_discs_are_found_on_the_images_own_pixels(way: type, size: tuple[int, int], fit: str) -> None:
    values, inside = drawn(*size)
    transform = EvaluationTransform(size=64, fit=fit, intensity=Intensity(window="full"))  # type: ignore[arg-type]
    masker = way(PatchPixels(2), transform)
    (mask,) = masker([transform(Pixels(values=values, full_range=(-0.2, 1.2)))], [size])
    assert mask.shape == size
    if fit == "crop":
        start = [(side - min(size)) // 2 for side in size]
        shown = torch.zeros_like(inside)
        shown[start[0] : start[0] + min(size), start[1] : start[1] + min(size)] = True
        inside = inside & shown
    # Patches at an edge are on its bright side: what is found is wider than the discs by a pixel.
    assert dice(mask.numpy() > 0, inside.numpy()) > 0.77
    assert (mask[inside] > 0).float().mean() > 0.97
    if way is CutMasker and fit == "pad":
        assert mask.max() == 2
        assert (mask == 1).sum() > (mask == 2).sum()
    assert torch.equal(masker.planes(mask).any(dim=0), mask > 0)


def test_only_patches_that_show_the_image_are_looked_at() -> None:
    transform = EvaluationTransform(size=64, fit="pad")
    assert shown_box((64, 64), transform, 8) == (0, 0, 8, 8)
    assert shown_box((32, 64), transform, 8) == (2, 0, 6, 8)
    assert shown_box((64, 16), transform, 8) == (0, 3, 8, 5)
