"""Images turned and mirrored: the ways of which maps can be kept beside those of the images as they are.

A backbone's map of a mirrored image is not the mirrored map of the image: its position embedding and its filters know
left from right. So a head that is trained on kept maps may see mirrored or turned images only where their own maps are
kept, one more map for each way; mirroring a kept map would show the head tokens that no image has.
"""

from collections.abc import Callable, Sequence

import torch

from medino.core import InputError

AS_IS = "as_is"

VARIANTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    AS_IS: lambda image: image,
    "left_right": lambda image: image.flip(-1),
    "top_bottom": lambda image: image.flip(-2),
    "quarter_turn": lambda image: image.rot90(1, (-2, -1)),
    "half_turn": lambda image: image.rot90(2, (-2, -1)),
    "three_quarter_turn": lambda image: image.rot90(3, (-2, -1)),
}
"""What is done to the last two axes, of square images and of their masks alike; turns are counter-clockwise."""


def check_variants(variants: Sequence[str]) -> None:
    """Refuse ways that are not known, and maps without those of the images as they are.

    Raises:
        InputError: as said.
    """
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise InputError(f"there is no variant {', '.join(map(repr, unknown))}; choose from {', '.join(VARIANTS)}")
    if not variants or variants[0] != AS_IS or len(set(variants)) < len(variants):
        raise InputError(f"the variants are {list(variants)}; name {AS_IS} first, and each once")
