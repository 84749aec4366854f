"""Which grey window shows what: presets by modality and body part, and windows by an image's own percentiles."""

import math
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

_SAMPLED, _MARGIN = 1024, 8
"""How many values are sorted to find out where a percentile lies, and how many of them lie surely beyond it."""


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
    left_out = int(np.count_nonzero(seen == smallest))
    if left_out == len(seen):
        return Window(smallest, 0.0)
    if pixels.modality == "MR":
        limit = noise_limit(seen[seen > smallest])
        if limit is not None:
            seen, left_out = seen[seen > limit], 0
    start, end = _percentiles(seen, low, high, left_out)
    return Window.between(start if end > start else smallest, end)


def _percentiles(values: np.ndarray, low: float, high: float, left_out: int) -> tuple[float, float]:
    """`np.percentile` at two places, of all values but so many of the smallest."""
    ranks = left_out + (len(values) - left_out - 1) * np.array((low, high)) / 100
    # An odd step, so that not all are of one column.
    sample = np.sort(values[:: len(values) // _SAMPLED | 1])
    start, end = (_value_of_rank(values, sample, float(rank)) for rank in ranks)
    return start, end


def _value_of_rank(values: np.ndarray, sample: np.ndarray, rank: float) -> float:
    """The value that so many others are smaller than; between two values, on the line.

    Only those values are put in order that lie beyond one of a few sampled ones: near the ends that takes a third of
    the time of a histogram, whatever the numbers are.
    """
    first = math.floor(rank)
    needed = [first, min(first + 1, len(values) - 1)]
    place = rank / len(values) * len(sample)
    if place < len(sample) / 2:
        tail = values[values <= sample[min(int(1.5 * place) + _MARGIN, len(sample) - 1)]]
        before = 0
    else:
        tail = values[values >= sample[max(int(len(sample) - 1.5 * (len(sample) - place)) - _MARGIN, 0)]]
        before = len(values) - len(tail)
    if not before <= needed[0] <= needed[1] < before + len(tail):
        tail, before = values, 0
    places = [each - before for each in needed]
    lower, upper = np.partition(tail, places)[places].tolist()
    return lower + (upper - lower) * (rank - first)


def valid_values(pixels: Pixels) -> torch.Tensor:
    """The values of the valid pixels, flat."""
    if pixels.valid is not None:
        return pixels.values[:, pixels.valid].flatten()
    top, left, bottom, right = pixels.box or (0, 0, *pixels.values.shape[-2:])
    return pixels.values[:, top:bottom, left:right].flatten()
