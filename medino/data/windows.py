"""Which grey window shows what: presets by modality and body part, and windows by an image's own percentiles."""

from dataclasses import dataclass

import numpy as np
import torch

from medino.data.noise import noise_limit
from medino.data.pixels import Pixels, Window


@dataclass(frozen=True)
class NamedWindow:
    """A window and where its numbers come from."""

    window: Window
    source: str


_OHIF = "OHIF viewer, default window level presets"
_ORTHANC = "Orthanc Stone web viewer, WindowingPresets of its configuration.json"
_RADIOPAEDIA = "Radiopaedia, article Windowing (CT)"

WINDOW_PRESETS: dict[str, NamedWindow] = {
    "lung": NamedWindow(Window(-600, 1500), f"{_RADIOPAEDIA}: lungs; {_OHIF}: lung"),
    "mediastinum": NamedWindow(Window(50, 350), f"{_RADIOPAEDIA}: mediastinum"),
    "soft_tissue": NamedWindow(Window(40, 400), f"{_OHIF}: soft tissue"),
    "abdomen": NamedWindow(Window(60, 400), f"{_ORTHANC}: CT Abdomen"),
    "liver": NamedWindow(
        Window(60, 160), f"between {_RADIOPAEDIA} (centre 30, width 150) and {_OHIF} (90, 150), a little wider"
    ),
    "angio": NamedWindow(Window(300, 600), f"{_ORTHANC}: CT Angio"),
    "bone": NamedWindow(Window(400, 1800), f"{_RADIOPAEDIA}: spine, bone"),
    "brain": NamedWindow(Window(40, 80), f"{_RADIOPAEDIA}: brain; {_OHIF}: brain; {_ORTHANC}: CT Brain"),
    "subdural": NamedWindow(Window(75, 215), f"the middle of what {_RADIOPAEDIA} gives (centre 50-100, width 130-300)"),
    "stroke": NamedWindow(Window(40, 40), f"{_RADIOPAEDIA}: stroke, the wider of two (the other is 32, 8)"),
}
"""CT windows by name, centre and width in Hounsfield units. None has an official value: viewers and textbooks differ by
some 100 HU, and these are what the named ones set."""

CT_CHANNELS = ("lung", "soft_tissue", "bone")
"""What `channels="windows"` shows of a CT: air, tissue and bone each at their own contrast."""


@dataclass(frozen=True)
class BodyPart:
    """How a part of the body is looked at in CT.

    Attributes:
        window: the preset for one window.
        channels: the presets for three.
    """

    window: str
    channels: tuple[str, str, str]


_HEAD = BodyPart("brain", ("brain", "subdural", "bone"))
_CHEST = BodyPart("lung", ("lung", "mediastinum", "bone"))
_ABDOMEN = BodyPart("abdomen", ("liver", "abdomen", "bone"))
_BONES = BodyPart("bone", ("soft_tissue", "angio", "bone"))
CT_BODY_PARTS: dict[str, BodyPart] = {
    **dict.fromkeys(("HEAD", "BRAIN"), _HEAD),
    **dict.fromkeys(("CHEST", "THORAX", "LUNG"), _CHEST),
    **dict.fromkeys(("HEART", "MEDIASTINUM"), BodyPart("mediastinum", ("lung", "mediastinum", "angio"))),
    **dict.fromkeys(("ABDOMEN", "PELVIS", "ABDOMENPELVIS", "KIDNEY", "PANCREAS"), _ABDOMEN),
    "LIVER": BodyPart("liver", _ABDOMEN.channels),
    **dict.fromkeys(("AORTA", "CAROTID"), BodyPart("angio", ("soft_tissue", "angio", "bone"))),
    **dict.fromkeys(("SKULL", "SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE"), _BONES),
    **dict.fromkeys(("SHOULDER", "ARM", "ELBOW", "WRIST", "HAND", "HIP", "LEG", "KNEE", "ANKLE", "FOOT"), _BONES),
    **dict.fromkeys(("EXTREMITY", "HUMERUS", "FEMUR", "PATELLA", "CALCANEUS", "CLAVICLE", "RIB", "SSJOINT"), _BONES),
}
"""By BodyPartExamined (the terms of PS3.16 Annex L, and those that scanners write in their place). Which window goes
with which part is chosen here; what is not listed is shown in `soft_tissue` or `CT_CHANNELS`."""

