"""The same weights give the same features in Hugging Face's implementation, at the native grid."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medino.core import torch_generator
from medino.models import BackboneConfig, VisionTransformer, build_backbone

transformers = pytest.importorskip("transformers")

SMALL = BackboneConfig(embed_dim=32, depth=2, num_heads=4, patch_size=8, image_size=32, layerscale_init=0.5)
RENAMED = {
    "norm.": "layernorm.",
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "blocks.": "encoder.layer.",
    "attn.proj.": "attention.output.dense.",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "mlp.w12.": "mlp.weights_in.",
    "mlp.w3.": "mlp.weights_out.",
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
}


def in_their_names(backbone: VisionTransformer) -> dict[str, torch.Tensor]:
    state = {}
    for key, value in backbone.state_dict().items():
        name = key
        for ours, theirs in RENAMED.items():
            if ours != "norm." or name.startswith(ours):
                name = name.replace(ours, theirs)
        if "attn.qkv." in name:
            for part, chunk in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[name.replace("attn.qkv", f"attention.attention.{part}")] = chunk.contiguous()
        else:
            state[name] = value
    return state


@pytest.mark.parametrize("ffn_layer", ["mlp", "swiglufused"])
@pytest.mark.parametrize("registers", [0, 4])
def test_features_agree_with_hugging_face(ffn_layer: str, registers: int, tmp_path: Path) -> None:
    ours = build_backbone(SMALL.replace(ffn_layer=ffn_layer, num_register_tokens=registers)).eval()
    generator = torch_generator(0, "peer")
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "use_swiglu_ffn": ffn_layer == "swiglufused",
    }
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    if registers:
        settings["num_register_tokens"] = registers
    # Through a folder as the hub has it: the library renames the published names to those of its own version.
    getattr(transformers, f"{kind}Config")(**settings).save_pretrained(tmp_path)
    save_file(in_their_names(ours), tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs, loading = getattr(transformers, f"{kind}Model").from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    images = torch.randn(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        expected = theirs.eval()(images).last_hidden_state
        tokens = ours(images)
    found = torch.cat([tokens.class_token[:, None], tokens.registers, tokens.patches.flatten(1, 2)], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
