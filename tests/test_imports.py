"""Imports run in the direction of the data, and the command starts without the heavy packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "medino"

ORDER = (
    "core",
    "data",
    "views",
    "models",
    "features",
    "probes",
    "curation",
    "ssl",
    "segmentation",
    "audit",
    "tracking",
    "cli",
)
"""Each folder may import from those before it and never from those after it."""

FILES = sorted(PACKAGE.rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """The folders of medino that a file imports from, wherever in the file the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno} imports relatively; imports are absolute"
            names = [node.module or ""]
            if node.module == "medino":
                names = [f"medino.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("medino.")}
    return rooms - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_folders_before_its_own(path: Path) -> None:
    place = path.relative_to(PACKAGE).parts[0]
    if place == "__init__.py":
        assert not imported_rooms(path)
        return
    assert place in ORDER, f"{place} has no place in the order of the folders"
    allowed = set(ORDER[: ORDER.index(place) + 1])
    assert imported_rooms(path) <= allowed


def test_the_order_names_every_folder() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(ORDER)


def test_importing_medino_and_its_command_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'monai', 'wandb', 'pytorch_lightning', 'pyarrow', 'numpy', 'jsonargparse'}"
    code = f"import sys, medino, medino.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
