"""One slice to a volume: closed forms on made-up tokens, and a moving object on drawn slices."""

import math

import pytest
import torch
import torch.nn.functional as F

from medino.core import InputError
from medino.data import Intensity, Pixels
from medino.features import EvaluationTransform, PatchPixels
from medino.segmentation.propagation import (
    Propagation,
    labels_on_patches,
    likeliest,
    mask_from_patches,
    propagate_masks,
)


def one_hot(mask: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(mask, classes).permute(2, 0, 1).float()


def moving_tokens(slices: int, side: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (S, side, side, 8) of a 2 x 2 object that moves a column a slice, and its masks (S, side, side)."""
    background, thing = torch.eye(8)[0], torch.eye(8)[1]
    tokens, masks = background.expand(slices, side, side, 8).clone(), torch.zeros(slices, side, side, dtype=torch.int64)
    for place in range(slices):
        tokens[place, 2:4, place : place + 2] = thing
        masks[place, 2:4, place : place + 2] = 1
    return tokens + 0.05 * torch.randn(tokens.shape, generator=generator), masks


@pytest.mark.parametrize("given", [[0], [4], [2], [0, 5], [1, 3]])
def test_an_object_is_followed_in_both_directions(given: list[int]) -> None:
    tokens, masks = moving_tokens(6, 8, torch.Generator().manual_seed(0))
    labels = Propagation(radius=2)(tokens, {place: one_hot(masks[place], 2) for place in given})
    assert torch.equal(labels.argmax(dim=1), masks)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(6, 8, 8))


def test_an_object_out_of_reach_is_not_found() -> None:
    tokens, masks = moving_tokens(2, 8, torch.Generator().manual_seed(0))
    tokens[1] = tokens[1].roll(4, dims=1)
    start = {0: one_hot(masks[0], 2)}
    assert not Propagation(radius=2)(tokens, start)[1].argmax(dim=0).any()
    assert Propagation(radius=5)(tokens, start)[1].argmax(dim=0).sum() == 4


def test_a_step_is_the_softmax_of_the_best_cosines_in_the_neighbourhood() -> None:
    """Against the sum written out patch by patch, as RECIPE section 9 says it."""
    generator = torch.Generator().manual_seed(1)
    height, width = 4, 5
    rule = Propagation(context=2, top_k=3, radius=1, temperature=0.1)
    target, *sources = F.normalize(torch.randn(4, height, width, 6, generator=generator), dim=-1)
    soft = torch.randn(3, 2, height, width, generator=generator).softmax(dim=1)
    found = rule.step(target, list(zip(sources, soft, strict=True)))
    for row in range(height):
        for column in range(width):
            near = [
                (float(source[r, c] @ target[row, column]), label[:, r, c])
                for source, label in zip(sources, soft, strict=True)
                for r in range(max(row - 1, 0), min(row + 2, height))
                for c in range(max(column - 1, 0), min(column + 2, width))
            ]
            best = sorted(near, key=lambda pair: -pair[0])[:3]
            shares = [math.exp(cosine / 0.1) for cosine, _ in best]
            wanted = sum(share * label for share, (_, label) in zip(shares, best, strict=True)) / sum(shares)
            torch.testing.assert_close(found[:, row, column], wanted, atol=1e-5, rtol=1e-4)


def test_between_two_labelled_slices_the_nearer_one_counts_more() -> None:
    """All patches alike: labels stay what they were, and the mean of both is what is left."""
    tokens = torch.ones(5, 1, 1, 3)
    labels = Propagation()(tokens, {0: torch.tensor([[[1.0]], [[0.0]]]), 4: torch.tensor([[[0.0]], [[1.0]]])})
    torch.testing.assert_close(labels[:, 1, 0, 0], torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))


def test_without_context_only_the_labelled_slice_is_looked_at() -> None:
    """The object changes its token slice by slice: what is like the last slice is unlike the first."""
    angles = torch.tensor([0.0, 1.2, 2.4])
    thing = torch.stack([angles.cos(), angles.sin(), torch.zeros(3)], dim=1)
    background = torch.tensor([0.0, 0.0, 1.0]).expand(3, 3)
    tokens = torch.stack([thing, background], dim=1)[:, None]
    start = {0: torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])}
    follows = Propagation(context=1, top_k=1)(tokens, start).argmax(dim=1)[:, 0]
    assert follows.tolist() == [[1, 0], [1, 0], [1, 0]]
    stays = Propagation(context=0, top_k=1)(tokens, start).argmax(dim=1)[:, 0]
    assert stays[2].tolist() == [0, 0]


@pytest.mark.parametrize("settings", [{"context": -1}, {"top_k": 0}, {"radius": -1}, {"temperature": 0.0}])
def test_settings_without_meaning_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give at least"):
        Propagation(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [[], [7]])
def test_a_slice_that_is_not_there_is_refused(given: list[int]) -> None:
    with pytest.raises(InputError, match="slices 0 to 2"):
        Propagation()(torch.ones(3, 2, 2, 4), {place: torch.ones(2, 2, 2) for place in given})


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", [(40, 30), (30, 40), (32, 32), (37, 64)])
def test_labels_come_back_to_the_pixels_that_they_were_drawn_on(fit: str, size: tuple[int, int]) -> None:
    transform = EvaluationTransform(size=64, fit=fit)  # type: ignore[arg-type]
    mask = torch.zeros(size, dtype=torch.int64)
    middle = size[0] // 2, size[1] // 2
    mask[middle[0] - 8 : middle[0] + 8, middle[1] - 10 : middle[1] + 2] = 7
    labels = labels_on_patches(mask, [0, 7], transform, 2)
    torch.testing.assert_close(labels.sum(dim=0), torch.ones(32, 32))
    back = mask_from_patches(labels, [0, 7], transform, *size)
    both = ((back == 7) & (mask == 7)).sum()
    assert 2 * both / ((back == 7).sum() + (mask == 7).sum()) > 0.93


def test_what_the_crop_left_out_is_background() -> None:
    shares = torch.zeros(2, 8, 8)
    shares[1] = 1
    found = likeliest(shares, EvaluationTransform(size=8, fit="crop"), 8, 16)
    assert found[:, 4:12].all()
    assert not found[:, :4].any()
    assert not found[:, 12:].any()


def drawn(slices: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Grey slices (40, 32) with a bright square that moves and shrinks, and its masks of value 3."""
    generator = torch.Generator().manual_seed(2)
    values, masks = 0.05 * torch.randn(slices, 40, 32, generator=generator), torch.zeros(slices, 40, 32)
    for place in range(slices):
        where = (place, slice(12, 28 - place), slice(6 + place, 22))
        values[where] += 1
        masks[where] = 3
    return list(values), masks.long()


def test_a_square_is_followed_through_drawn_slices_and_the_given_one_stays() -> None:
    values, masks = drawn(5)
    transform = EvaluationTransform(size=40, fit="pad", intensity=Intensity(window="full"))
    images = [transform(Pixels(values=slice[None], full_range=(-0.5, 1.5))) for slice in values]
    found = propagate_masks(images, {2: masks[2]}, PatchPixels(2), transform, Propagation(radius=3))
    assert torch.equal(found[2], masks[2])
    assert set(found.unique().tolist()) == {0, 3}
    for place in range(5):
        both = ((found[place] == 3) & (masks[place] == 3)).sum()
        assert 2 * both / ((found[place] == 3).sum() + (masks[place] == 3).sum()) > 0.85


def test_slices_in_which_nothing_is_marked_are_refused() -> None:
    transform = EvaluationTransform(size=8, fit="pad")
    with pytest.raises(InputError, match="nothing but background"):
        propagate_masks([torch.zeros(3, 8, 8)], {0: torch.zeros(8, 8, dtype=torch.int64)}, PatchPixels(2), transform)
