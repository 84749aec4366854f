"""`medino export`: a backbone for other libraries."""

from jsonargparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino export`."""
    parser.add_argument(
        "--weights",
        type=str,
        required=True,
        help="a file of weights in the layout of medino, Meta, Hugging Face or timm, one of Hugging Face's folders, or "
        "the folder of a run",
    )
    parser.add_argument(
        "--to",
        type=str,
        required=True,
        help="hf: a folder for Hugging Face's Dinov2Model; timm: a .safetensors file; meta: a .pth state dict; "
        "onnx: an .onnx graph for images of any size",
    )
    parser.add_argument("-o", "--output", type=str, required=True, help="the file to write; a folder for hf")


def run(config: Namespace) -> None:
    """Load, write, and say what the other library does differently."""
    from medino.models import export_backbone, load_backbone

    notes = export_backbone(load_backbone(config.weights), config.to, config.output)
    print(f"backbone  {config.output}")
    for note in notes:
        print(f"note      {note}")
