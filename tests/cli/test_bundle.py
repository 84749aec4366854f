"""A bundle holds all that a machine without a network needs, and installs there."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save
from scattered_backbones import SMALL, scattered

from medino.cli.bundle import pinned
from medino.cli.main import main
from medino.models import (
    KNOWN_WEIGHTS,
    KnownFile,
    KnownWeights,
    export_backbone,
    known_path,
    load_backbone,
    save_backbone,
)

ROOT = Path(__file__).parents[2]
CONFIG = SMALL.replace(name="tiny-one", depth=1)
CONTENT = save(scattered(CONFIG).state_dict())


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Weights of each kind: a known name, a run, a file, a folder of Hugging Face's."""
    file = KnownFile("t.safetensors", url="https://example.invalid/t", sha256=hashlib.sha256(CONTENT).hexdigest())
    entry = KnownWeights(
        CONFIG, "tiny", "noise", file, "meta", "ND", "no", "not to be passed on", "https://example.invalid"
    )
    monkeypatch.setitem(KNOWN_WEIGHTS, "tiny-one", entry)
    monkeypatch.setenv("MEDINO_WEIGHTS", str(tmp_path / "weights"))
    known_path(entry).parent.mkdir(parents=True)
    known_path(entry).write_bytes(CONTENT)
    save_backbone(scattered(CONFIG), tmp_path / "run" / "backbone.safetensors")
    export_backbone(scattered(CONFIG), "meta", tmp_path / "own.pth")
    export_backbone(scattered(CONFIG), "hf", tmp_path / "hub")
    return ["tiny-one", *(str(tmp_path / name) for name in ("run", "own.pth", "hub"))]


def wheels_of_names(source: Path, folder: Path) -> None:
    folder.mkdir()
    for name in ("medino-0.1.0-py3-none-any", "torch-2.13.0+cpu-cp311-cp311-linux_x86_64", "Jinja2-3.1-py3-none-any"):
        (folder / f"{name}.whl").write_text(name)


def test_a_bundle_holds_wheels_constraints_weights_and_sums(
    chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("medino.cli.bundle.collect_wheels", wheels_of_names)
    bundle = tmp_path / "bundle"
    assert main(["bundle", "-o", str(bundle), "--source", str(ROOT), "--weights", *chosen]) == 0
    assert "licence   tiny-one, ND: not to be passed on" in capsys.readouterr().out
    constraints = (bundle / "constraints.txt").read_text().split()
    assert constraints == ["jinja2==3.1", "medino==0.1.0", "torch==2.13.0+cpu"]
    summed = dict(reversed(line.split("  ")) for line in (bundle / "SHA256SUMS").read_text().splitlines())
    files = {file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.is_file()}
    assert set(summed) == files - {"SHA256SUMS"}
    for name, sha256 in summed.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == sha256
    install = (bundle / "INSTALL.txt").read_text()
    assert "pip install --no-index --find-links wheels --constraint constraints.txt medino" in install
    assert "medino weights verify tiny-one" in install
    # The bundle's weights load from where they lie.
    monkeypatch.setenv("MEDINO_WEIGHTS", str(bundle / "weights"))
    assert main(["weights", "verify", "tiny-one"]) == 0
    for weights in (
        "tiny-one",
        bundle / "weights" / "run",
        bundle / "weights" / "own" / "own.pth",
        bundle / "weights" / "hub",
    ):
        assert load_backbone(weights, num_heads=4).state_dict().keys() == scattered(CONFIG).state_dict().keys()


def test_what_can_not_be_bundled_leaves_nothing(
    chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("medino.cli.bundle.collect_wheels", wheels_of_names)
    words = ["bundle", "-o", str(tmp_path / "bundle")]
    (tmp_path / "weights" / "tiny-one" / "t.safetensors").write_bytes(CONTENT[:-1] + b"!")
    for arguments, problem in (
        (["--source", str(tmp_path)], "is not medino's source"),
        (["--source", str(ROOT), "--weights", "tiny-two"], "did you mean tiny-one?"),
        (["--source", str(ROOT), "--weights", "tiny-one"], "does not fit the list"),
        (["--source", str(ROOT), "--weights", chosen[2], chosen[2]], "two of the weights are called own"),
    ):
        assert main([*words, *arguments]) == 2
        assert problem in capsys.readouterr().err
        assert not [path for path in tmp_path.iterdir() if "bundle" in path.name]
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").touch()
    assert main([*words, "--source", str(ROOT)]) == 2
    assert "is there already and not empty" in capsys.readouterr().err


def test_a_wheel_that_can_not_be_got_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    (source / "medino").mkdir(parents=True)
    (source / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'none'\n")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["bundle", "-o", str(tmp_path / "bundle"), "--source", str(source)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pip can't collect the wheels: " in line
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_bundle_installs_where_there_is_no_network(
    chosen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, environment = tmp_path / "bundle", tmp_path / "environment"
    if main(["bundle", "-o", str(bundle), "--source", str(ROOT), "--weights", *chosen]) != 0:
        pytest.skip(f"wheels can't be had here: {capsys.readouterr().err.strip()}")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    # No index, no configuration, no proxy: what INSTALL.txt says, and nothing else.
    offline = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    offline |= {"PIP_NO_CACHE_DIR": "1", "MEDINO_WEIGHTS": str(bundle / "weights")}
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--find-links",
        "wheels",
        "--constraint",
        "constraints.txt",
        "medino",
    ]

    def call(*words: str) -> str:
        done = subprocess.run(
            [str(environment / "bin" / words[0]), *words[1:]], cwd=bundle, env=offline, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    call("python", *install)
    assert call("medino", "--version").startswith("medino ")
    assert "rad-dino" in call("medino", "weights", "list")
    assert "fits what was noted beside it" in call("medino", "weights", "verify", "weights/own/own.pth")
    call("medino", "export", "--weights", "weights/hub", "--to", "meta", "-o", str(tmp_path / "out.pth"))
    # What is there now is what the bundle says.
    found = {line.replace("_", "-").lower() for line in call("python", "-m", "pip", "freeze", "--all").split()}
    assert {line for line in pinned(bundle / "wheels") if not line.startswith("medino")} <= found
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
