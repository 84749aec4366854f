"""Collectives that work with and without a process group: alone, a process is the whole world."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist


def in_process_group() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """How many processes train together; 1 without a process group."""
    return dist.get_world_size() if in_process_group() else 1


def rank() -> int:
    """Which of them this is; 0 without a process group."""
    return dist.get_rank() if in_process_group() else 0


def all_reduce(tensor: torch.Tensor, operation: Any = dist.ReduceOp.SUM) -> torch.Tensor:
    """Reduce a tensor over all processes, without gradients; the argument stays as it is."""
    tensor = tensor.detach()
    if not in_process_group():
        return tensor
    tensor = tensor.clone()
    dist.all_reduce(tensor, op=operation)
    return tensor


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Sum over all processes, without gradients."""
    return all_reduce(tensor)


def all_reduce_mean(tensor: torch.Tensor) -> torch.Tensor:
    """Mean over all processes, without gradients."""
    return all_reduce(tensor) / world_size()


def all_reduce_max(tensor: torch.Tensor) -> torch.Tensor:
    """Largest value over all processes, element by element, without gradients."""
    return all_reduce(tensor, dist.ReduceOp.MAX)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Average over all processes, in place, the gradients of the parameters that learn; none counts as zero."""
    if not in_process_group():
        return
    gradients = []
    for parameter in parameters:
        if parameter.requires_grad:
            # All processes must bring the same: where none of a process's crops is masked, its mask token has none.
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
    # One collective for all of them.
    averaged = all_reduce_mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, averaged.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def all_processes_agree(condition: bool, device: torch.device) -> bool:
    """Whether the condition holds on every process, so that all of them decide alike."""
    if not in_process_group():
        # Nothing to be read back from a GPU, which would wait for all that it was asked to do.
        return condition
    failures = torch.tensor(0.0 if condition else 1.0, device=device)
    return bool(all_reduce_sum(failures).item() == 0)


def gather_objects(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    if not in_process_group():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate the (B, ...) tensors of all processes to (world * B, ...), without gradients; all of one shape."""
    if not in_process_group():
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


def gather_with_gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate the (B, ...) tensors of all processes to (world * B, ...); gradients flow back to each one's part.

    The gradient of a part is the sum over the processes' losses, so that their average (which data parallel training
    takes) is the gradient of the mean of their losses. All processes must bring the same shape.
    """
    return _Gather.apply(tensor) if in_process_group() else tensor


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums over processes; torch's own has no backward on gloo."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        ctx.rows = tensor.shape[0]
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = all_reduce_sum(gradients[0].contiguous())
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]
