"""The three losses: DINO between views, iBOT at masked patches, KoLeo within the batch.

All are computed in float32 whatever comes in. DINO and iBOT are one thing, a weighted sum of cross-entropies between
rows of prototype scores; they differ in which rows meet which targets and what they weigh, which is said here, and
`prototypes.py` computes the sum. Rows are crop-major: all first crops, then all second ones.
"""

import torch
import torch.nn.functional as F

from medino.ssl.distributed import gather_with_gradient, rank
from medino.ssl.prototypes import Targets

KOLEO_EPSILON = 1e-8
"""Added to distances before the logarithm, in float32: in float16 it is zero and duplicates give infinity."""


def dino_targets(teacher_probabilities: torch.Tensor, num_local_crops: int) -> Targets:
    """What the student's class tokens are to answer: of the global crops, then of the local ones.

    Each global crop meets the other one's teacher. Every local crop meets both teacher crops, which are averaged first,
    as the cross-entropy is linear in the targets: one pass over the scores instead of two.

    Args:
        teacher_probabilities: (2 * B, K), of the global crops; each row sums to 1.
        num_local_crops: n; may be 0.

    Returns:
        The targets of (2 + n) * B rows.
    """
    first, second = teacher_probabilities.chunk(2)
    # Local crops share targets: they are told by number, not copied.
    distinct = torch.cat([second, first, (first + second) / 2])
    numbers = torch.arange(len(distinct), device=distinct.device)
    both = 2 * len(first)
    row_numbers = torch.cat([numbers[:both], numbers[both:].repeat(num_local_crops)])
    return lambda rows: distinct[row_numbers[rows]]


def dino_row_weights(batch_size: int, num_local_crops: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """What each of `dino_targets`' rows weighs.

    The DINO loss is the sum over the pairs of a student's and a teacher's view of the mean over the batch, divided by
    the number of pairs, 2n + 2: 18 for eight local crops, each of which stands in two pairs. (Without local crops the
    reference would divide by 3, not 2; DINO v1 by 2, as here.)

    Args:
        batch_size: B.
        num_local_crops: n; may be 0.
        device: where the weights are made.

    Returns:
        ((2 + n) * B,).
    """
    weights = torch.full(((2 + num_local_crops) * batch_size,), 2.0, device=device)
    weights[: 2 * batch_size] = 1.0
    return weights / (batch_size * (2 * num_local_crops + 2))


def ibot_row_weights(masks: torch.Tensor) -> torch.Tensor:
    """What the cross-entropy at each masked patch weighs: 1 / (masked in its image), over all global crops.

    Args:
        masks: (2B, N) bool; crops without a masked patch count in the mean with zero.

    Returns:
        (M,), in the order of `masks.nonzero()`.
    """
    weights = masks / masks.sum(dim=1, keepdim=True).clamp(min=1)
    return weights[masks] / masks.shape[0]


def koleo_loss(features: torch.Tensor) -> torch.Tensor:
    """Kozachenko-Leonenko regulariser (Sablayrolles et al. 2019): `-mean log(|x_i - x_nn| + 1e-8)` on the unit sphere.

    The nearest neighbour is looked for in the batch of all processes. Exact duplicates have a finite loss and no
    gradient (there is no direction in which to part them); a batch of one has no neighbour and gives zero.

    Args:
        features: (B, D) class tokens of one crop, of any floating type.
    """
    with torch.autocast(features.device.type, enabled=False):
        own = F.normalize(features.float(), dim=-1, eps=KOLEO_EPSILON)
        everyone = gather_with_gradient(own)
        if everyone.shape[0] < 2:
            return own.sum() * 0
        with torch.no_grad():
            # Not by products: near duplicates, as every network gives before training, round to the same cosine.
            apart = torch.cdist(own, everyone, compute_mode="donot_use_mm_for_euclid_dist")
            rows = torch.arange(own.shape[0], device=own.device)
            apart[rows, rows + rank() * own.shape[0]] = torch.inf  # nobody is his own neighbour
            nearest = apart.argmin(dim=1)
        distances = torch.linalg.vector_norm(own - everyone[nearest], dim=-1)
        return -torch.log(distances + KOLEO_EPSILON).mean()
