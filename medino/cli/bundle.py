"""`medino bundle`: what a machine without a network needs: wheels, constraints, chosen weights, how to install."""

import platform
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.core import InputError, ProgressBar, file_sha256, track, whole_folder

if TYPE_CHECKING:
    from medino.models import KnownWeights

SUMS = "SHA256SUMS"
INSTALL = """medino for a machine without a network
======================================

Made for {python} on {system} {machine}; the other machine has to have the same.
In this folder:

    sha256sum --check --quiet {sums}
    {command} -m venv ~/medino
    ~/medino/bin/python -m pip install --no-index --find-links wheels --constraint constraints.txt medino
    ~/medino/bin/medino --version
{weights}"""
WEIGHTS = """
The weights stay in this folder. Say where that is (in ~/.profile, to keep it):

    export MEDINO_WEIGHTS="$PWD/weights"
{verify}
All verbs that start from a backbone take

{taken}
{terms}"""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino bundle`."""
    parser.add_argument("-o", "--output", type=str, required=True, help="the folder to write; new or empty")
    parser.add_argument(
        "--weights", nargs="*", type=str, default=[], help="weights to take along: names, files, folders or runs"
    )
    parser.add_argument("--source", type=str, default=".", help="medino's source, the folder with its pyproject.toml")


def run(config: Namespace) -> None:
    """Collect and write, whole or not at all."""
    from medino.models import find_weights

    output, source = Path(config.output), Path(config.source)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already and not empty; give a new folder by -o")
    if not (source / "pyproject.toml").is_file() or not (source / "medino").is_dir():
        raise InputError(
            f"{source.resolve()} is not medino's source; go to the folder of its pyproject.toml, or give it"
        )
    chosen = [find_weights(weights) for weights in config.weights]
    with whole_folder(output) as folder:
        collect_wheels(source, folder / "wheels")
        (folder / "constraints.txt").write_text("\n".join(pinned(folder / "wheels")) + "\n", encoding="utf-8")
        for path, known in chosen:
            take_along(path, known, folder / "weights")
        (folder / "INSTALL.txt").write_text(instructions(chosen), encoding="utf-8")
        write_sums(folder)
        total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    for _, known in chosen:
        if known is not None and known.derivatives != "yes":
            print(f"licence   {known.name}, {known.licence}: {known.terms}")
    print(f"bundle    {output}, {total / 10**6:.0f} MB; INSTALL.txt in it says how to install it")


def collect_wheels(source: Path, folder: Path) -> None:
    """Wheels of medino and of all that it needs, in the versions that are installed here.

    Raises:
        InputError: pip can't get one of them.
    """
    folder.mkdir()
    here = folder.with_name("here.txt")
    installed = {f"{each.name}=={each.version}" for each in distributions() if each.name != "medino"}
    here.write_text("\n".join(sorted(installed)) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "wheel", "--wheel-dir", folder, "--constraint", here, source]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as pip:
        assert pip.stdout is not None
        lines = []
        with ProgressBar("collecting wheels", None) as bar:
            for line in pip.stdout:
                lines.append(line.strip())
                bar.update(sum(line.startswith("Saved") for line in lines))
    here.unlink()
    if pip.returncode:
        reasons = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["it said nothing"]
        raise InputError(
            f"pip can't collect the wheels: {reasons[-1]}; make the bundle where the package index is reached"
        )


def pinned(wheels: Path) -> list[str]:
    """The exact version of each wheel, as pip's constraints."""
    # {name}-{version}-{tags}.whl, with no hyphen in name and version (PEP 427).
    parts = [wheel.name.split("-") for wheel in wheels.glob("*.whl")]
    return sorted(f"{name.replace('_', '-').lower()}=={version}" for name, version, *_ in parts)


def take_along(path: Path, known: "KnownWeights | None", folder: Path) -> None:
    """Copy weights as NAME/FILE, each with its SHA-256 beside it.

    Raises:
        InputError: known weights are not what they should be, or two would lie in one place.
    """
    from medino.cli.weights_files import compared, sha256_of
    from medino.core import RunFolder
    from medino.models.layouts import is_hugging_face_folder
    from medino.models.weights_folder import record_sha256

    if known is not None:
        fits, words = compared(path, known.file)
        if not fits:
            raise InputError(f"{path}: {words}")
    place = folder / name_of(path, known)
    if place.exists():
        raise InputError(f"two of the weights are called {place.name}; rename one")
    place.mkdir(parents=True)
    if path.is_dir() and is_hugging_face_folder(path):
        files = [file for file in path.iterdir() if file.is_file()]
    else:
        weights = RunFolder(path).backbone if path.is_dir() else path
        files = [file for file in (weights, weights.with_suffix(".json")) if file.is_file()]
        if weights not in files:
            raise InputError(f"the folder {path} holds no {weights.name}; give a weights file or the folder of a run")
    if known is not None and known.heads is not None and path.with_name(known.heads.name).is_file():
        files.append(path.with_name(known.heads.name))
    for file in track(files, f"copying {place.name}"):
        shutil.copyfile(file, place / file.name)
        record_sha256(place / file.name, sha256_of(place / file.name))


def name_of(path: Path, known: "KnownWeights | None") -> str:
    """The folder that weights have in the bundle."""
    if known is not None:
        return known.name
    return path.resolve().name if path.is_dir() else path.stem


def instructions(chosen: "list[tuple[Path, KnownWeights | None]]") -> str:
    """The text of INSTALL.txt."""
    weights = ""
    if chosen:
        names = [known.name for _, known in chosen if known is not None]
        own = [
            f'"$MEDINO_WEIGHTS/{name_of(path, known)}{"" if path.is_dir() else "/" + path.name}"'
            for path, known in chosen
            if known is None
        ]
        weights = WEIGHTS.format(
            verify="".join(f"    ~/medino/bin/medino weights verify {name}\n" for name in names),
            taken="".join(f"    --weights {name}\n" for name in [*names, *own]),
            terms="".join(
                f"{known.name}: {known.licence}, {known.terms} ({known.page})\n"
                for _, known in chosen
                if known is not None
            ),
        )
    version = ".".join(platform.python_version_tuple()[:2])
    return INSTALL.format(
        python=f"Python {version}",
        command=f"python{version}",
        system=platform.system(),
        machine=platform.machine(),
        sums=SUMS,
        weights=weights,
    )


def write_sums(folder: Path) -> None:
    """The SHA-256 of every file, as `sha256sum --check` reads it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [f"{file_sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in track(files, "SHA-256")]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
