"""The two losses of prototypes: DINO between views and iBOT at masked patches.

All are computed in float32 whatever comes in. DINO and iBOT are one thing, a weighted sum of cross-entropies between
rows of prototype scores; they differ in which rows meet which targets and what they weigh, which is said here, and
`prototypes.py` computes the sum. Rows are crop-major: all first crops, then all second ones.
"""

import torch

from medino.ssl.prototypes import Targets


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

    def write(rows: slice, out: torch.Tensor) -> None:
        torch.index_select(distinct, 0, row_numbers[rows], out=out)

    return write


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
