"""The blocks of the vision transformer: attention and MLP, over crops of several sizes packed into one.

Crops of one size are a tensor (B, T, D). Layers that treat each token alike (norms, linear layers) see the tokens of
all sizes together, as one (P, D); only attention keeps to the tokens of a crop.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from medino.core import to_device
from medino.models.config import BackboneConfig
from medino.models.drop_path import DROP_PATHS

Crops = Sequence[torch.Tensor]
"""Tokens (B, T, D) of each crop size, or for T = 1 (S, D)."""

Drawn = Sequence[torch.Tensor]
"""What drop path drew for a branch, for each crop size."""

Draws = tuple[Drawn, Drawn]
"""What it drew for attention and for the MLP."""


def packed(crops: Crops) -> torch.Tensor:
    """The tokens of all crops, (P, D)."""
    flat = [crop.flatten(0, -2) for crop in crops]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def unpacked(tokens: torch.Tensor, crops: Crops) -> list[torch.Tensor]:
    """Tokens (P, W) as the crops lie, each (B, T, W)."""
    if len(crops) == 1:
        return [tokens.view(*crops[0].shape[:-1], tokens.shape[-1])]
    parts = tokens.split([crop.shape[:-1].numel() for crop in crops])
    return [part.view(*crop.shape[:-1], part.shape[-1]) for part, crop in zip(parts, crops, strict=True)]


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of each crop."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, T, 3 D) as queries, keys and values, each (B, heads, T, D / heads)."""
        query, key, value = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """The attention of tokens (B, T, D) itself, (B, heads, T, T); rows sum to 1."""
        query, key, _ = self.split(self.qkv(x))
        return (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(dim=-1)

    def forward(self, tokens: torch.Tensor, crops: Crops) -> list[torch.Tensor]:
        """Each token of the packed (P, D) as a mixture of its crop's values, before the projection: (B, T, D) each."""
        attended = []
        for qkv in unpacked(self.qkv(tokens), crops):
            attended.append(F.scaled_dot_product_attention(*self.split(qkv)).transpose(1, 2).flatten(2))
        return attended


class MLP(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer takes, (..., hidden)."""
        return F.gelu(self.fc1(x))

    @property
    def last(self) -> nn.Linear:
        """The last layer."""
        return self.fc2


class _GELULinear(torch.autograd.Function):
    """`linear(gelu(x))` that keeps x alone and computes the GELU again where the weight's gradient needs it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias_type = bias.dtype
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        flat = gradient.flatten(0, -2)
        of_weight = (flat.T @ F.gelu(x).to(flat.dtype).flatten(0, -2)).to(weight.dtype) if wants_weight else None
        of_bias = flat.sum(dim=0).to(ctx.bias_type) if wants_bias else None
        of_x = gradient @ weight.to(gradient.dtype) if wants_x else None
        if of_x is not None:
            # In place: memory for the widest tensors of a step costs nearly as much as to fill it.
            torch.ops.aten.gelu_backward.grad_input(of_x, x, grad_input=of_x)
        return of_x, of_weight, of_bias


class SwiGLU(nn.Module):
    """A gated MLP (Shazeer 2020): a SiLU gate times a value."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(embed_dim, 2 * hidden_dim)
        self.w3 = nn.Linear(hidden_dim, embed_dim)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer takes, (..., hidden)."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return F.silu(gate) * value

    @property
    def last(self) -> nn.Linear:
        """The last layer."""
        return self.w3


class LayerScale(nn.Module):
    """A learned factor for each channel of a branch."""

    def __init__(self, embed_dim: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.full((embed_dim,), initial))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape, (..., D)."""
        return x * self.gamma


def scaled_linear(scale: nn.Module, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """`scale(layer(x))`; a LayerScale is taken into the weight, which is smaller than the tokens."""
    if not isinstance(scale, LayerScale):
        return scale(layer(x))
    scaled = F.linear(x, layer.weight * scale.gamma[:, None], layer.bias * scale.gamma)
    adapter = getattr(layer, "adapter", None)
    # Beside it, not into it: an adapter that is still zero then changes nothing, to the bit.
    return scaled if adapter is None else scaled + scale(adapter(x))


def reached_tokens(
    crop: torch.Tensor, selected: torch.Tensor, kept: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of the selected tokens a branch reaches that runs on some samples.

    Args:
        crop: (B, T, D).
        selected: (S,), numbers b T + t.
        kept: the samples that it runs on; None: all.

    Returns:
        Places in `selected`, and the numbers of the same tokens among those of the samples kept.
    """
    if kept is None:
        return torch.arange(len(selected), device=selected.device), selected
    batch, length = crop.shape[:2]
    slots = torch.full((batch,), -1, device=kept.device)
    slots[kept] = torch.arange(len(kept), device=kept.device)
    slot = slots[selected // length]
    places = (slot >= 0).nonzero()[:, 0]
    return places, slot[places] * length + selected[places] % length


class Block(nn.Module):
    """Attention, then the MLP, each normalised before, scaled after and added to what came in."""

    def __init__(self, config: BackboneConfig, drop_path_rate: float) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, config.ffn_width
        scale = config.layerscale_init
        self.drop_path_rate = drop_path_rate
        self.drop_path = DROP_PATHS[config.drop_path]
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, config.num_heads)
        self.ls1 = nn.Identity() if scale is None else LayerScale(dim, scale)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim, hidden) if config.ffn_layer == "mlp" else SwiGLU(dim, hidden)
        self.ls2 = nn.Identity() if scale is None else LayerScale(dim, scale)

    def draw(self, crops: Crops, generator: torch.Generator | None) -> Draws | None:
        """Draw the drop path of a training step for both branches and each crop size; None without drop path."""
        if not (self.training and self.drop_path_rate > 0):
            return None
        first, second = (
            [to_device(self.drop_path.draw(len(crop), self.drop_path_rate, generator), crop.device) for crop in crops]
            for _ in range(2)
        )
        return first, second

    def forward(self, crops: Crops, draws: Draws | None = None) -> list[torch.Tensor]:
        """The tokens of each crop size, (B, T, D), after both branches; `draws` as `draw` gives them."""
        first, second = (None, None) if draws is None else draws
        kept = self.taken(crops, first)
        attended = packed(self.attn(self.norm1(packed(kept)), kept))
        crops = self.added(crops, unpacked(scaled_linear(self.ls1, self.attn.proj, attended), kept), first)
        kept = self.taken(crops, second)
        return self.added(crops, unpacked(self.mlp_branch(packed(kept)), kept), second)

    def forward_selected(self, crops: Crops, selected: Crops, draws: Draws | None = None) -> list[torch.Tensor]:
        """Some of the tokens that `forward` gives, without the work that only the others need.

        Args:
            crops: tokens of each crop size, (B, T, D).
            selected: of each crop size the numbers (S,) of the tokens wanted, which count through its crops, b T + t.
            draws: as `draw` gives them.

        Returns:
            The tokens of each crop size, (S, D).
        """
        first, second = (None, None) if draws is None else draws
        kept = self.taken(crops, first)
        attended = self.attn(self.norm1(packed(kept)), kept)
        tokens = [crop.flatten(0, 1).index_select(0, numbers) for crop, numbers in zip(crops, selected, strict=True)]
        reached = self.reached(crops, selected, first)
        taken = [
            part.flatten(0, 1).index_select(0, numbers) for part, (_, numbers) in zip(attended, reached, strict=True)
        ]
        branch = unpacked(scaled_linear(self.ls1, self.attn.proj, packed(taken)), taken)
        tokens = self.added_to_some(tokens, branch, reached, crops, first)
        reached = self.reached(crops, selected, second)
        taken = [token.index_select(0, places) for token, (places, _) in zip(tokens, reached, strict=True)]
        branch = unpacked(self.mlp_branch(packed(taken)), taken)
        return self.added_to_some(tokens, branch, reached, crops, second)

    def reached(self, crops: Crops, selected: Crops, drawn: Drawn | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """`reached_tokens` of each crop size."""
        rows = [None] * len(crops) if drawn is None else drawn
        return [reached_tokens(crop, numbers, kept) for crop, numbers, kept in zip(crops, selected, rows, strict=True)]

    def added_to_some(
        self,
        tokens: Crops,
        branch: Crops,
        reached: Sequence[tuple[torch.Tensor, torch.Tensor]],
        crops: Crops,
        drawn: Drawn | None,
    ) -> list[torch.Tensor]:
        """Selected tokens (S, D) of each crop size, those that a branch reached with what it gave for them."""
        kept = [len(crop) for crop in crops] if drawn is None else [len(rows) for rows in drawn]
        return [
            token.index_add(0, places, part.to(token.dtype), alpha=len(crop) / samples)
            for token, part, (places, _), crop, samples in zip(tokens, branch, reached, crops, kept, strict=True)
        ]

    def mlp_branch(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the MLP adds to packed tokens."""
        normed, mlp, scale = self.norm2(tokens), self.mlp, self.ls2
        trains = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if trains and isinstance(mlp, MLP) and isinstance(scale, LayerScale) and not hasattr(mlp.last, "adapter"):
            # The hidden layer is four times as wide as the tokens, and GELU costs little beside the products around it.
            weight, bias = mlp.last.weight * scale.gamma[:, None], mlp.last.bias * scale.gamma
            return _GELULinear.apply(mlp.fc1(normed), weight, bias)
        return scaled_linear(scale, mlp.last, mlp.hidden(normed))

    def taken(self, crops: Crops, drawn: Drawn | None) -> Crops:
        """What a branch runs on."""
        if drawn is None:
            return crops
        return [self.drop_path.take(crop, each) for crop, each in zip(crops, drawn, strict=True)]

    def added(self, crops: Crops, branch: Crops, drawn: Drawn | None) -> list[torch.Tensor]:
        """The crops with what a branch gave."""
        if drawn is None:
            return [crop + part for crop, part in zip(crops, branch, strict=True)]
        return [self.drop_path.add(crop, part, each) for crop, part, each in zip(crops, branch, drawn, strict=True)]
