"""The three losses: DINO between views, iBOT at masked patches, KoLeo within the batch.

All are computed in float32 whatever comes in. Prototype logits have the shape (views * B, K), views crop-major: all
first crops, then all second ones.
"""

import torch
import torch.nn.functional as F

from medino.ssl.distributed import gather_with_gradient, rank

KOLEO_EPSILON = 1e-8
"""Added to distances before the logarithm, in float32: in float16 it is zero and duplicates give infinity."""


def view_cross_entropy(
    student_logits: torch.Tensor, teacher_probabilities: torch.Tensor, batch_size: int, temperature: float = 0.1
) -> torch.Tensor:
    """Mean cross-entropy over the batch, summed over all pairs of a student view and a teacher view.

    Args:
        student_logits: (s * B, K), s views.
        teacher_probabilities: (t * B, K), t views; each row sums to 1.
        batch_size: B.
        temperature: the student's.

    Returns:
        A scalar: the sum of s * t means.
    """
    log_probabilities = F.log_softmax(student_logits.float() / temperature, dim=-1)
    student = log_probabilities.unflatten(0, (-1, batch_size))
    # Each student view meets each teacher view, so that the teachers can be summed first.
    teacher = teacher_probabilities.float().unflatten(0, (-1, batch_size)).sum(dim=0)
    return -(student * teacher).sum(dim=-1).mean(dim=1).sum()


def dino_losses(
    student_global: torch.Tensor,
    student_local: torch.Tensor,
    teacher_probabilities: torch.Tensor,
    batch_size: int,
    temperature: float = 0.1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The DINO loss of two global and n local crops, as its two terms, local and global.

    Every local crop meets both teacher crops; each global crop meets the other one's teacher. The sum over these pairs
    of the mean cross-entropy is divided by the number of pairs, 2n + 2: 18 for eight local crops. (Without local crops
    the reference would divide by 3, not 2; DINO v1 by 2, as here.)

    Args:
        student_global: (2 * B, K) prototype logits.
        student_local: (n * B, K); n may be 0.
        teacher_probabilities: (2 * B, K), of the same crops as `student_global` and in the same order; swapped here.
        batch_size: B.
        temperature: the student's.

    Returns:
        The local and the global term; their sum is the loss.
    """
    num_local_crops = student_local.shape[0] // batch_size
    pairs = 2 * num_local_crops + 2
    first, second = teacher_probabilities.chunk(2)
    swapped = torch.cat([second, first])
    # Stacked, both globals are one view of 2B images, whose mean stands for two pairs.
    global_term = 2 * view_cross_entropy(student_global, swapped, 2 * batch_size, temperature) / pairs
    if num_local_crops == 0:
        return torch.zeros_like(global_term), global_term
    local_term = view_cross_entropy(student_local, teacher_probabilities, batch_size, temperature) / pairs
    return local_term, global_term


def ibot_loss(
    student_logits: torch.Tensor, teacher_probabilities: torch.Tensor, masks: torch.Tensor, temperature: float = 0.1
) -> torch.Tensor:
    """Cross-entropy at the masked patches, each weighted by 1 / (masked in its image), over all global crops.

    Args:
        student_logits: (M, K) at the masked patches, in the order of `masks.nonzero()`.
        teacher_probabilities: (M, K) at the same places of the unmasked crops.
        masks: (2B, N) bool; crops without a masked patch count in the mean with zero.
        temperature: the student's.

    Returns:
        A scalar; zero with zero gradients where nothing is masked.
    """
    log_probabilities = F.log_softmax(student_logits.float() / temperature, dim=-1)
    cross_entropy = -(teacher_probabilities.float() * log_probabilities).sum(dim=-1)
    weights = masks / masks.sum(dim=1, keepdim=True).clamp(min=1)
    return (cross_entropy * weights[masks]).sum() / masks.shape[0]


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
