"""Pixels to crops: geometry, photometry for each kind of image, stain, masks, multi-crop."""

from medino.views.blur import draw_blur_sigma, gaussian_blur
from medino.views.geometry import Crop, central_crop, draw_crop, flip_horizontal, quarter_turns, resize_crop
from medino.views.grey import add_noise, adjust_gamma, draw_gamma, draw_noise, draw_window_jitter, jitter_window
from medino.views.kinds import KINDS, Histology, Natural, Place, Radiology
from medino.views.masks import BlockMasks
from medino.views.multi_crop import IMAGENET_MEAN, IMAGENET_STD, MultiCrop, Views
from medino.views.photometry import (
    ColourJitter,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    apply_colour_jitter,
    draw_colour_jitter,
    grey_of,
    solarise,
    to_greyscale,
)
from medino.views.stain import StainJitter, draw_stain_jitter, jitter_stain, merge_stains, separate_stains

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KINDS",
    "BlockMasks",
    "ColourJitter",
    "Crop",
    "Histology",
    "MultiCrop",
    "Natural",
    "Place",
    "Radiology",
    "StainJitter",
    "Views",
    "add_noise",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "apply_colour_jitter",
    "central_crop",
    "draw_blur_sigma",
    "draw_colour_jitter",
    "draw_crop",
    "draw_gamma",
    "draw_noise",
    "draw_stain_jitter",
    "draw_window_jitter",
    "flip_horizontal",
    "gaussian_blur",
    "grey_of",
    "jitter_stain",
    "jitter_window",
    "merge_stains",
    "quarter_turns",
    "resize_crop",
    "separate_stains",
    "solarise",
    "to_greyscale",
]
