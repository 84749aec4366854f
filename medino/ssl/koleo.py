"""KoLeo: class tokens are kept apart from their nearest neighbours, in the batch and among past images."""

from typing import Literal

import torch
import torch.nn.functional as F

from medino.ssl.distributed import gather_with_gradient, rank

KoLeoScope = Literal["global", "process"]
"""Where a neighbour is looked for: in the batch of all processes, or in that of each alone (as the reference does)."""

KOLEO_EPSILON = 1e-8
"""Added to distances before the logarithm, in float32: in float16 it is zero and duplicates give infinity."""


def koleo_loss(
    features: torch.Tensor,
    past: torch.Tensor | None = None,
    same_image: torch.Tensor | None = None,
    scope: KoLeoScope = "global",
) -> torch.Tensor:
    """Kozachenko-Leonenko regulariser (Sablayrolles et al. 2019): `-mean log(|x_i - x_nn| + 1e-8)` on the unit sphere.

    The nearest neighbour is looked for in the batch and among past features, which stay where they are. Exact
    duplicates have a finite loss and no gradient (there is no direction in which to part them); where there is nobody
    else, the loss is zero.

    Args:
        features: (B, D) class tokens of one crop, of any floating type.
        past: (Q, D) class tokens of past images, the same on all processes.
        same_image: (B, Q) bool, which of these are of the same image: an image is not its own neighbour.
        scope: whether neighbours are looked for in the batch of all processes or of this one.
    """
    with torch.autocast(features.device.type, enabled=False):
        own = F.normalize(features.float(), dim=-1, eps=KOLEO_EPSILON)
        first_row = rank() * own.shape[0] if scope == "global" else 0
        everyone = gather_with_gradient(own) if scope == "global" else own
        batch = everyone.shape[0]
        if past is not None and len(past):
            everyone = torch.cat([everyone, F.normalize(past.detach().float(), dim=-1, eps=KOLEO_EPSILON)])
        if everyone.shape[0] < 2:
            return own.sum() * 0
        with torch.no_grad():
            # Not by products: near duplicates, as every network gives before training, round to the same cosine.
            apart = torch.cdist(own, everyone, compute_mode="donot_use_mm_for_euclid_dist")
            rows = torch.arange(own.shape[0], device=own.device)
            apart[rows, rows + first_row] = torch.inf  # nobody is his own neighbour
            if same_image is not None:
                apart[:, batch:].masked_fill_(same_image, torch.inf)
            nearest_distance, nearest = apart.min(dim=1)
        distances = torch.linalg.vector_norm(own - everyone[nearest], dim=-1)
        # An image that meets nobody but itself counts with zero.
        return -(torch.log(distances + KOLEO_EPSILON) * nearest_distance.isfinite()).mean()
