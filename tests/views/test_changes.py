"""What is drawn for views is done to them as plain formulas say, for one view or many."""

import colorsys
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from medino.views import KINDS, Change, ColourJitter, Noise, Place, change_views, lay_views
from medino.views.grey import _noise_pool
from medino.views.stain import STAINS, UNMIXING

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


@pytest.mark.parametrize("kind", list(KINDS))
def test_views_are_changed_as_plain_formulas_say(kind: str) -> None:
    """To a tenth of a level of 8 bits, but for pixels that stand on solarise's step."""
    made, generator = KINDS[kind](32, "published", True), np.random.default_rng(3)
    places = [place for place in Place for _ in range(14)]
    changes = [made.draw(place, generator) for place in places]
    views = torch.randint(0, 256, (len(changes), 3, 24, 24), generator=torch.Generator().manual_seed(0)) / 255
    found = change_views(lay_views(views.clone(), changes), changes)
    for view, change, result in zip(views, changes, found, strict=True):
        far = np.abs(result.numpy() - plainly(view, change)) > 0.1 / 255
        assert far.mean() <= (0.002 if change.solarise else 0)


def test_all_changes_together_come_in_their_order() -> None:
    view = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    jitter = ColourJitter(1.3, 0.8, 1.2, -0.08, (3, 1, 0, 2))
    change = Change(True, 1, None, jitter, 1.2, True, 0.9, False, Noise(0.4, 0.03))
    found = change_views(lay_views(view.clone(), [change]), [change])
    np.testing.assert_allclose(found[0].numpy(), plainly(view[0], change), atol=1e-5)


def test_a_view_does_not_depend_on_those_beside_it() -> None:
    made, generator = KINDS["natural"](32, "published", True), np.random.default_rng(0)
    changes = [made.draw(Place.LOCAL, generator) for _ in range(12)]
    views = torch.rand(12, 3, 16, 16)
    together = change_views(views.clone(), changes)
    for place, change in enumerate(changes):
        assert torch.equal(together[place], change_views(views[place : place + 1].clone(), [change])[0])


def test_nothing_drawn_changes_nothing() -> None:
    views = torch.rand(2, 3, 9, 9)
    assert torch.equal(change_views(lay_views(views.clone(), [Change()] * 2), [Change()] * 2), views)
    assert not math.isnan(float(views.sum()))
