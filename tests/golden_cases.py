"""The golden pairs that the tests compare with, found by looking: a new pair in the folder is compared, too."""

import dataclasses
import functools
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from medino.models import BackboneConfig

FOLDER = Path(os.environ.get("MEDINO_GOLDEN", Path(__file__).parent / "golden"))


@dataclasses.dataclass(frozen=True)
class GoldenCase:
    """One pair: `facts` is NAME.json as it stands."""

    name: str
    facts: dict[str, Any]

    @functools.cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(FOLDER / f"{self.name}.safetensors")

    @property
    def settings(self) -> dict[str, Any]:
        return self.facts["settings"]

    @property
    def is_dino_v1(self) -> bool:
        return self.facts["objective"] == "dino"

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose key starts with `prefix`, by what follows it."""
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    @property
    def sizes(self) -> list[str]:
        """The image sizes of the forward comparison, as "32x32"."""
        return sorted({key.split("/")[1] for key in self.tensors if key.startswith("forward/")})

    @property
    def config(self) -> BackboneConfig:
        """The backbone of the pair, from its settings; what they leave open is seen in its weights."""
        settings, weights = self.settings, self.part("init/backbone.")
        side = math.isqrt(weights["pos_embed"].shape[1] - 1)
        scale = self.facts.get("layerscale_init", 1e-5) if "blocks.0.ls1.gamma" in weights else None
        return BackboneConfig(
            name=self.name,
            embed_dim=settings["embed_dim"],
            depth=settings["depth"],
            num_heads=settings["num_heads"],
            patch_size=settings["patch_size"],
            image_size=side * settings["patch_size"],
            num_register_tokens=settings.get("num_register_tokens", 0),
            # The reference has two names for SwiGLU, "swiglu" and "swiglufused", that make one network.
            ffn_layer="swiglufused" if "blocks.0.mlp.w12.weight" in weights else "mlp",
            mlp_ratio=float(self.facts.get("mlp_ratio", 4)),
            layerscale_init=scale,
            mask_token="mask_token" in weights,
            drop_path="per_sample" if self.is_dino_v1 else "batch_subset",
            interpolate_offset=settings["interpolate_offset"],
            interpolate_antialias=settings["interpolate_antialias"],
        )


def golden_cases() -> list[GoldenCase]:
    """All pairs of the folder; timm's are layouts of weights, not steps, and have tests of their own."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        if not path.stem.startswith("timm") and path.with_suffix(".safetensors").is_file():
            found.append(GoldenCase(path.stem, json.loads(path.read_text(encoding="utf-8"))))
    return found
