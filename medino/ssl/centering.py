"""How the teacher's prototype logits become targets without collapse: an EMA centre, or Sinkhorn-Knopp."""

import functools
from collections.abc import Callable, Iterable
from typing import Literal, cast

import torch
from torch import nn

from medino.ssl.distributed import all_reduce_max, all_reduce_sum, in_process_group

Centering = Literal["centering", "sinkhorn_knopp"]
"""How the teacher's targets are kept from collapse: EMA centre or Sinkhorn-Knopp."""

PART_ENTRIES = 2**22
"""How many logarithms `sinkhorn_offset` makes at a time: 16 MB."""


def sinkhorn_knopp(logits: torch.Tensor, temperature: float, iterations: int = 3) -> torch.Tensor:
    """Assign the batch of all processes evenly to the prototypes (SwAV, Caron et al. 2020), in float32.

    Args:
        logits: (B, K) of this process; the processes' B may differ, as masked patches do, and may be 0.
        temperature: the teacher's.
        iterations: how often rows and columns are normalised.

    Returns:
        (B, K) probabilities; each row sums to 1.
    """
    return offset_targets(logits, temperature, sinkhorn_offset(lambda: [logits], temperature, iterations))


def offset_targets(logits: torch.Tensor, temperature: float, offset: torch.Tensor) -> torch.Tensor:
    """`softmax(logits / temperature - offset)` in float32, (B, K): what both ways of centering come down to.

    Args:
        logits: (B, K).
        temperature: the teacher's.
        offset: (1, K), as `sinkhorn_offset` or `Center.offset` give it.
    """
    targets = logits.detach().float().clone()
    write_offset_targets(targets, temperature, offset)
    return targets


def write_offset_targets(scores: torch.Tensor, temperature: float, offset: torch.Tensor) -> None:
    """`offset_targets` in place of the scores (B, K), float32."""
    torch.softmax(scores.div_(temperature).sub_(offset), dim=-1, out=scores)


def sinkhorn_offset(
    scores: Callable[[], Iterable[torch.Tensor]], temperature: float, iterations: int = 3
) -> torch.Tensor:
    """What `sinkhorn_knopp` takes from each prototype's logit: (1, K), such that `offset_targets` gives its targets.

    Rows are normalised last, so that of all that the iterations divide by only the columns' factors remain. So the
    samples need not be there at once: they can lie in several micro-batches, and be joined by older ones from a queue.

    Computed on logarithms: the exponentials of the usual form overflow once a trained gain brings logits / temperature
    past 88, or leave a prototype without any.

    Args:
        scores: gives the logits of this process, (rows, K) each; called once an iteration. At least one, rows may be 0.
        temperature: the teacher's.
        iterations: how often rows and columns are normalised.
    """
    offset: torch.Tensor | None = None
    for _ in range(iterations):
        # Constant factors (the number of samples, of prototypes) cancel, as the rows are normalised last.
        sums = [_log_sum_over_samples(part, temperature, offset) for logits in scores() for part in _parts(logits)]
        total = functools.reduce(torch.logaddexp, sums)
        largest = all_reduce_max(total)
        offset = largest + all_reduce_sum((total - largest).exp()).log()
    assert offset is not None
    return offset


def _parts(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Some rows at a time, so that the logarithms of all are never there together."""
    return logits.split(max(PART_ENTRIES // logits.shape[1], 1))


def _log_sum_over_samples(logits: torch.Tensor, temperature: float, offset: torch.Tensor | None) -> torch.Tensor:
    """`log sum exp` over some samples whose rows are normalised under an offset, (1, K)."""
    scores = logits.detach().float() / temperature
    if offset is not None:
        scores -= (scores - offset).logsumexp(dim=1, keepdim=True)
    if scores.shape[0] == 0:
        return scores.new_full((1, scores.shape[1]), torch.finfo(scores.dtype).min)
    return scores.logsumexp(dim=0, keepdim=True)


class Center(nn.Module):
    """The exponential moving average of the teacher's logits.

    Targets of a step use the centre as the steps before left it; `update` is called when the step is done, so that a
    step that is skipped leaves no trace.
    """

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(1, prototypes))

    def offset(self, temperature: float) -> torch.Tensor:
        """What it takes from the logits once they are divided by the temperature, (1, K); see `offset_targets`."""
        return cast(torch.Tensor, self.value) / temperature

    def targets(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        """`softmax((logits - centre) / temperature)` in float32, (B, K)."""
        return offset_targets(logits, temperature, self.offset(temperature))

    @torch.no_grad()
    def update(self, batch_mean: torch.Tensor) -> None:
        """Move towards the mean logits (1, K) of a step's global batch."""
        center = cast(torch.Tensor, self.value)
        center.mul_(self.momentum).add_(batch_mean, alpha=1 - self.momentum)


def global_mean(logits: torch.Tensor) -> torch.Tensor | None:
    """Mean of the (B, K) logits of all processes, (1, K) in float32; None where no process has any."""
    rows = logits.shape[0]
    total = all_reduce_sum(logits.detach().float().sum(dim=0, keepdim=True))
    if in_process_group():
        rows = int(all_reduce_sum(torch.tensor(rows, device=logits.device)))
    return total / rows if rows else None
