"""The projection head of DINO and iBOT: tokens to scores over prototypes."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn


class WeightNormedLinear(nn.Module):
    """A linear layer without bias whose weight is a gain times a direction, `g * v / |v|` for each row.

    PyTorch's own `weight_norm` does the same under other parameter names; these are the published checkpoints'.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.empty(out_features, 1))
        self.weight_v = nn.Parameter(torch.empty(out_features, in_features))

    def weight(self) -> torch.Tensor:
        """The weight itself, (out_features, in_features): whoever needs it more than once computes it once."""
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (..., out_features)."""
        return F.linear(x, self.weight())


class ProjectionHead(nn.Module):
    """MLP to a bottleneck, L2 normalisation, weight-normed linear layer to the prototypes; (..., D) to (..., K).

    Args:
        in_dim: the backbone's token width D.
        prototypes: their number K.
        hidden_dim: width inside the MLP.
        bottleneck_dim: width before the prototypes.
        layers: linear layers of the MLP; 1 is a single linear layer without GELU.
        fixed_gain: keep the prototypes' gains at 1 and don't train them (DINO v1's `norm_last_layer`).
        generator: draws the initial weights; the global generator if None.
    """

    def __init__(
        self,
        in_dim: int,
        prototypes: int,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        layers: int = 3,
        fixed_gain: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [in_dim, *[hidden_dim] * (layers - 1), bottleneck_dim]
        linear = [nn.Linear(before, after) for before, after in itertools.pairwise(widths)]
        steps: list[nn.Module] = [linear[0]]
        for layer in linear[1:]:
            steps += [nn.GELU(), layer]
        self.mlp = steps[0] if layers == 1 else nn.Sequential(*steps)
        self.last_layer = WeightNormedLinear(bottleneck_dim, prototypes)
        self.last_layer.weight_g.requires_grad = not fixed_gain
        self.initialize(generator)

    def initialize(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: truncated normal in the MLP, PyTorch's default for the prototypes, gains 1."""
        for module in self.mlp.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
        bound = 1 / math.sqrt(self.last_layer.weight_v.shape[1])
        nn.init.uniform_(self.last_layer.weight_v, -bound, bound, generator=generator)
        nn.init.ones_(self.last_layer.weight_g)

    def bottleneck(self, x: torch.Tensor) -> torch.Tensor:
        """What meets the prototypes, (..., bottleneck_dim): unit vectors, normalised in float32."""
        # 1e-12 is no protection against the zeros of a float16 MLP, whose smallest number is 6e-8.
        x = self.mlp(x)
        unit = F.normalize(x.float(), dim=-1, eps=1e-6 if x.dtype == torch.float16 else 1e-12)
        return unit.to(self.last_layer.weight_v.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (..., K), not yet divided by a temperature."""
        return self.last_layer(self.bottleneck(x))
