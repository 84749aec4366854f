"""A backbone as an ONNX graph that takes images of any size and number."""

import contextlib
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from medino.core import InputError, whole_file
from medino.models.vision_transformer import VisionTransformer

OPSET = 20

LARGEST_GRID = 4096
"""Most patches along a side that the graph is declared for."""

CUBIC = -0.75
"""The parameter of bicubic interpolation without antialias in PyTorch (Keys 1981 has -0.5)."""


def write_onnx(backbone: VisionTransformer, path: Path) -> None:
    """Write an ONNX file with the input `images` (B, 3, H, W), normalised, H and W multiples of the patch size.

    Its outputs are `class_token` (B, D), `registers` (B, R, D; where the network has them) and `patches`
    (B, H/patch, W/patch, D), after the final norm. Of the largest networks the weights lie beside it, in a file of its
    name with `.data` behind it.

    Args:
        backbone: on the CPU.
        path: the file.

    Raises:
        InputError: the packages for it are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; install it by pip install 'medino[onnx]'") from error
    patch, registers = backbone.config.patch_size, backbone.config.num_register_tokens
    rows, columns = (torch.export.Dim(name, min=1, max=LARGEST_GRID) for name in ("rows", "columns"))
    shapes = {"images": {0: torch.export.Dim("batch"), 2: patch * rows, 3: patch * columns}}
    names = ["class_token", *(["registers"] if registers else []), "patches"]
    # Neither square nor the native grid: what is equal by chance would be taken for the same.
    example = torch.zeros(2, 3, 3 * patch, 5 * patch)
    training = backbone.training
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()), _silent("torch.onnx"):
            program = torch.onnx.export(
                _Exported(backbone).eval(),
                (example,),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=["images"],
                output_names=names,
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        backbone.train(training)
    assert program is not None
    with whole_file(path) as temporary, tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        graph = Path(folder) / path.name
        program.save(graph)
        # More than a file of ONNX can hold (2 GB, less some room): PyTorch puts the weights beside the graph.
        weights = graph.with_name(f"{path.name}.data")
        if weights.exists():
            weights.replace(path.with_name(weights.name))
        graph.replace(temporary)


class _Exported(torch.nn.Module):
    """The backbone in operations that ONNX has, with its tokens as plain outputs."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        backbone, config = self.backbone, self.backbone.config
        patches = backbone.patch_embed(images)
        batch, _, rows, columns = patches.shape
        positions = self.positions(rows, columns)
        tokens = torch.cat([backbone.cls_token.expand(batch, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + positions
        registers = config.num_register_tokens
        if backbone.register_tokens is not None:
            tokens = torch.cat([tokens[:, :1], backbone.register_tokens.expand(batch, -1, -1), tokens[:, 1:]], dim=1)
        for block in backbone.blocks:
            (tokens,) = block([tokens])
        tokens = backbone.norm(tokens)
        grid = tokens[:, 1 + registers :].reshape(batch, rows, columns, config.embed_dim)
        return (tokens[:, 0], tokens[:, 1 : 1 + registers], grid) if registers else (tokens[:, 0], grid)

    def positions(self, rows: int, columns: int) -> torch.Tensor:
        """The position embedding at a grid, (1, 1 + h w, D)."""
        config, embedding = self.backbone.config, self.backbone.pos_embed
        side = math.isqrt(embedding.shape[1] - 1)
        square = embedding[:, 1:].reshape(side, side, -1)
        if config.interpolate_offset:
            # ONNX computes the scale of a resize from its sizes; Meta's is from the grid plus an offset.
            down = bicubic_matrix(side, rows, config.interpolate_offset)
            across = bicubic_matrix(side, columns, config.interpolate_offset)
            resized = torch.einsum("rs,std,ct->rcd", down, square, across)
        else:
            resized = torch.nn.functional.interpolate(
                square.permute(2, 0, 1)[None],
                size=(rows, columns),
                mode="bicubic",
                antialias=config.interpolate_antialias,
            )[0].permute(1, 2, 0)
        return torch.cat([embedding[:, :1], resized.reshape(1, rows * columns, -1)], dim=1)


def bicubic_matrix(size: int, wanted: int, offset: float) -> torch.Tensor:
    """Bicubic interpolation along one axis as a matrix, sampled as PyTorch does by a scale factor.

    The factor is (wanted + offset) / size.

    Args:
        size: values that there are.
        wanted: values to make.
        offset: see `medino.models.resize_position_embedding`; at `wanted == size` nothing is resampled.

    Returns:
        (wanted, size) float32; each row sums to 1.
    """
    scale = (wanted + offset) / size
    places = (torch.arange(wanted) + 0.5) / scale - 0.5
    # At its native size an embedding is taken as it is.
    native = (torch.arange(1) + wanted == size).float()
    places = native * torch.arange(wanted) + (1 - native) * places
    first = torch.floor(places)
    matrix = torch.zeros(1, size)
    for tap in (-1, 0, 1, 2):
        column = (first + tap).clamp(0, size - 1)
        chosen = (column[:, None] == torch.arange(size)[None]).float()
        matrix = matrix + _cubic(places - first - tap)[:, None] * chosen
    return matrix


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """The kernel of Keys (1981), equations 4, at distances up to 2."""
    x = distance.abs()
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * CUBIC - 4 * CUBIC
    return torch.where(x <= 1, near, far)


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a logger's warnings to itself: they are about packages that are not needed."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
