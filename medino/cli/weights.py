"""`medino weights`: published weights by name: what there is, download, check."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from medino.cli.messages import OneLineErrors
from medino.core import InputError, existing_file

FOLDER_HELP = "where downloads lie, as FOLDER/NAME/FILE [$MEDINO_WEIGHTS, or medino/weights in the user's cache]"


def configure(parser: ArgumentParser) -> None:
    """Add `list`, `get` and `verify`."""
    actions = parser.add_subcommands(dest="action", required=False)
    listing = OneLineErrors(description="What is known: a table of all weights, or all facts of some.")
    listing.add_argument("names", nargs="*", type=str, default=[], help="tell all that is known of these")
    getting = OneLineErrors(description="Download weights; what broke off before is gone on with.")
    getting.add_argument("name", type=str, help="a name that `medino weights list` shows")
    getting.add_argument("--heads", action="store_true", help="the projection heads that were published with it, too")
    checking = OneLineErrors(description="Compare a file's SHA-256 with the list, or with what was noted as it came.")
    checking.add_argument("weights", type=str, help="a name, or the path of a file")
    for action in (listing, getting, checking):
        action.add_argument("--folder", type=str | None, help=FOLDER_HELP)
    actions.add_subcommand("list", listing, help="what is known, and what is here")
    actions.add_subcommand("get", getting, help="download by name")
    actions.add_subcommand("verify", checking, help="compare a file with its SHA-256")


def run(config: Namespace) -> int:
    """List, get or verify; the status says whether files are what they should be."""
    actions = {"list": show, "get": get, "verify": verify}
    if config.action is None:
        raise InputError("nothing to do is given; say `medino weights list`, `get NAME` or `verify NAME`")
    return actions[config.action](config[config.action])


def show(config: Namespace) -> int:
    """Print the table of all weights, or all facts of some."""
    from medino.cli.weights_tables import show_known, show_table
    from medino.models import known_weights

    chosen = [known_weights(name) for name in config.names]
    for known in chosen:
        show_known(known, folder_of(config))
    if not chosen:
        show_table(folder_of(config))
    return 0


def get(config: Namespace) -> int:
    """Download what is not here yet, and compare what is."""
    from medino.cli.downloading import download
    from medino.cli.weights_files import compared, source_of
    from medino.models import find_heads, known_path, known_weights
    from medino.models.weights_folder import record_sha256

    known = known_weights(config.name)
    files = {"weights": known.file}
    if config.heads:
        if known.heads is None:
            find_heads(known.name)
        assert known.heads is not None
        files["heads"] = known.heads
    print(f"licence   {known.licence}: {known.terms}")
    fit = True
    for what, file in files.items():
        path, sha256 = known_path(known, file, folder_of(config)), None
        if not path.is_file():
            sha256 = download(source_of(known, file, path), path)
            if file.sha256 is not None:
                record_sha256(path, sha256)
        fits, words = compared(path, file, sha256)
        print(f"{what:<9} {path}\n          {words}")
        fit &= fits
    return 0 if fit else 1


def verify(config: Namespace) -> int:
    """Compare with the list or the note."""
    from medino.cli.weights_files import compared, identified
    from medino.models import KNOWN_WEIGHTS, KnownFile, find_weights, known_path

    given = Path(config.weights)
    found: dict[Path, KnownFile | None]
    if config.weights not in KNOWN_WEIGHTS or given.exists():
        found = {existing_file(find_weights(given)[0], "weights file"): None}
    else:
        known = KNOWN_WEIGHTS[config.weights]
        paths = {known_path(known, file, folder_of(config)): file for file in (known.file, known.heads) if file}
        found = {path: file for path, file in paths.items() if path.is_file()}
        if not found:
            raise InputError(f"{next(iter(paths))} is not there; get it with `medino weights get {known.name}`")
    fit = True
    for path, file in found.items():
        fits, words = identified(path) if file is None else compared(path, file)
        print(f"{path}\n          {words}")
        fit &= fits
    return 0 if fit else 1


def folder_of(config: Namespace) -> Path:
    """The folder of downloads."""
    from medino.models import weights_folder

    return Path(config.folder).expanduser() if config.folder else weights_folder()
