"""The vision transformer of DINO and DINOv2: one network, from the patches at the top to the tokens at the end.

Parameter names are those of Meta's published weights (`blocks.0.attn.qkv.weight`, ...), so these load with
`strict=True`. Architecture: Dosovitskiy et al. 2021 (arXiv 2010.11929), Caron et al. 2021 (2104.14294), Oquab et al.
2023 (2304.07193), registers: Darcet et al. 2023 (2309.16588), LayerScale: Touvron et al. 2021 (2103.17239), SwiGLU:
Shazeer 2020 (2002.05202).
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medino.core import InputError
from medino.models.blocks import Block, LayerScale
from medino.models.checks import check_config, check_images
from medino.models.config import BackboneConfig
from medino.models.position import resize_position_embedding
from medino.models.tokens import SelectedTokens, Tokens


class PatchEmbedding(nn.Module):
    """Cuts an image into patches and projects each to a token; (B, 3, H, W) to (B, D, h, w)."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings of the patches."""
        return self.proj(images)


class VisionTransformer(nn.Module):
    """Images (B, 3, H, W), normalised, to class token, registers and patch map.

    Args:
        config: the settings.
        generator: draws the initial weights; the global generator if None.

    Attributes:
        checkpoint_blocks: keep what enters each block instead of all that it computes, and compute it again in the
            backward pass (Chen et al. 2016, 1604.06174): the same numbers with less memory and more time.

    Raises:
        InputError: the settings contradict each other.
    """

    def __init__(self, config: BackboneConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        self.checkpoint_blocks = False
        dim, side = config.embed_dim, config.image_size // config.patch_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + side * side, dim))
        registers = config.num_register_tokens
        self.register_tokens = nn.Parameter(torch.empty(1, registers, dim)) if registers else None
        self.mask_token = nn.Parameter(torch.empty(1, dim)) if config.mask_token else None
        self.patch_embed = PatchEmbedding(config.patch_size, dim)
        self.blocks = nn.ModuleList(Block(config, rate) for rate in drop_path_rates(config))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.initialize(generator)

    def initialize(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew; on the CPU, so that a seed means the same weights on every device."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, module.initial)
            elif isinstance(module, nn.Conv2d):
                # PyTorch's own default, as in the reference.
                bound = 1 / math.sqrt(module.weight[0].numel())
                for parameter in module.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
        nn.init.trunc_normal_(self.pos_embed, std=0.02, generator=generator)
        if self.mask_token is None:
            nn.init.trunc_normal_(self.cls_token, std=0.02, generator=generator)
        else:
            nn.init.normal_(self.cls_token, std=1e-6, generator=generator)
            nn.init.zeros_(self.mask_token)
        if self.register_tokens is not None:
            nn.init.normal_(self.register_tokens, std=1e-6, generator=generator)

    def compile_blocks(self) -> None:
        """Compile the blocks, when they are first run, for the crop sizes that they then see."""
        for block in self.blocks:
            block.compile()

    def embed(self, images: torch.Tensor, masks: torch.Tensor | None = None) -> tuple[torch.Tensor, tuple[int, int]]:
        """The tokens that enter the first block, (B, 1 + R + h * w, D), and the grid (h, w)."""
        check_images(images, self.config.patch_size)
        patches = self.patch_embed(images)
        batch, _, *grid = patches.shape
        rows, columns = grid
        patches = patches.flatten(2).transpose(1, 2)
        if masks is not None:
            patches = self.masked(patches, masks)
        positions = resize_position_embedding(
            self.pos_embed, (rows, columns), self.config.interpolate_offset, self.config.interpolate_antialias
        )
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), patches], dim=1)
        tokens = tokens + positions.to(tokens.dtype)
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(batch, -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        return tokens, (rows, columns)

    def masked(self, patches: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Patch embeddings (B, N, D) with the mask token where `masks` (B, N) is true."""
        if self.mask_token is None:
            raise InputError(
                f"the backbone '{self.config.name}' has no mask token and can't mask patches; "
                "leave the masks out or set mask_token"
            )
        if masks.shape != patches.shape[:2]:
            raise InputError(
                f"masks have shape {tuple(masks.shape)}, the images have (images, patches) = {tuple(patches.shape[:2])}"
            )
        return torch.where(masks[..., None].bool(), self.mask_token.to(patches.dtype), patches)

    def forward_features(
        self, images: torch.Tensor, masks: torch.Tensor | None = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The last block's output under the reference's names.

        Returns:
            `x_prenorm` (B, 1 + R + N, D) before the final norm; `x_norm_clstoken` (B, D), `x_norm_regtokens` (B, R, D)
            and `x_norm_patchtokens` (B, N, D) after it.
        """
        tokens, _ = self.embed(images, masks)
        (tokens,) = self.through([tokens], self.blocks, generator)
        normed = self.norm(tokens)
        first_patch = 1 + self.config.num_register_tokens
        return {
            "x_norm_clstoken": normed[:, 0],
            "x_norm_regtokens": normed[:, 1:first_patch],
            "x_norm_patchtokens": normed[:, first_patch:],
            "x_prenorm": tokens,
        }

    def forward(
        self, images: torch.Tensor, masks: torch.Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tokens:
        """Tokens after the final norm.

        Args:
            images: (B, 3, H, W), H and W multiples of the patch size.
            masks: (B, N), true where the mask token takes the patch's place; N = h * w, row-major.
            generator: on the CPU; draws the drop path in training mode, the global generator if None.

        Raises:
            InputError: the images can't be cut into patches, or the masks don't fit.
        """
        (tokens,) = self.forward_crops([images], [masks], generator)
        return tokens

    def forward_crops(
        self,
        crops: Sequence[torch.Tensor],
        masks: Sequence[torch.Tensor | None] | None = None,
        generator: torch.Generator | None = None,
    ) -> list[Tokens]:
        """Several batches, each of its own crop size, in one pass; the drop path of each is drawn on its own."""
        tokens, grids = self.embed_crops(crops, masks)
        tokens = self.through(tokens, self.blocks, generator)
        return [self.named(self.norm(each), grid) for each, grid in zip(tokens, grids, strict=True)]

    def forward_selected(
        self,
        crops: Sequence[torch.Tensor],
        selected: Sequence[torch.Tensor | None],
        masks: Sequence[torch.Tensor | None] | None = None,
        generator: torch.Generator | None = None,
    ) -> list[SelectedTokens]:
        """Class tokens and some of the patches: as `forward_crops`, but the last block works for these alone.

        Args:
            crops: batches (B, 3, H, W), each of its own crop size.
            selected: for each of them (B, N) bool, the patches wanted; None: none.
            masks: as for `forward`.
            generator: as for `forward`.
        """
        tokens, _ = self.embed_crops(crops, masks)
        numbers = [self.token_numbers(each, wanted) for each, wanted in zip(tokens, selected, strict=True)]
        *blocks, last = self.blocks
        tokens = self.through(tokens, blocks, generator)
        assert isinstance(last, Block)
        draws = last.draw(tokens, generator)
        if draws is None or last.drop_path.skips_work:
            tokens = last.forward_selected(tokens, numbers, draws)
        else:
            whole = last(tokens, draws)
            tokens = [each.flatten(0, 1)[wanted] for each, wanted in zip(whole, numbers, strict=True)]
        parts = [self.norm(each).tensor_split([len(crop)]) for each, crop in zip(tokens, crops, strict=True)]
        return [SelectedTokens(class_token, patches) for class_token, patches in parts]

    def token_numbers(self, tokens: torch.Tensor, selected: torch.Tensor | None) -> torch.Tensor:
        """The class tokens of (B, T, D), then the selected patches, by their numbers b T + t."""
        batch, length = tokens.shape[:2]
        numbers = torch.arange(batch * length, device=tokens.device).view(batch, length)
        if selected is None:
            return numbers[:, 0]
        return torch.cat([numbers[:, 0], numbers[:, 1 + self.config.num_register_tokens :][selected]])

    def embed_crops(
        self, crops: Sequence[torch.Tensor], masks: Sequence[torch.Tensor | None] | None
    ) -> tuple[list[torch.Tensor], list[tuple[int, int]]]:
        """`embed` for several batches."""
        masks = [None] * len(crops) if masks is None else masks
        embedded = [self.embed(images, mask) for images, mask in zip(crops, masks, strict=True)]
        return [tokens for tokens, _ in embedded], [grid for _, grid in embedded]

    def through(
        self, tokens: list[torch.Tensor], blocks: Iterable[nn.Module], generator: torch.Generator | None = None
    ) -> list[torch.Tensor]:
        """Tokens (B, T, D) of each crop size after some blocks."""
        for block in blocks:
            assert isinstance(block, Block)
            draws = block.draw(tokens, generator)
            if self.checkpoint_blocks and torch.is_grad_enabled():
                # All that is random was drawn before, so that no generator has to be set back.
                tokens = checkpoint(block, tokens, draws, use_reentrant=False, preserve_rng_state=False)
            else:
                tokens = block(tokens, draws)
        return tokens

    def intermediate(self, images: torch.Tensor, layers: int | Sequence[int]) -> list[Tokens]:
        """Tokens after some of the blocks, each through the final norm.

        Args:
            images: (B, 3, H, W).
            layers: how many of the last blocks, or which blocks, counted from 0.

        Returns:
            One `Tokens` for each block, in the order of the blocks.

        Raises:
            InputError: the network has no such block.
        """
        depth = len(self.blocks)
        wanted = set(range(depth - layers, depth)) if isinstance(layers, int) else set(layers)
        if not wanted or not wanted <= set(range(depth)):
            raise InputError(f"layers {layers} asked for, but the backbone has blocks 0 to {depth - 1}")
        tokens, grid = self.embed(images)
        outputs = []
        for index, block in enumerate(self.blocks):
            (tokens,) = self.through([tokens], [block])
            if index in wanted:
                outputs.append(self.named(self.norm(tokens), grid))
        return outputs

    def last_attention(self, images: torch.Tensor) -> torch.Tensor:
        """Attention of the last block, (B, heads, T, T); T counts class token, registers and patches in this order."""
        tokens, _ = self.embed(images)
        (tokens,) = self.through([tokens], self.blocks[:-1])
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return last.attn.weights(last.norm1(tokens))

    def named(self, tokens: torch.Tensor, grid: tuple[int, int]) -> Tokens:
        """Split (B, 1 + R + h * w, D) into its parts."""
        first_patch = 1 + self.config.num_register_tokens
        return Tokens(
            class_token=tokens[:, 0],
            registers=tokens[:, 1:first_patch],
            patches=tokens[:, first_patch:].unflatten(1, grid),
        )


def drop_path_rates(config: BackboneConfig) -> list[float]:
    """Each block's drop path rate: the same for all (DINOv2), or rising linearly from 0 (DINO v1)."""
    if config.drop_path == "batch_subset":
        return [config.drop_path_rate] * config.depth
    return torch.linspace(0, config.drop_path_rate, config.depth, device="cpu").tolist()