DEFAULT_BODY_PART = BodyPart("soft_tissue", CT_CHANNELS)

PERCENTILES = {"percentile": (0.5, 99.5), "dark": (0.5, 70.0), "bright": (30.0, 99.5)}
"""Windows by the percentiles of an image's own values that become 0 and 1. The tails of 0.5 % are what nnU-Net clips at
(Isensee et al. 2021, CT normalisation); `dark` and `bright` spread the lower and the upper part of the values."""

GREY_CHANNELS = ("percentile", "dark", "bright")
"""What `channels="windows"` shows of other grey images, for which no physical unit fixes a window."""

_SEEN = 2**18

_LEVELS = 2**16
"""Whole numbers over a range of up to this many, as 16 bits have, are counted and not sorted."""


def ct_body_part(code: str | None) -> BodyPart:
    """How the part of the body that a CT shows is looked at.

    Args:
        code: BodyPartExamined; None where it is not known.
    """
    letters = "".join(letter for letter in (code or "").upper() if letter.isalpha())
    return CT_BODY_PARTS.get(letters, DEFAULT_BODY_PART)


def percentile_window(pixels: Pixels, low: float, high: float) -> Window:
    """The window between two percentiles of the valid values of an image.

    Values equal to the smallest are left out: they are the air around a patient or the padding around a scan, and in
    most MR they are so many that any low percentile would fall on them. In MR the noise of the background is left out
    as well (`medino.data.noise`). Where the rest is one value, as in a mask, the window begins at the smallest; a
    constant image gets a window without width.
    """
    values = valid_values(pixels)
    # Every n-th value of a large image is enough for a percentile, and sorting all takes longer than decoding them.
    seen = values[:: max(1, values.numel() // _SEEN)].numpy()
    smallest = float(seen.min())
    foreground = seen[seen > smallest]
    if len(foreground) == 0:
        return Window(smallest, 0.0)
    limit = noise_limit(foreground) if pixels.modality == "MR" else None
    if limit is not None:
        foreground = foreground[foreground > limit]
    start, end = _percentiles(foreground, low, high)
    return Window.between(start if end > start else smallest, end)


def _percentiles(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """`np.percentile` at two places; of whole numbers five times faster, by how often each occurs."""
    smallest = float(values.min())
    levels = _levels(values, smallest)
    if levels is None:
        start, end = np.percentile(values, (low, high))
    else:
        up_to = np.cumsum(np.bincount(levels))
        ranks = (len(values) - 1) * np.array((low, high)) / 100
        first, second = (np.searchsorted(up_to, whole, side="right") for whole in (np.floor(ranks), np.ceil(ranks)))
        start, end = smallest + first + (second - first) * (ranks - np.floor(ranks))
    return float(start), float(end)


def _levels(values: np.ndarray, smallest: float) -> np.ndarray | None:
    """How far values lie above the smallest; None where these are no whole numbers below `_LEVELS`."""
    if not float(values.max()) - smallest < _LEVELS:
        return None
    above = values - values.dtype.type(smallest)
    levels = above.astype(np.int64)
    return levels if np.array_equal(levels, above) else None


def valid_values(pixels: Pixels) -> torch.Tensor:
    """The values of the valid pixels, flat."""
    if pixels.valid is not None:
        return pixels.values[:, pixels.valid].flatten()
    top, left, bottom, right = pixels.box or (0, 0, *pixels.values.shape[-2:])
    return pixels.values[:, top:bottom, left:right].flatten()
