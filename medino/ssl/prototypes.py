"""Cross-entropy over prototypes without a tensor of all scores: some rows at a time, gradients included.

At 65 536 prototypes the scores of a batch's masked patches are the largest tensors of a training step, and a plain
cross-entropy keeps several of them. The loss is a weighted sum over rows, so that the gradient with respect to a row's
scores, softmax minus target, is known as soon as the scores are: the forward pass takes each chunk of rows to its part
of the gradients of tokens and prototypes, and forgets its scores. (Known from language models' vocabularies: Wijmans
et al. 2024, "Cut your losses", 2411.09009; Hsu et al. 2024, Liger Kernel, 2410.10989.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from medino.models import ProjectionHead
from medino.ssl.networks import Network

Targets = Callable[[slice, torch.Tensor], None]
"""Writes the targets of a slice of rows into (n, K) float32; each row sums to 1."""

CHUNK_ENTRIES = {"cpu": 3 * 2**22}
"""How many scores are held at a time: on a CPU 192 rows over 65 536 prototypes, elsewhere `LARGE_CHUNK`. With a third
of them the loss takes a quarter longer, as all prototypes are read anew for each chunk; with more nothing is won."""

LARGE_CHUNK = 2**26


@dataclass(frozen=True)
class BeforePrototypes:
    """All that the scores of some tokens are made of: `hidden @ weight.T`.

    Attributes:
        hidden: (M, d), the head's normalised bottleneck.
        weight: (K, d), the head's prototypes.
    """

    hidden: torch.Tensor
    weight: torch.Tensor

    def scores(self) -> torch.Tensor:
        """Scores (M, K) in float32, multiplied in the type that autocast is set to."""
        return F.linear(self.hidden, self.weight).float()

    def write_scores(self, rows: slice, out: torch.Tensor) -> None:
        """Write the scores of some rows into (n, K) float32; no gradients flow through them."""
        device = out.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            multiply(self.hidden[rows].to(dtype), self.weight.to(dtype), out)
        else:
            multiply(self.hidden[rows], self.weight, out)


def through_heads(
    network: Network, class_tokens: torch.Tensor, patch_tokens: torch.Tensor | None
) -> dict[str, BeforePrototypes]:
    """Class tokens and patch tokens through their heads, up to the prototypes.

    Where one head serves both, they go through it together, and its weight is normalised once.

    Args:
        network: backbone and heads.
        class_tokens: (C, D).
        patch_tokens: (M, D); None where there is no iBOT loss.

    Returns:
        "dino" of the class tokens and, where there are any, "ibot" of the patch tokens.
    """
    if patch_tokens is None:
        return {"dino": _through(network.dino_head, class_tokens)}
    if network.patch_head is not network.dino_head:
        return {
            "dino": _through(network.dino_head, class_tokens),
            "ibot": _through(network.patch_head, patch_tokens),
        }
    both = _through(network.dino_head, torch.cat([class_tokens, patch_tokens]))
    hidden = both.hidden.tensor_split([len(class_tokens)])
    return {name: BeforePrototypes(part, both.weight) for name, part in zip(("dino", "ibot"), hidden, strict=True)}


def _through(head: ProjectionHead, tokens: torch.Tensor) -> BeforePrototypes:
    return BeforePrototypes(head.bottleneck(tokens), head.last_layer.weight())


def multiply(rows: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
    """Write `rows @ weight.T` into `out`, where its memory is: a new tensor of scores costs as much as to fill it."""
    if rows.dtype == out.dtype:
        torch.mm(rows, weight.T, out=out)
    else:
        out.copy_(rows @ weight.T)


def row_chunks(rows: int, prototypes: int, device: torch.device) -> list[slice]:
    """Slices of the rows whose scores are held together."""
    size = max(CHUNK_ENTRIES.get(device.type, LARGE_CHUNK) // prototypes, 1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def prototype_cross_entropy(
    rows: BeforePrototypes, targets: Targets, row_weights: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted sum of the cross-entropies between targets and `softmax(scores / temperature)`.

    Products are taken in the type that autocast is set to; softmax, logarithm and sums in float32.

    Args:
        rows: what the M scores are made of; M may be 0.
        targets: gives the targets of a slice of the rows.
        row_weights: (M,).
        temperature: the student's.

    Returns:
        The sum, through which gradients flow, once; and its parts (M,), through which none do.
    """
    device = rows.hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    total, parts = _PrototypeCrossEntropy.apply(
        rows.hidden, rows.weight, targets, row_weights, temperature, dtype, torch.is_grad_enabled()
    )
    return total, parts


