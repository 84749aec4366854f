"""Pixels to crops: geometry, photometry for each kind of image, stain, masks, multi-crop."""

from medino.views.blur import draw_blur_sigma, gaussian_blur
from medino.views.changes import Change, change_views, lay_views
from medino.views.geometry import Crop, central_crop, draw_crop, lay, resize_crop
from medino.views.grey import (
    Noise,
    add_noises_,
    adjust_gamma_,
    draw_gamma,
    draw_noise,
    draw_window_jitter,
    jitter_window,
    look_through,
)
from medino.views.kinds import KINDS, Histology, Natural, Place, Radiology
from medino.views.masks import BlockMasks
from medino.views.multi_crop import IMAGENET_MEAN, IMAGENET_STD, MultiCrop, ViewDraws, Views, source_of
from medino.views.photometry import (
    ColourJitter,
    adjust_brightness_,
    adjust_contrast_,
    adjust_hue_,
    adjust_saturation_,
    draw_colour_jitter,
    grey_of,
    solarise_,
    to_greyscale_,
)
from medino.views.resample import interleaved, resize_colour, resize_colours, resize_crops
from medino.views.stain import StainJitter, draw_stain_jitter, jitter_stains, merge_stains, separate_stains

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KINDS",
    "BlockMasks",
    "Change",
    "ColourJitter",
    "Crop",
    "Histology",
    "MultiCrop",
    "Natural",
    "Noise",
    "Place",
    "Radiology",
    "StainJitter",
    "ViewDraws",
    "Views",
    "add_noises_",
    "adjust_brightness_",
    "adjust_contrast_",
    "adjust_gamma_",
    "adjust_hue_",
    "adjust_saturation_",
    "central_crop",
    "change_views",
    "draw_blur_sigma",
    "draw_colour_jitter",
    "draw_crop",
    "draw_gamma",
    "draw_noise",
    "draw_stain_jitter",
    "draw_window_jitter",
    "gaussian_blur",
    "grey_of",
    "interleaved",
    "jitter_stains",
    "jitter_window",
    "lay",
    "lay_views",
    "look_through",
    "merge_stains",
    "resize_colour",
    "resize_colours",
    "resize_crop",
    "resize_crops",
    "separate_stains",
    "solarise_",
    "source_of",
    "to_greyscale_",
]
