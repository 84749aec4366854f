"""How the teacher's prototype logits become targets without collapse: an EMA centre, or Sinkhorn-Knopp."""

from typing import cast

import torch
from torch import nn

from medino.ssl.distributed import all_reduce_max, all_reduce_sum


def sinkhorn_knopp(logits: torch.Tensor, temperature: float, iterations: int = 3) -> torch.Tensor:
    """Assign the batch of all processes evenly to the prototypes (SwAV, Caron et al. 2020), in float32.

    Computed on logarithms: the exponentials of the usual form overflow once a trained gain brings logits / temperature
    past 88, or leave a prototype without any.

    Args:
        logits: (B, K) of this process; the processes' B may differ, as masked patches do, and may be 0.
        temperature: the teacher's.
        iterations: how often rows and columns are normalised.

    Returns:
        (B, K) probabilities; each row sums to 1.
    """
    scores = logits.detach().float() / temperature
    # Constant factors (the number of samples, of prototypes) cancel, as the rows are normalised last.
    for _ in range(iterations):
        scores = scores - _log_sum_over_samples(scores)
        scores = scores - scores.logsumexp(dim=1, keepdim=True)
    return scores.exp()


def _log_sum_over_samples(scores: torch.Tensor) -> torch.Tensor:
    """`log sum exp` over the samples of all processes, (1, K)."""
    lowest = scores.new_full((1, scores.shape[1]), torch.finfo(scores.dtype).min)
    largest = all_reduce_max(torch.cat([scores, lowest]).amax(dim=0, keepdim=True))
    return largest + all_reduce_sum((scores - largest).exp().sum(dim=0, keepdim=True)).log()


class Center(nn.Module):
    """The exponential moving average of the teacher's logits.

    Targets of a step use the centre as the steps before left it; `update` is called when the step is done, so that a
    step that is skipped leaves no trace.
    """

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(1, prototypes))

    def targets(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        """`softmax((logits - centre) / temperature)` in float32, (B, K)."""
        center = cast(torch.Tensor, self.value)
        return torch.softmax((logits.detach().float() - center) / temperature, dim=-1)

    @torch.no_grad()
    def update(self, batch_mean: torch.Tensor) -> None:
        """Move towards the mean logits (1, K) of a step's global batch."""
        center = cast(torch.Tensor, self.value)
        center.mul_(self.momentum).add_(batch_mean, alpha=1 - self.momentum)


def global_mean(logits: torch.Tensor) -> torch.Tensor | None:
    """Mean of the (B, K) logits of all processes, (1, K) in float32; None where no process has any."""
    count = all_reduce_sum(torch.tensor(float(logits.shape[0]), device=logits.device))
    total = all_reduce_sum(logits.detach().float().sum(dim=0, keepdim=True))
    return total / count if count > 0 else None