def cross_entropies(
    answers: Mapping[str, BeforePrototypes],
    targets: Mapping[str, Targets],
    row_weights: Mapping[str, torch.Tensor],
    temperature: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """`prototype_cross_entropy` of several kinds of tokens together: where they share prototypes, in one pass.

    Args:
        answers: what the scores are made of, by kind, as `through_heads` gives them.
        targets: by kind.
        row_weights: by kind.
        temperature: the student's.

    Returns:
        The sum, through which gradients flow, once; and its parts by kind, through which none do.
    """
    kinds = list(answers)
    if len(kinds) == 2 and answers[kinds[0]].weight is answers[kinds[1]].weight:
        first, second = (answers[kind] for kind in kinds)
        together = BeforePrototypes(torch.cat([first.hidden, second.hidden]), first.weight)
        weights = torch.cat([row_weights[kind] for kind in kinds])
        joined = one_after_the_other(targets[kinds[0]], len(first.hidden), targets[kinds[1]])
        total, parts = prototype_cross_entropy(together, joined, weights, temperature)
        return total, dict(zip(kinds, parts.tensor_split([len(first.hidden)]), strict=True))
    found = {
        kind: prototype_cross_entropy(answers[kind], targets[kind], row_weights[kind], temperature) for kind in kinds
    }
    losses = torch.stack([total for total, _ in found.values()])
    return losses.sum(), {kind: parts for kind, (_, parts) in found.items()}


def one_after_the_other(first: Targets, rows_of_first: int, second: Targets) -> Targets:
    """The targets of the first's rows, then those of the second's."""

    def write(rows: slice, out: torch.Tensor) -> None:
        before = min(max(rows_of_first - rows.start, 0), len(out))
        if before:
            first(slice(rows.start, rows.start + before), out[:before])
        if before < len(out):
            second(slice(rows.start + before - rows_of_first, rows.stop - rows_of_first), out[before:])

    return write


class _PrototypeCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: Targets,
        row_weights: torch.Tensor,
        temperature: float,
        dtype: torch.dtype | None,
        with_gradients: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scaled = hidden.float() / temperature
        factors = (row_weights / temperature).unsqueeze(1)
        parts = torch.empty(len(hidden), device=hidden.device)
        hidden_gradient = torch.empty_like(hidden, dtype=torch.float32) if with_gradients else None
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if with_gradients else None
        with torch.autocast(hidden.device.type, enabled=False):
            products = weight if dtype is None else weight.to(dtype)
            chunks = row_chunks(len(hidden), len(weight), hidden.device)
            # Made once for all chunks, and all is done in place.
            rows_held = max((chunk.stop - chunk.start for chunk in chunks), default=0)
            both = torch.empty(2, rows_held, len(weight), device=hidden.device)
            for chunk in chunks:
                scores, wanted = both[:, : chunk.stop - chunk.start]
                multiply(scaled[chunk].to(products.dtype), products, scores)
                targets(chunk, wanted)
                peak = scores.amax(dim=1)
                # As `vecdot`, which makes a tensor of all products before it adds them up.
                agreement = torch.bmm(wanted.unsqueeze(1), scores.unsqueeze(2)).flatten()
                probabilities = torch.softmax(scores, dim=1, out=scores)
                # The largest probability is 1 / sum exp(score - peak).
                log_sums = peak - probabilities.amax(dim=1).log()
                parts[chunk] = row_weights[chunk] * (log_sums - agreement)
                if hidden_gradient is not None and weight_gradient is not None:
                    gradient = probabilities.sub_(wanted).to(products.dtype)
                    hidden_gradient[chunk] = (gradient @ products) * factors[chunk]
                    weighted = (hidden[chunk] * factors[chunk]).to(products.dtype)
                    if dtype is None:
                        weight_gradient.addmm_(gradient.T, weighted)
                    else:
                        weight_gradient.add_(gradient.T @ weighted)
        ctx.gradients = hidden_gradient, weight_gradient
        ctx.types = hidden.dtype, weight.dtype
        ctx.mark_non_differentiable(parts)
        return parts.sum(), parts

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scale = gradients[0]
        hidden_gradient, weight_gradient = ctx.gradients
        hidden_type, weight_type = ctx.types
        # In place, as they are as large as the prototypes: a second backward pass would find them scaled.
        ctx.gradients = None
        return (
            hidden_gradient.mul_(scale).to(hidden_type),
            weight_gradient.mul_(scale).to(weight_type),
            *[None] * 5,
        )
