"""Backbones of the DINOv2 family trained on medical images.

Sources: each model's card on the hub (licence, access, normalisation, timm arguments). SHA-256 and sizes: RAD-DINO's
and Phikon-v2's as the hub shows them (Git LFS); UNI's, UNI2-h's and Virchow2's as several projects that hold the files
pin them; Prov-GigaPath's as one such project does, whose other sums agree with the rest. Where none is public, none is
given.
"""

from medino.models.config import BackboneConfig
from medino.models.known.entries import KnownFile, KnownWeights
from medino.models.layouts import resizing

_HUB = "https://huggingface.co"
_ND = "non-commercial academic research; neither the file nor anything made from it may be passed on"


def _ask(repository: str, how: str) -> str:
    return f"log in at {_HUB}/{repository} and {how}"


MEDICAL: tuple[KnownWeights, ...] = (
    KnownWeights(
        config=BackboneConfig(
            name="rad-dino",
            embed_dim=768,
            depth=12,
            num_heads=12,
            # Processor of the model's card: one mean for three equal channels.
            mean=(0.5307, 0.5307, 0.5307),
            std=(0.2583, 0.2583, 0.2583),
        ),
        title="RAD-DINO ViT-B/14 (Perez-Garcia et al. 2024, arXiv 2401.10815)",
        images="chest radiographs",
        # The copy in the names of Meta's code, which trained it; model.safetensors holds the same for transformers.
        file=KnownFile(
            "backbone_compatible.safetensors",
            repository="microsoft/rad-dino",
            sha256="1eac0464b2a00d368aa3eea1dc029964b10320fbabc59a8a4e768c43a23d26f4",
        ),
        heads=KnownFile(
            "dino_head.safetensors",
            repository="microsoft/rad-dino",
            sha256="5b3599663464ed1054f7777f547db02f518581acc5becdd3eddffc8c507f3778",
        ),
        interpolation="meta",
        licence="MIT",
        derivatives="yes",
        terms="any use; keep the notice (older copies were under a Microsoft research licence)",
        page=f"{_HUB}/microsoft/rad-dino",
    ),
    KnownWeights(
        config=BackboneConfig(
            name="uni",
            embed_dim=1024,
            depth=24,
            num_heads=16,
            patch_size=16,
            image_size=224,
            mask_token=False,
            **resizing("timm", 0),
        ),
        title="UNI ViT-L/16 (Chen et al. 2024, Nature Medicine)",
        images="histology (H&E)",
        file=KnownFile(
            "pytorch_model.bin",
            repository="MahmoodLab/UNI",
            revision="b55a5ec6cade1a39edfe6534189a9b8ca7a022f0",
            size=1_213_527_781,
            sha256="56ef09b44a25dc5c7eedc55551b3d47bcd17659a7a33837cf9abc9ec4e2ffb40",
        ),
        interpolation="timm",
        licence="CC-BY-NC-ND-4.0",
        derivatives="no",
        terms=_ND,
        page=f"{_HUB}/MahmoodLab/UNI",
        gated=_ask("MahmoodLab/UNI", "ask with an institutional e-mail address; people approve it"),
    ),
    KnownWeights(
        config=BackboneConfig(
            name="uni2-h",
            embed_dim=1536,
            depth=24,
            num_heads=24,
            image_size=224,
            num_register_tokens=8,
            ffn_layer="swiglufused",
            mask_token=False,
            **resizing("timm", 8),
        ),
        title="UNI2-h ViT-H/14 with 8 registers (Mahmood Lab 2025)",
        images="histology (H&E and IHC)",
        file=KnownFile(
            "pytorch_model.bin",
            repository="MahmoodLab/UNI2-h",
            revision="d517a8dd47902dd7c308b3c36f63bce47e7b9a43",
            size=2_725_669_217,
            sha256="6e077eda234bebc595868d918d3458d9dd32a050199b0ff04443b2f46a0a3b1e",
        ),
        interpolation="timm",
        licence="CC-BY-NC-ND-4.0",
        derivatives="no",
        terms=_ND,
        page=f"{_HUB}/MahmoodLab/UNI2-h",
        gated=_ask("MahmoodLab/UNI2-h", "ask with an institutional e-mail address; people approve it"),
    ),
    KnownWeights(
        config=BackboneConfig(
            name="virchow2",
            embed_dim=1280,
            depth=32,
            num_heads=16,
            image_size=224,
            num_register_tokens=4,
            ffn_layer="swiglufused",
            # timm's mlp_ratio 5.3375, half of it gate and half value.
            ffn_hidden_dim=3416,
            mask_token=False,
            **resizing("timm", 4),
        ),
        title="Virchow2 ViT-H/14 with 4 registers (Zimmermann et al. 2024, arXiv 2408.00738)",
        images="histology (H&E and IHC)",
        file=KnownFile(
            "model.safetensors",
            repository="paige-ai/Virchow2",
            revision="3158645804b69e3f3bc4439d4116edddf0840a72",
            size=2_525_001_112,
            sha256="8d6cea947eb2418c3b0dff48cfb9b238e47744ab0dfca21b2b0637b140769b4b",
        ),
        interpolation="timm",
        licence="CC-BY-NC-ND-4.0",
        derivatives="no",
        terms=_ND,
        page=f"{_HUB}/paige-ai/Virchow2",
        gated=_ask("paige-ai/Virchow2", "ask with an institutional e-mail address; people approve it"),
    ),
    KnownWeights(
        config=BackboneConfig(
            name="h-optimus-0",
            embed_dim=1536,
            depth=40,
            num_heads=24,
            image_size=224,
            num_register_tokens=4,
            ffn_layer="swiglufused",
            mask_token=False,
            mean=(0.707223, 0.578729, 0.703617),
            std=(0.211883, 0.230117, 0.177517),
            **resizing("timm", 4),
        ),
        title="H-optimus-0 ViT-g/14 with 4 registers (Bioptimus 2024)",
        images="histology (H&E)",
        file=KnownFile("pytorch_model.bin", repository="bioptimus/H-optimus-0"),
        interpolation="timm",
        licence="Apache-2.0",
        derivatives="yes",
        terms="any use, commercial too; keep the notice",
        page=f"{_HUB}/bioptimus/H-optimus-0",
        gated=_ask("bioptimus/H-optimus-0", "agree to share your contact"),
    ),
    KnownWeights(
        config=BackboneConfig(
            name="phikon-v2",
            embed_dim=1024,
            depth=24,
            num_heads=16,
            patch_size=16,
            image_size=224,
            **resizing("hf", 0),
        ),
        title="Phikon-v2 ViT-L/16 (Filiot et al. 2024, arXiv 2409.09173)",
        images="histology (H&E)",
        file=KnownFile(
            "model.safetensors",
            repository="owkin/phikon-v2",
            revision="2ae989a9c40cffaa27f0a6cb29cc94d1d6f9a5fd",
            sha256="261ae680fa699b3b951597fd57aa19c02ef735805acb104b93af69b36d928569",
        ),
        interpolation="hf",
        licence="Owkin non-commercial",
        derivatives="ask",
        terms="non-commercial; read LICENSE.pdf of the repository before passing anything on",
        page=f"{_HUB}/owkin/phikon-v2",
    ),
    KnownWeights(
        config=BackboneConfig(
            name="prov-gigapath",
            embed_dim=1536,
            depth=40,
            num_heads=24,
            patch_size=16,
            image_size=224,
            ffn_layer="swiglufused",
            mask_token=False,
            **resizing("timm", 0),
        ),
        title="Prov-GigaPath's tile encoder, ViT-g/16 (Xu et al. 2024, Nature)",
        images="histology (H&E and IHC)",
        file=KnownFile(
            "pytorch_model.bin",
            repository="prov-gigapath/prov-gigapath",
            revision="64f9e26c15019f2d4f6d9113c6822f88bb16b01b",
            size=4_540_023_137,
            sha256="877947214318afa9e011754b74bbc3894a1f480a253afc7bc8045b8321dedd63",
        ),
        interpolation="timm",
        licence="Apache-2.0",
        derivatives="ask",
        terms="Apache-2.0, and the terms of access that the page asks for: research, not care",
        page=f"{_HUB}/prov-gigapath/prov-gigapath",
        gated=_ask("prov-gigapath/prov-gigapath", "agree to its terms"),
    ),
    KnownWeights(
        config=BackboneConfig(
            name="midnight",
            embed_dim=1536,
            depth=40,
            num_heads=24,
            image_size=224,
            ffn_layer="swiglufused",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            **resizing("hf", 0),
        ),
        title="Midnight-12k ViT-g/14 (kaiko.ai 2025, arXiv 2504.05186)",
        images="histology (H&E)",
        file=KnownFile("model.safetensors", repository="kaiko-ai/midnight"),
        interpolation="hf",
        licence="MIT",
        derivatives="yes",
        terms="any use; keep the notice",
        page=f"{_HUB}/kaiko-ai/midnight",
    ),
)
"""Radiographs first, then histology."""
