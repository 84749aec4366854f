"""What is drawn for views is done to them as plain formulas say, for one view or many."""

import colorsys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from scipy import ndimage

from medino.views import KINDS, Change, ColourJitter, Noise, Place, change_views, lay_views
from medino.views.grey import _noise_pool
from medino.views.stain import STAINS, UNMIXING
from medino.views.tone import change_one_by_one

Way = Callable[[torch.Tensor, Sequence[Change]], torch.Tensor]


def together(views: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """As on a GPU."""
    return change_views(lay_views(views.clone(), changes), changes)


def one_by_one(views: torch.Tensor, changes: Sequence[Change], scale: float = 1.0) -> torch.Tensor:
    """As on a CPU."""
    return change_one_by_one(views, changes, views.shape[-1], scale, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def of_8_bits(views: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """As on a CPU, from values that are not in [0, 1] yet."""
    return one_by_one(views * 255, changes, 1 / 255)


WAYS = pytest.mark.parametrize("way", [together, one_by_one, of_8_bits])

LUMA = np.array([0.299, 0.587, 0.114])[:, None, None]


def plainly(view: torch.Tensor, change: Change) -> np.ndarray:
    """A change by the formulas of Pillow and `colorsys`, in double precision and in the order of the recipe."""
    x = view.double().numpy()
    x = np.rot90(x[..., ::-1] if change.flip else x, change.turns, (1, 2))
    if change.stain:
        density = np.einsum("shw,sc->chw", -np.log(np.maximum(x, 1 / 255)), UNMIXING.numpy())
        scales, shifts = (np.array(values)[:, None, None] for values in change.stain)
        x = np.exp(-np.einsum("shw,sc->chw", density * scales + shifts, STAINS.numpy())).clip(0, 1)
    for operation in change.jitter.order if change.jitter else ():
        amount = change.jitter[operation]
        if operation == 3:
            hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(3, -1).T]
            x = np.array([colorsys.hsv_to_rgb((h + amount) % 1, s, v) for h, s, v in hsv]).T.reshape(x.shape)
        else:
            luma = (x * LUMA).sum(0)
            towards = (0.0, luma.mean(), luma)[operation]
            x = (amount * x + (1 - amount) * towards).clip(0, 1)
    if change.gamma is not None:
        x = x**change.gamma
    if change.greyscale:
        x = np.broadcast_to((x * LUMA).sum(0), x.shape)
    if change.sigma is not None:
        x = ndimage.gaussian_filter(x, change.sigma, mode="mirror", radius=4, axes=(1, 2))
    if change.solarise:
        x = np.where(x < 128 / 255, x, 1 - x)
    if change.noise:
        pool, pixels = _noise_pool(torch.device("cpu")).numpy(), x[0].size
        start = int(change.noise.start * (len(pool) - pixels + 1))
        x = (x + change.noise.sigma * pool[start : start + pixels].reshape(x[0].shape)).clip(0, 1)
    return x


@WAYS
def test_what_is_bright_after_contrast_is_solarised(way: Way) -> None:
    view = torch.randint(0, 256, (1, 3, 24, 24), generator=torch.Generator().manual_seed(2)) / 255
    change = Change(jitter=ColourJitter(1.2, 0.7, 0.9, 0.04, (1, 0, 3, 2)), solarise=True)
    expected = plainly(view[0], change)
    assert (expected < 0.45).any()
    far = np.abs(way(view, [change])[0].numpy() - expected) > 0.1 / 255
    assert far.mean() <= 0.002


@WAYS
@pytest.mark.parametrize("kind", list(KINDS))
def test_views_are_changed_as_plain_formulas_say(kind: str, way: Way) -> None:
    """To a tenth of a level of 8 bits, but for pixels that stand on solarise's step."""
    made, generator = KINDS[kind](32, "published", True), np.random.default_rng(3)
    places = [place for place in Place for _ in range(14)]
    changes = [made.draw(place, generator) for place in places]
    views = torch.randint(0, 256, (len(changes), 3, 24, 24), generator=torch.Generator().manual_seed(0)) / 255
    found = way(views, changes)
    for view, change, result in zip(views, changes, found, strict=True):
        far = np.abs(result.numpy() - plainly(view, change)) > 0.1 / 255
        assert far.mean() <= (0.002 if change.solarise else 0)


@WAYS
@pytest.mark.parametrize("turns", [-0.16, -0.1, 0.0, 0.03, 0.1, 0.16])
def test_hue_is_turned_where_channels_are_alike_as_elsewhere(way: Way, turns: float) -> None:
    levels = torch.tensor([0.0, 0.2, 0.7, 1.0])
    view = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 8, 8)
    change = Change(jitter=ColourJitter(1.0, 1.0, 1.0, turns, (3,)))
    np.testing.assert_allclose(way(view, [change])[0].numpy(), plainly(view[0], change), atol=1e-6)


@WAYS
def test_all_changes_together_come_in_their_order(way: Way) -> None:
    view = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    jitter = ColourJitter(1.3, 0.8, 1.2, -0.08, (3, 1, 0, 2))
    change = Change(True, 1, None, jitter, 1.2, True, 0.9, False, Noise(0.4, 0.03))
    found = way(view, [change])
    np.testing.assert_allclose(found[0].numpy(), plainly(view[0], change), atol=1e-5)


def test_a_view_does_not_depend_on_those_beside_it() -> None:
    made, generator = KINDS["natural"](32, "published", True), np.random.default_rng(0)
    changes = [made.draw(Place.LOCAL, generator) for _ in range(12)]
    views = torch.rand(12, 3, 16, 16)
    all_of_them = one_by_one(views, changes)
    for place, change in enumerate(changes):
        assert torch.equal(all_of_them[place], one_by_one(views[place : place + 1], [change])[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_one_by_one_grey_views_and_colours_are_changed_as_together(channels: int) -> None:
    generator = np.random.default_rng(5)
    for kind in KINDS.values():
        changes = [kind(32, "published", True).draw(Place.SECOND_GLOBAL, generator) for _ in range(8)]
        changes = [change._replace(solarise=False) for change in changes]
        views = torch.rand(8, channels, 20, 20, generator=torch.Generator().manual_seed(1))
        expected = together(views, changes).expand(-1, 3, -1, -1)
        torch.testing.assert_close(one_by_one(views, changes), expected, atol=2e-5, rtol=0)


@WAYS
def test_nothing_drawn_changes_nothing(way: Way) -> None:
    views = torch.randint(0, 256, (2, 3, 9, 9)) / 255
    torch.testing.assert_close(way(views, [Change()] * 2), views, atol=1e-7, rtol=0)
    assert torch.equal(lay_views(views.clone(), [Change()] * 2), views)
