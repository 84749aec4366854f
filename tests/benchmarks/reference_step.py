"""The yardstick: a DINOv2 step as the recipe's formulas read, one after the other, eager, nothing packed or chunked.

Crop sizes go through the network one after the other, drop path runs subsets of the batch, the losses see full logits
and loop over pairs of views, AdamW and the teacher's average are PyTorch's defaults. Attention is PyTorch's fused one,
which stands for the reference's memory-efficient attention. Parameter names are the published ones, so that both steps
start from one state. `tests/ssl/test_reference_step.py` holds it to the golden numbers.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from medino.models import BackboneConfig
from medino.ssl import PretrainingBatch, StepSettings, parameter_rules
from medino.ssl.parameter_groups import optimizer_groups, set_step_settings

Branch = Callable[[torch.Tensor], torch.Tensor]


class ReferenceAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))


class ReferenceMLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class ReferenceSwiGLU(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class ReferenceScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


class ReferenceBlock(nn.Module):
    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.rate = config.drop_path_rate
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.ls1, self.ls2 = ReferenceScale(dim), ReferenceScale(dim)
        self.attn = ReferenceAttention(dim, config.num_heads)
        feed_forward = ReferenceMLP if config.ffn_layer == "mlp" else ReferenceSwiGLU
        self.mlp = feed_forward(dim, config.ffn_width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.add(x, lambda kept: self.ls1(self.attn(self.norm1(kept))))
        return self.add(x, lambda kept: self.ls2(self.mlp(self.norm2(kept))))

    def add(self, x: torch.Tensor, branch: Branch) -> torch.Tensor:
        if not (self.training and self.rate > 0):
            return x + branch(x)
        batch = len(x)
        kept = max(int(batch * (1 - self.rate)), 1)
        rows = torch.randperm(batch, device=x.device)[:kept]
        residual = branch(x[rows]).flatten(1)
        return torch.index_add(x.flatten(1), 0, rows, residual.to(x.dtype), alpha=batch / kept).view_as(x)


class ReferenceBackbone(nn.Module):
    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        dim, side = config.embed_dim, config.image_size // config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, dim))
        if config.num_register_tokens:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, config.patch_size, config.patch_size)
        self.blocks = nn.ModuleList(ReferenceBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def positions(self, rows: int, columns: int) -> torch.Tensor:
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if (rows, columns) == (side, side):
            return self.pos_embed
        square = self.pos_embed[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        antialias, offset = self.config.interpolate_antialias, self.config.interpolate_offset
        if offset:
            factors = ((rows + offset) / side, (columns + offset) / side)
            resized = F.interpolate(square, scale_factor=factors, mode="bicubic", antialias=antialias)
        else:
            resized = F.interpolate(square, size=(rows, columns), mode="bicubic", antialias=antialias)
        return torch.cat([self.pos_embed[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def forward(self, images: torch.Tensor, masks: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Class tokens (B, D) and patch tokens (B, N, D)."""
        patches = self.patch_embed.proj(images)
        rows, columns = patches.shape[-2:]
        patches = patches.flatten(2).transpose(1, 2)
        if masks is not None:
            patches = torch.where(masks.unsqueeze(-1), self.mask_token.to(patches.dtype), patches)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        x = x + self.positions(rows, columns)
        registers = self.config.num_register_tokens
        if registers:
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x[:, 0], x[:, 1 + registers :]


