"""Masks drawn into images: colours that the colour-blind tell apart, names beside them, the image itself unchanged."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from medino.core import OKABE_ITO
from medino.segmentation.overlays import class_colour, overlay_figure, write_picture

NAMES = ("lung", "finding", "a class of a rather long name", "heart")


def planes(side: int) -> torch.Tensor:
    """Four squares that don't touch."""
    drawn = torch.zeros(4, side, side, dtype=torch.bool)
    for index in range(4):
        left = index * side // 4
        drawn[index, 2 : side // 2, left + 2 : left + side // 4 - 2] = True
    return drawn


def colours_of(values: np.ndarray) -> set[str]:
    """All colours of an (H, W, 3) picture, as words."""
    return {to_hex(colour / 255).upper() for colour in values.reshape(-1, 3)}


def test_a_picture_names_its_classes_in_the_palette_of_the_figures(tmp_path: Path) -> None:
    for side in (48, 400):
        write_picture(tmp_path / "bare.png", torch.zeros(3, side, side), planes(side))
        write_picture(tmp_path / "named.png", torch.zeros(3, side, side), planes(side), NAMES)
        bare, named = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("bare", "named"))
        assert bare.shape == (side, side, 3)
        assert named.shape[0] > side
        np.testing.assert_array_equal(named[:side, :side], bare)
        assert set(OKABE_ITO[:4]) <= colours_of(bare)
        # No name is cut off: the border of the legend is white.
        legend = named[side:]
        assert set(OKABE_ITO[:4]) <= colours_of(legend)
        assert (legend[-1] == 255).all()
        assert (legend[:, -1] == 255).all()


def test_a_legend_tells_one_name_from_another(tmp_path: Path) -> None:
    for name in ("lung", "heart"):
        write_picture(tmp_path / f"{name}.png", torch.zeros(3, 64, 64), planes(64)[:1], [name])
    one, other = (np.asarray(Image.open(tmp_path / f"{name}.png"))[64:] for name in ("lung", "heart"))
    assert not np.array_equal(one, other)


def test_a_figure_has_the_same_colours_and_names() -> None:
    mask = (planes(48) * torch.arange(1, 5)[:, None, None]).sum(dim=0)
    figure = overlay_figure(torch.zeros(3, 48, 48), mask, mask, ["background", *NAMES])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(NAMES)
    colours = [to_rgb(patch.get_facecolor()[:3]) for patch in legend.get_patches()]
    assert [to_hex(colour).upper() for colour in colours] == list(OKABE_ITO[:4])


def test_no_name_of_many_classes_is_cut_off() -> None:
    names = [f"the structure of number {number}" for number in range(1, 10)]
    mask = torch.zeros(16, 16, dtype=torch.int64)
    figure = overlay_figure(torch.zeros(3, 16, 16), mask, mask, ["background", *names], "worst")
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    inside = figure.bbox.get_points()
    for text in legend.get_texts():
        box = text.get_window_extent().get_points()
        assert (inside[0] <= box[0]).all()
        assert (box[1] <= inside[1]).all()


def test_no_class_is_drawn_in_the_black_of_a_dark_image() -> None:
    assert "#000000" not in {class_colour(index) for index in range(20)}
