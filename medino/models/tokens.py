"""What a backbone returns: class token, registers and patch map, by name."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Tokens:
    """A backbone's output for a batch of B images of one size.

    Attributes:
        class_token: (B, D).
        registers: (B, R, D); R is 0 for models without registers.
        patches: (B, h, w, D), the grid of patches, row-major as in the image.
    """

    class_token: torch.Tensor
    registers: torch.Tensor
    patches: torch.Tensor


@dataclass(frozen=True)
class SelectedTokens:
    """Class tokens and some of the patches of a batch of B images of one size.

    Attributes:
        class_token: (B, D).
        patches: (M, D), of all images, in the order of `selected.nonzero()`.
    """

    class_token: torch.Tensor
    patches: torch.Tensor
