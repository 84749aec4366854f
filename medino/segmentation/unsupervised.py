"""Objects without any label: foreground by the first principal component, and by a normalised cut of the patches.

Both work on the patch tokens of a frozen backbone and know no class: what they find is what stands out, which need not
be what is looked for.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.linalg import eigh

from medino.core import InputError

THRESHOLD = 0.2
"""Cosine from which two patches are joined (TokenCut's value for DINO's features, Wang et al. 2022, section 4.1)."""

WEAK = 1e-5
"""Weight of all other pairs, which keeps the graph in one piece (Wang et al. 2022, section 3.2)."""

CORNERS = 3
"""A side that holds so many corners of the image is its background (TokenCut's code)."""


def foreground_scores(patches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The first principal component of patch tokens, its sign chosen so that what is above 0 is foreground.

    DINOv2 takes the positive side of the first component over some images of one kind (Oquab et al. 2023, section
    7.6). A component's sign means nothing: here the side with fewer of the patches at the images' border is the
    foreground.

    Args:
        patches: for each image (h, w, D), grids of any size; D alike. The component is that of all images together.

    Returns:
        For each image (h, w) float32.

    Raises:
        InputError: fewer than two patches, or all alike.
    """
    flat = torch.cat([image.reshape(-1, image.shape[-1]) for image in patches]).double()
    if len(flat) < 2:
        raise InputError(f"{len(flat)} patch tokens have no principal component; give a larger image")
    centred = flat - flat.mean(dim=0)
    values, directions = torch.linalg.eigh(centred.T @ centred)
    if values[-1] <= torch.finfo(torch.float32).eps ** 2 * (flat * flat).sum():
        raise InputError("all patch tokens are alike: nothing stands out; give images that show something")
    scores = centred @ directions[:, -1]
    border = torch.cat([_border(*image.shape[:2]) for image in patches])
    if (scores[border] > 0).double().mean() > 0.5:
        scores = -scores
    parts = scores.float().split([image.shape[0] * image.shape[1] for image in patches])
    return [part.reshape(image.shape[:2]) for part, image in zip(parts, patches, strict=True)]


def cut_scores(patches: torch.Tensor, threshold: float = THRESHOLD) -> torch.Tensor:
    """TokenCut: the normalised cut of an image's patches (Wang et al. 2022, 2202.11539).

    Patches whose cosine is above `threshold` are joined by an edge of weight 1, all others by one of `WEAK`. The second
    smallest solution of (D - W) y = lambda D y parts them at its mean (Shi and Malik 2000); the foreground is the side
    of the largest absolute value, unless it holds `CORNERS` corners of the image.

    Args:
        patches: (h, w, D).
        threshold: cosine.

    Returns:
        (h, w) float32, above 0 in the foreground.

    Raises:
        InputError: there are fewer than two patches.
    """
    height, width, channels = patches.shape
    if height * width < 2:
        raise InputError(f"{height * width} patch has no cut; give a larger image")
    tokens = F.normalize(patches.reshape(-1, channels).double(), dim=-1)
    weights = np.where((tokens @ tokens.T).numpy() > threshold, 1.0, WEAK)
    root = np.sqrt(weights.sum(axis=1))
    # With y = D^(-1/2) z the problem is that of a symmetric matrix.
    laplacian = np.eye(len(root)) - weights / np.outer(root, root)
    _, vectors = eigh(laplacian, subset_by_index=[1, 1])
    solution = vectors[:, 0] / root
    scores = solution - solution.mean()
    if scores[np.abs(solution).argmax()] < 0:
        scores = -scores
    grid = scores.reshape(height, width)
    if (grid[[0, 0, -1, -1], [0, -1, 0, -1]] > 0).sum() >= CORNERS:
        grid = -grid
    return torch.from_numpy(grid).float()


def numbered_objects(foreground: torch.Tensor) -> torch.Tensor:
    """The connected parts of a foreground (H, W) bool as numbers from 1, the largest first; (H, W) int64, 0 elsewhere.

    Pixels are neighbours along rows and columns.
    """
    parts, count = ndimage.label(foreground.numpy())
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    number = np.zeros(count + 1, dtype=np.int64)
    number[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return torch.from_numpy(number[parts])


def _border(height: int, width: int) -> torch.Tensor:
    """(height * width,) whether a patch lies at the edge of its image."""
    edge = torch.ones(height, width, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    return edge.flatten()
