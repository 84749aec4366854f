"""What a backbone refuses: settings that contradict each other, images that can't be cut into patches."""

import torch

from medino.core import InputError
from medino.models.config import BackboneConfig


def check_config(config: BackboneConfig) -> None:
    """Refuse settings that are out of range or contradict each other."""
    for name in ("embed_dim", "depth", "num_heads", "patch_size", "image_size"):
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}; use a whole number from 1")
    if not isinstance(config.num_register_tokens, int) or config.num_register_tokens < 0:
        raise InputError(f"num_register_tokens is {config.num_register_tokens!r}; use a whole number from 0")
    if not isinstance(config.layerscale_init, float | int | None):
        raise InputError(f"layerscale_init is {config.layerscale_init!r}; use a number, or null for none")
    if config.embed_dim % config.num_heads:
        raise InputError(f"embed_dim {config.embed_dim} is not a multiple of num_heads {config.num_heads}")
    if config.image_size < config.patch_size:
        raise InputError(f"image_size {config.image_size} is smaller than a patch of {config.patch_size} pixels")
    if config.ffn_layer not in ("mlp", "swiglufused"):
        raise InputError(f"ffn_layer is '{config.ffn_layer}'; use 'mlp' or 'swiglufused'")
    if config.drop_path not in ("batch_subset", "per_sample"):
        raise InputError(f"drop_path is '{config.drop_path}'; use 'batch_subset' or 'per_sample'")
    if not 0 <= config.drop_path_rate < 1:
        raise InputError(f"drop_path_rate is {config.drop_path_rate}; use a share from 0 up to, but not, 1")


def check_images(images: torch.Tensor, patch_size: int) -> None:
    """Refuse images that can't be cut into whole patches."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images have shape {tuple(images.shape)}; a backbone takes (images, 3, height, width)")
    height, width = images.shape[-2:]
    if min(height, width) < patch_size:
        raise InputError(f"an image of {height} x {width} pixels is smaller than a patch of {patch_size} pixels")
    if height % patch_size or width % patch_size:
        near = [max(round(side / patch_size), 1) * patch_size for side in (height, width)]
        raise InputError(
            f"an image of {height} x {width} pixels can't be cut into patches of {patch_size} pixels; "
            f"resize or crop it to a multiple, such as {near[0]} x {near[1]}"
        )
