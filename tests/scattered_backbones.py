"""Small backbones none of whose weights are zero, for tests that compare features with another library's."""

import torch

from medino.core import torch_generator
from medino.models import BackboneConfig, VisionTransformer, build_backbone

SMALL = BackboneConfig(embed_dim=32, depth=4, num_heads=4, patch_size=8, image_size=32, layerscale_init=0.5)


def scattered(config: BackboneConfig = SMALL) -> VisionTransformer:
    """A backbone none of whose weights are zero."""
    backbone = build_backbone(config).eval()
    generator = torch_generator(0, "layouts")
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return backbone


def features(backbone: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        tokens = backbone(images)
    return torch.cat([tokens.class_token[:, None], tokens.registers, tokens.patches.flatten(1, 2)], dim=1)


def images(side: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch_generator(0, "images"))
