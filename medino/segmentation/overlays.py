"""An image with the true and the predicted mask drawn in, as a figure."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from medino.core import OKABE_ITO, whole_file
from medino.probes import extremes

PANEL_INCHES = 3.0
FILL_OPACITY = 0.25

NAME_INCHES, LETTER_INCHES, ROW_INCHES = 0.7, 0.085, 0.22
"""Of the legend of a figure: what a name takes beside its letters, what a letter does, and the height of a row."""

COLOURS = (*OKABE_ITO[:-1], "#F0E442")
"""Of the classes: the palette of the figures, its black, which is lost on dark images, replaced by its yellow."""

LEGEND_FONT, SMALLEST_LETTERS, LETTERS = "DejaVu Sans", 12, 1 / 40
"""Of the legend below a picture: its font, its least size in pixels, and its size as a part of the longer side."""


def overlay_figure(
    image: torch.Tensor,
    target: torch.Tensor,
    predicted: torch.Tensor,
    class_names: Sequence[str],
    title: str = "",
    overlapping: bool = False,
) -> Figure:
    """Draw image, truth and prediction side by side, one colour a class; the background is left clear.

    Args:
        image: (3, H, W) in [0, 1].
        target: (H, W) indices of classes.
        predicted: (H, W) indices of classes.
        class_names: the classes by index, the background first.
        title: written above.
        overlapping: whether the masks hold bits of overlapping classes (`medino.segmentation.targets.bits_of`).
    """
    shown = image.clamp(0, 1).permute(1, 2, 0).numpy()
    colours = [class_colour(index) for index in range(len(class_names) - 1)]
    width = 3 * PANEL_INCHES
    columns = max(int(width // (NAME_INCHES + LETTER_INCHES * max(map(len, class_names[1:]), default=0))), 1)
    rows = -(-len(colours) // columns)
    figure = Figure(
        figsize=(width, PANEL_INCHES + 0.4 + ROW_INCHES * (rows - 1 + title.count("\n"))), layout="constrained"
    )
    for place, (name, mask) in enumerate({"image": None, "truth": target, "prediction": predicted}.items()):
        axes = figure.add_subplot(1, 3, place + 1)
        axes.imshow(shown, interpolation="nearest")
        axes.set_title(name)
        axes.set_axis_off()
        if mask is None:
            continue
        for index, colour in enumerate(colours, start=1):
            of_class = (mask >> (index - 1) & 1 if overlapping else mask == index).float().numpy()
            if of_class.any() and not of_class.all():
                axes.contourf(of_class, levels=[0.5, 1.5], colors=[colour], alpha=FILL_OPACITY)
                axes.contour(of_class, levels=[0.5], colors=[colour], linewidths=1.0)
    handles = [mpl.patches.Patch(color=colour, label=n) for colour, n in zip(colours, class_names[1:], strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(title)
    return figure


def shown_cases(dice: Sequence[float], count: int) -> list[tuple[int, str, int]]:
    """Which of some cases to draw, in all `count` where there are so many: a third of them each, the worst first.

    Args:
        dice: of each case.
        count: how many; what three don't divide are the worst, then the middle ones.

    Returns:
        1, 2 or 3, worst, middle or best, and the place of the case in `dice`.
    """
    shown = []
    for number, (kind, chosen) in enumerate(extremes(dice, -(-count // 3)).items(), start=1):
        share = count // 3 + (number <= count % 3)
        kept = chosen[max(len(chosen) - share, 0) :] if kind == "best" else chosen[:share]
        shown += [(number, kind, place) for place in kept]
    return shown


def write_overlay(path: str | Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def class_colour(index: int) -> str:
    """The colour of class `index`, the background not counted; after the last one again the first."""
    return COLOURS[index % len(COLOURS)]


def write_picture(path: str | Path, image: torch.Tensor, planes: torch.Tensor, class_names: Sequence[str] = ()) -> None:
    """Write an image with its classes drawn in pixel by pixel, and a legend below, as PNG, whole or not at all.

    Args:
        path: where to.
        image: (3, H, W) in [0, 1].
        planes: (C, H, W) bool, the classes without the background.
        class_names: of the planes, for the legend; none for parts that have no names, and then there is no legend.
    """
    picture = Image.fromarray(drawn_in(image, planes))
    with whole_file(path) as temporary:
        (with_legend(picture, class_names) if class_names else picture).save(temporary, format="PNG")


def drawn_in(image: torch.Tensor, planes: torch.Tensor) -> np.ndarray:
    """(H, W, 3) uint8: an image with its classes drawn in, one colour a class; arguments as for `write_picture`."""
    shown = image.clamp(0, 1)
    for index, plane in enumerate(planes):
        colour = torch.tensor(to_rgb(class_colour(index)))[:, None, None]
        inside = F.max_pool2d(-F.pad(plane[None].float(), (1, 1, 1, 1)), 3, stride=1)[0] == -1
        shown = torch.where(plane, (1 - FILL_OPACITY) * shown + FILL_OPACITY * colour, shown)
        shown = torch.where(plane & ~inside, colour, shown)
    return shown.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def with_legend(picture: Image.Image, class_names: Sequence[str]) -> Image.Image:
    """A picture, top left and unchanged, above the colours and names of its classes on white."""
    letters = max(SMALLEST_LETTERS, round(max(picture.size) * LETTERS))
    font = ImageFont.truetype(findfont(LEGEND_FONT), letters)
    gap, line = letters // 2, 2 * letters
    widths = [round(gap + letters + gap + font.getlength(name) + gap) for name in class_names]
    width = max(picture.width, *widths)
    places, left, top = [], 0, picture.height
    for wide in widths:
        if left + wide > width:
            left, top = 0, top + line
        places.append((left + gap, top + gap))
        left += wide
    whole = Image.new("RGB", (width, top + line), "white")
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for index, (name, (x, y)) in enumerate(zip(class_names, places, strict=True)):
        draw.rectangle((x, y, x + letters - 1, y + letters - 1), fill=class_colour(index))
        draw.text((x + letters + gap, y + letters // 2), name, fill="black", font=font, anchor="lm")
    return whole