class ReferenceHead(nn.Module):
    def __init__(self, dim: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last_layer = nn.Module()
        self.last_layer.weight_g = nn.Parameter(torch.ones(prototypes, 1))
        self.last_layer.weight_v = nn.Parameter(torch.zeros(prototypes, bottleneck))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.normalize(self.mlp(x), dim=-1)
        return F.linear(x, torch._weight_norm(self.last_layer.weight_v, self.last_layer.weight_g, 0))


class ReferenceNetwork(nn.Module):
    """Backbone and heads; `widths` of each head: hidden, bottleneck, prototypes."""

    def __init__(self, config: BackboneConfig, widths: dict[str, tuple[int, int, int]]) -> None:
        super().__init__()
        self.backbone = ReferenceBackbone(config)
        for name, sizes in widths.items():
            self.add_module(name, ReferenceHead(config.embed_dim, *sizes))

    def scores(self, class_tokens: torch.Tensor, patch_tokens: torch.Tensor) -> Sequence[torch.Tensor]:
        """Logits of both; where one head serves both, they go through it together."""
        if hasattr(self, "ibot_head"):
            return self.dino_head(class_tokens), self.ibot_head(patch_tokens)
        both = self.dino_head(torch.cat([class_tokens, patch_tokens]))
        return both.tensor_split([len(class_tokens)])


class ReferenceStep:
    """Student, teacher, centres and optimiser, that take a step at a time."""

    def __init__(
        self,
        config: BackboneConfig,
        widths: dict[str, tuple[int, int, int]],
        state: dict[str, torch.Tensor],
        centering: str = "centering",
        layer_decay: float = 0.9,
        device: torch.device | str = "cpu",
    ) -> None:
        self.student, self.teacher = (ReferenceNetwork(config, widths).to(device) for _ in range(2))
        for network in (self.student, self.teacher):
            network.load_state_dict(state, strict=True)
        self.teacher.requires_grad_(False).eval()
        self.centering = centering
        self.centers = {
            name: torch.zeros(1, widths.get(f"{name}_head", widths["dino_head"])[2], device=device)
            for name in ("dino", "ibot")
        }
        rules = parameter_rules(self.student, config.depth, layer_decay=layer_decay)
        self.optimizer = torch.optim.AdamW(optimizer_groups(self.student, rules))

    def __call__(self, batch: PretrainingBatch, settings: StepSettings) -> dict[str, float]:
        """Take one step; gives the loss terms, weights included."""
        set_step_settings(
            self.optimizer, settings.learning_rate, settings.last_layer_learning_rate, settings.weight_decay
        )
        self.optimizer.zero_grad()
        terms = self.losses(batch, settings.teacher_temperature)
        sum(terms.values()).backward()
        for part in self.student.children():
            torch.nn.utils.clip_grad_norm_(part.parameters(), 3.0)
        self.optimizer.step()
        with torch.no_grad():
            teacher, student = list(self.teacher.parameters()), list(self.student.parameters())
            torch._foreach_mul_(teacher, settings.momentum)
            torch._foreach_add_(teacher, student, alpha=1 - settings.momentum)
        return {name: term.item() for name, term in terms.items()}

    def losses(self, batch: PretrainingBatch, temperature: float) -> dict[str, torch.Tensor]:
        masks, images = batch.masks, batch.batch_size
        with torch.no_grad():
            class_tokens, patches = self.teacher.backbone(batch.global_crops)
            class_scores, patch_scores = self.teacher.scores(class_tokens, patches[masks])
            targets = self.targets("dino", class_scores, temperature)
            patch_targets = self.targets("ibot", patch_scores, temperature)
            first, second = targets.chunk(2)

        global_class, global_patches = self.student.backbone(batch.global_crops, masks)
        local_class, _ = self.student.backbone(batch.local_crops)
        scores, masked_scores = self.student.scores(torch.cat([local_class, global_class]), global_patches[masks])
        local_scores, global_scores = scores.tensor_split([len(local_class)])
        crops = len(local_class) // images
        pairs = 2 * crops + 2
        local = sum(
            cross_entropy(student, target).mean() for student in local_scores.chunk(crops) for target in (first, second)
        )
        weights = (1 / masks.sum(-1).clamp(min=1)).unsqueeze(-1).expand_as(masks)[masks]
        return {
            "dino_local": local / pairs,
            "dino_global": 2 * cross_entropy(global_scores, torch.cat([second, first])).mean() / pairs,
            "ibot": (cross_entropy(masked_scores, patch_targets) * weights).sum() / len(masks),
            "koleo": 0.1 * sum(spread(crop) for crop in global_class.chunk(2)),
        }

    def targets(self, name: str, scores: torch.Tensor, temperature: float) -> torch.Tensor:
        if self.centering == "sinkhorn_knopp":
            return sinkhorn(scores, temperature)
        center = self.centers[name]
        self.centers[name] = center * 0.9 + scores.mean(dim=0, keepdim=True) * 0.1
        return F.softmax((scores - center) / temperature, dim=-1)


def cross_entropy(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(target * F.log_softmax(student.float() / 0.1, dim=-1)).sum(dim=-1)


def sinkhorn(scores: torch.Tensor, temperature: float) -> torch.Tensor:
    plan = torch.exp(scores.float() / temperature).t()
    prototypes, samples = plan.shape
    plan = plan / plan.sum()
    for _ in range(3):
        plan = plan / plan.sum(dim=1, keepdim=True) / prototypes
        plan = plan / plan.sum(dim=0, keepdim=True) / samples
    return (plan * samples).t()


def spread(features: torch.Tensor) -> torch.Tensor:
    """KoLeo of one crop's class tokens."""
    with torch.autocast(features.device.type, enabled=False):
        unit = F.normalize(features.float(), dim=-1, eps=1e-8)
        with torch.no_grad():
            cosines = (unit @ unit.t()).fill_diagonal_(-1)
        distances = (unit - unit[cosines.argmax(dim=1)]).norm(dim=-1)
        return -torch.log(distances + 1e-8).mean()
