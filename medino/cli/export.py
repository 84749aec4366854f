"""`medino export`: a backbone for other libraries."""

from jsonargparse import ArgumentParser, Namespace

from medino.cli.messages import INTERPOLATION_HELP, WEIGHTS_HELP


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino export`."""
    parser.add_argument(
        "--weights",
        type=str,
        required=True,
        help=WEIGHTS_HELP,
    )
    parser.add_argument("--interpolation", type=str | None, help=INTERPOLATION_HELP)
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

    notes = export_backbone(load_backbone(config.weights, config.interpolation), config.to, config.output)
    print(f"backbone  {config.output}")
    for note in notes:
        print(f"note      {note}")
