"""An image with the true and the predicted mask drawn in, as a figure."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from medino.core import whole_file

PANEL_INCHES = 3.0
FILL_OPACITY = 0.25


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
    colours = [mpl.colormaps["tab10"](index % 10) for index in range(len(class_names) - 1)]
    figure = Figure(figsize=(3 * PANEL_INCHES, PANEL_INCHES + 0.4), layout="constrained")
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
    figure.legend(handles=handles, loc="outside lower center", ncols=max(len(handles), 1), frameon=False)
    figure.suptitle(title)
    return figure


def write_overlay(path: str | Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def write_picture(path: str | Path, image: torch.Tensor, planes: torch.Tensor) -> None:
    """Write an image with its classes drawn in, one colour a class, pixel by pixel as PNG, whole or not at all.

    Args:
        path: where to.
        image: (3, H, W) in [0, 1].
        planes: (C, H, W) bool, the classes without the background.
    """
    shown = image.clamp(0, 1)
    for index, plane in enumerate(planes):
        colour = torch.tensor(mpl.colormaps["tab10"](index % 10)[:3])[:, None, None]
        inside = F.max_pool2d(-F.pad(plane[None].float(), (1, 1, 1, 1)), 3, stride=1)[0] == -1
        shown = torch.where(plane, (1 - FILL_OPACITY) * shown + FILL_OPACITY * colour, shown)
        shown = torch.where(plane & ~inside, colour, shown)
    values = shown.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with whole_file(path) as temporary:
        Image.fromarray(values).save(temporary, format="PNG")
