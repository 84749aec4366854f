"""DINO and DINOv2, trained on photographs.

Sources: addresses and licence from facebookresearch/dino (README) and facebookresearch/dinov2 (hubconf.py, LICENSE).
The SHA-256 of DINOv2's files as the project refiners pins them (conversion of DINOv2); those of ViT-S, B, L and B with
registers also as the hub shows them for copies of the same files (Git LFS), with their sizes. That of DINO's ViT-B/16
as several projects pin it. The others of DINO are not known.
"""

from medino.models.config import BackboneConfig
from medino.models.known.entries import KnownFile, KnownWeights
from medino.models.layouts import resizing

_META = "https://dl.fbaipublicfiles.com"
_APACHE = "any use, commercial too; keep the notice"
_SIZES = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "g": (1536, 40, 24)}


def _dino(size: str, patch: int, folder: str, file_size: int | None = None, sha256: str | None = None) -> KnownWeights:
    width, depth, heads = _SIZES[size]
    return KnownWeights(
        config=BackboneConfig(
            name=f"dino_vit{size}{patch}",
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            patch_size=patch,
            image_size=224,
            layerscale_init=None,
            mask_token=False,
            drop_path="per_sample",
        ),
        title=f"DINO ViT-{size.upper()}/{patch} (Caron et al. 2021, arXiv 2104.14294)",
        images="photographs (ImageNet-1k)",
        file=KnownFile(f"{folder}.pth", url=f"{_META}/dino/{folder}/{folder}.pth", size=file_size, sha256=sha256),
        heads=KnownFile(f"{folder}_full_checkpoint.pth", url=f"{_META}/dino/{folder}/{folder}_full_checkpoint.pth"),
        interpolation="meta",
        licence="Apache-2.0",
        derivatives="yes",
        terms=_APACHE,
        page="https://github.com/facebookresearch/dino",
    )


def _dinov2(size: str, registers: int, sha256: str, file_size: int | None = None) -> KnownWeights:
    width, depth, heads = _SIZES[size]
    model = f"dinov2_vit{size}14"
    file = f"{model}_reg4_pretrain.pth" if registers else f"{model}_pretrain.pth"
    paper = "Oquab et al. 2023, arXiv 2304.07193" + ("; Darcet et al. 2023, arXiv 2309.16588" if registers else "")
    network = f"ViT-{size if size == 'g' else size.upper()}/14" + (" with registers" if registers else "")
    return KnownWeights(
        config=BackboneConfig(
            name=f"{model}_reg" if registers else model,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_register_tokens=registers,
            ffn_layer="swiglufused" if size == "g" else "mlp",
            **resizing("meta", registers),
        ),
        title=f"DINOv2 {network} ({paper})",
        images="photographs (LVD-142M)",
        file=KnownFile(file, url=f"{_META}/dinov2/{model}/{file}", size=file_size, sha256=sha256),
        interpolation="meta",
        licence="Apache-2.0",
        derivatives="yes",
        terms=_APACHE,
        page="https://github.com/facebookresearch/dinov2",
    )


NATURAL: tuple[KnownWeights, ...] = (
    _dino("s", 16, "dino_deitsmall16_pretrain"),
    _dino("s", 8, "dino_deitsmall8_pretrain"),
    _dino(
        "b",
        16,
        "dino_vitbase16_pretrain",
        343_242_485,
        "bf34ad0f424b9029b593e8dc3ed553bf26e88bcba0d32bf3e62a6209cb64c85e",
    ),
    _dino("b", 8, "dino_vitbase8_pretrain"),
    _dinov2("s", 0, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9", 88_283_115),
    _dinov2("b", 0, "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73", 346_378_731),
    _dinov2("l", 0, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428", 1_217_586_395),
    _dinov2("g", 0, "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3"),
    _dinov2("s", 4, "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb"),
    _dinov2("b", 4, "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71", 346_393_545),
    _dinov2("l", 4, "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51"),
    _dinov2("g", 4, "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283"),
)
"""Eight of DINOv2, four of DINO."""
