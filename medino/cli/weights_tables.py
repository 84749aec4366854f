"""The list of known weights as people read it."""

from pathlib import Path

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from medino.models import KNOWN_WEIGHTS, BackboneConfig, KnownFile, KnownWeights, known_path
from medino.models.presets import empty_backbone

WIDTH = 80
"""Of the table where the output is no terminal, columns."""

GB = 10**9
SIZES = {384: "S", 768: "B", 1024: "L", 1280: "H", 1536: "g"}
DERIVATIVES = {"yes": "may be shared", "no": "may not be shared", "ask": "see its terms"}


def show_table(folder: Path) -> None:
    """Print one line for each known backbone.

    Args:
        folder: of the downloads.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("name", "network", "GB", "licence", "share", "access", "here"):
        justify: JustifyMethod = "right" if heading == "GB" else "left"
        table.add_column(heading, no_wrap=heading in ("name", "GB"), overflow="fold", justify=justify)
    kind = None
    for known in KNOWN_WEIGHTS.values():
        if (of_this := known.images.partition(" (")[0]) != kind:
            kind = of_this
            table.add_section()
            table.add_row(f"[bold]{kind}[/bold]")
        here = [what for what, file in _files(known).items() if known_path(known, file, folder).is_file()]
        table.add_row(
            known.name,
            network(known.config).removeprefix("ViT-"),
            f"{size(known) / GB:.2f}",
            known.licence,
            known.derivatives,
            "ask" if known.gated else "free",
            " and ".join(here).replace("weights", "yes") or "-",
        )
    console.print(table)
    console.print(
        "network: size of the ViT / patch, +n register tokens. share: whether adapted weights may be passed on. "
        "`medino weights list NAME` tells all of one; `medino weights get NAME` downloads it, and `--weights NAME` "
        "then takes it.",
        style="dim",
    )
    print(f"folder    {folder}")


def show_known(known: KnownWeights, folder: Path) -> None:
    """Print all that is known of one backbone.

    Args:
        known: its entry.
        folder: of the downloads.
    """
    config = known.config
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (config.mean, config.std))
    facts = {
        known.name: known.title,
        "trained on": known.images,
        "network": f"{network(config)}: {config.depth} blocks, width {config.embed_dim}, {config.num_heads} heads, "
        f"{parameters(config) / 1e6:.0f} M parameters",
        "expects": f"mean {mean}; standard deviation {std}",
        "positions": f"resized as {known.interpolation} does",
        "licence": f"{known.licence}: {known.terms}",
        "derivatives": f"adapted weights {DERIVATIVES[known.derivatives]}",
        "access": known.gated or "anybody",
        "page": known.page,
    }
    for what, file in _files(known).items():
        facts[what] = file.address
        facts[f"  SHA-256 of {what}"] = file.sha256 or "not public: noted at the first download, and compared later"
        path = known_path(known, file, folder)
        facts[f"  {what} here"] = str(path) if path.is_file() else f"no; it goes to {path}"
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def network(config: BackboneConfig) -> str:
    """A backbone's size, patch and registers, as papers write them."""
    registers = f" +{config.num_register_tokens}" if config.num_register_tokens else ""
    # A 24-block network of width 1536 is its makers' ViT-H.
    letter = "H" if (config.embed_dim, config.depth) == (1536, 24) else SIZES.get(config.embed_dim, config.embed_dim)
    return f"ViT-{letter}/{config.patch_size}{registers}"


def parameters(config: BackboneConfig) -> int:
    """How many parameters a network of these settings has."""
    return sum(parameter.numel() for parameter in empty_backbone(config).parameters())


def size(known: KnownWeights) -> int:
    """The file's size, bytes: as published, or that of its parameters in float32."""
    return known.file.size or 4 * parameters(known.config)


def _files(known: KnownWeights) -> dict[str, KnownFile]:
    return {"weights": known.file} | ({"heads": known.heads} if known.heads is not None else {})
