"""Backbones for other libraries: Meta's, Hugging Face's and timm's files, and ONNX."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from medino.core import InputError, whole_file, whole_folder, write_json
from medino.models.layouts import resizing
from medino.models.layouts.hugging_face import in_the_hubs_names
from medino.models.layouts.timm import in_timms_names
from medino.models.lora import merge_lora
from medino.models.vision_transformer import VisionTransformer

Target = Literal["meta", "hf", "timm", "onnx"]

TARGETS: tuple[Target, ...] = ("meta", "hf", "timm", "onnx")


def export_backbone(backbone: VisionTransformer, target: Target, path: str | Path) -> list[str]:
    """Write a backbone for another library.

    Args:
        backbone: on any device; it is left as it is. Adapters (`add_lora`) are merged into their layers.
        target: "meta": a bare state dict (`.pth`); "hf": a folder for `Dinov2Model` or `Dinov2WithRegistersModel`;
            "timm": `.safetensors` in timm's names; "onnx": `.onnx`, which takes images of any size and number.
        path: the file, or the folder for "hf".

    Returns:
        What the user should know of the difference between the two, in sentences; none where there is none.

    Raises:
        InputError: the target is not known, can't express this network, or the path has another ending.
    """
    path = Path(path)
    if target not in TARGETS:
        raise InputError(f"backbones can't be exported to {target!r}; choose one of {', '.join(TARGETS)}")
    endings = {"meta": ".pth", "timm": ".safetensors", "onnx": ".onnx"}
    if target in endings and path.suffix != endings[target]:
        raise InputError(f"{path.name} does not end in {endings[target]}, as files for {target} do; give such a name")
    if target == "hf" and path.is_file():
        raise InputError(f"{path} is a file, and for hf a folder is written; give a name that is free")
    if path.is_dir() and (target != "hf" or any(path.iterdir())):
        raise InputError(f"{path} is a folder with something in it; give a name that is free")
    backbone = merge_lora(backbone).cpu().float()
    state = {key: value.detach().contiguous() for key, value in backbone.state_dict().items()}
    write: dict[str, Callable[[], list[str]]] = {
        "meta": lambda: _meta(state, path),
        "hf": lambda: _hugging_face(backbone, state, path),
        "timm": lambda: _timm(backbone, state, path),
        "onnx": lambda: _onnx(backbone, path),
    }
    notes = write[target]()
    return notes if target == "onnx" else notes + _other_resizing(backbone, target)


def _meta(state: dict[str, torch.Tensor], path: Path) -> list[str]:
    with whole_file(path) as temporary:
        torch.save(state, temporary)
    return []


def _timm(backbone: VisionTransformer, state: dict[str, torch.Tensor], path: Path) -> list[str]:
    with whole_file(path) as temporary:
        save_file(in_timms_names(state), temporary, metadata={"format": "pt"})
    config = backbone.config
    settings: dict[str, Any] = {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.embed_dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "init_values": config.layerscale_init,
        "num_classes": 0,
    }
    if config.num_register_tokens:
        settings |= {"reg_tokens": config.num_register_tokens, "no_embed_class": True}
    if config.ffn_layer != "mlp":
        ratio = 2 * config.ffn_width / config.embed_dim
        settings |= {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU", "mlp_ratio": ratio}
    notes = [f"in timm: VisionTransformer(**{json.dumps(settings)})"]
    return notes + (["the mask token is left out: timm has none"] if config.mask_token else [])


def _hugging_face(backbone: VisionTransformer, state: dict[str, torch.Tensor], path: Path) -> list[str]:
    config = backbone.config
    if config.layerscale_init is None or not config.mask_token:
        raise InputError(
            f"Hugging Face's Dinov2 has LayerScale and a mask token, and '{config.name}' lacks them; "
            "export to meta or timm instead"
        )
    ratio = int(config.mlp_ratio)
    if config.ffn_width != config.replace(ffn_hidden_dim=None, mlp_ratio=ratio).ffn_width:
        raise InputError(
            f"Hugging Face's Dinov2 can't be {config.ffn_width} wide in its feed-forward, as '{config.name}' is; "
            "export to meta or timm instead"
        )
    registers = config.num_register_tokens
    settings = {
        "architectures": ["Dinov2WithRegistersModel" if registers else "Dinov2Model"],
        "model_type": "dinov2_with_registers" if registers else "dinov2",
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "mlp_ratio": ratio,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "layerscale_value": config.layerscale_init,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": 3,
        "qkv_bias": True,
        "use_swiglu_ffn": config.ffn_layer != "mlp",
        "drop_path_rate": 0.0,
        **({"num_register_tokens": registers} if registers else {}),
    }
    side = min(config.image_size, 224)
    preprocessor = {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
        "do_convert_rgb": True,
    }
    with whole_folder(path) as temporary:
        write_json(temporary / "preprocessor_config.json", preprocessor)
        write_json(temporary / "config.json", settings)
        with whole_file(temporary / "model.safetensors") as weights:
            save_file(in_the_hubs_names(state), weights, metadata={"format": "pt"})
    return []


def _onnx(backbone: VisionTransformer, path: Path) -> list[str]:
    from medino.models.onnx import write_onnx

    write_onnx(backbone, path)
    return []


def _other_resizing(backbone: VisionTransformer, target: Target) -> list[str]:
    """A sentence where the other library resizes the position embedding in another way than this backbone does."""
    config = backbone.config
    own = {"interpolate_offset": config.interpolate_offset, "interpolate_antialias": config.interpolate_antialias}
    if target == "onnx" or resizing(target, config.num_register_tokens) == own:
        return []
    side = config.image_size
    return [
        f"away from {side} x {side} pixels features will differ a little: {target} resizes the position embedding in "
        "its own way"
    ]
