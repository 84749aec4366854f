"""`medino weights` lists, downloads and checks published weights, and says in words what is wrong."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save
from scattered_backbones import SMALL, scattered
from weights_server import Behaviour, weights_server

from medino.cli import downloading
from medino.cli.main import main
from medino.models import KNOWN_WEIGHTS, KnownFile, KnownWeights, load_backbone

CONFIG = SMALL.replace(name="tiny-one", depth=2, mean=(0.5, 0.5, 0.5))
CONTENT = save(scattered(CONFIG).state_dict())
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HEADS = b"heads"


@pytest.fixture
def does() -> Behaviour:
    return Behaviour(
        files={"/owner/tiny/resolve/main/tiny.safetensors": CONTENT, "/owner/tiny/resolve/main/head.safetensors": HEADS}
    )


@pytest.fixture
def tiny(does: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KnownWeights]:
    """Known weights on a hub on loopback; nothing is here yet."""
    entry = KnownWeights(
        CONFIG,
        title="a tiny one",
        images="noise",
        file=KnownFile("tiny.safetensors", repository="owner/tiny", size=len(CONTENT), sha256=SHA256),
        heads=KnownFile("head.safetensors", repository="owner/tiny"),
        interpolation="meta",
        licence="MIT",
        derivatives="yes",
        terms="any use",
        page="https://huggingface.co/owner/tiny",
        gated="ask its owner",
    )
    monkeypatch.setitem(KNOWN_WEIGHTS, "tiny-one", entry)
    monkeypatch.setenv("MEDINO_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(downloading, "WAIT_SECONDS", 0.0)
    with weights_server(does) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield entry


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command printed, in one line; no traceback."""
    output, errors = capsys.readouterr()
    assert "Traceback" not in errors
    return " ".join((output + errors).split())


def test_the_table_names_every_entry_in_eighty_columns(tiny: KnownWeights, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    for name, known in KNOWN_WEIGHTS.items():
        (row,) = [line for line in lines if line.split()[:1] == [name]]
        if name in ("uni", "rad-dino"):
            assert known.licence in row
    assert not [line for line in lines if "…" in line]


def test_all_facts_of_one_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "virchow2"]) == 0
    told = said(capsys)
    known = KNOWN_WEIGHTS["virchow2"]
    for fact in (known.file.sha256, known.file.address, known.licence, known.terms, known.gated, "631 M parameters"):
        assert str(fact) in told
    assert "mean 0.485, 0.456, 0.406" in told


def test_weights_come_by_name_and_are_taken_by_name(
    tiny: KnownWeights, does: Behaviour, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    does.break_after = len(CONTENT) // 2 + 1
    assert main(["weights", "get", "tiny-one", "--heads"]) == 0
    told = said(capsys)
    assert f"SHA-256 {SHA256}: fits the list" in told
    assert "noted for later; the list has none to compare with" in told
    folder = tmp_path / "weights" / "tiny-one"
    assert sorted(file.name for file in folder.iterdir()) == [
        "head.safetensors",
        "head.safetensors.sha256",
        "tiny.safetensors",
        "tiny.safetensors.sha256",
    ]
    assert load_backbone("tiny-one").config.mean == (0.5, 0.5, 0.5)
    # A second download of what has no sum on the list has to be the first one again.
    (folder / "head.safetensors").unlink()
    does.files["/owner/tiny/resolve/main/head.safetensors"] = b"another"
    assert main(["weights", "get", "tiny-one", "--heads"]) == 2
    assert not (folder / "head.safetensors").exists()
    asked = len(does.requests)
    assert main(["weights", "get", "tiny-one"]) == 0
    assert len(does.requests) == asked
    # As sha256sum -c reads it.
    assert (folder / "tiny.safetensors.sha256").read_text() == f"{SHA256}  tiny.safetensors\n"


def test_files_are_compared_with_the_list_or_with_what_was_noted(
    tiny: KnownWeights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "verify", "tiny-one"]) == 2
    assert "tiny.safetensors is not there; get it with `medino weights get tiny-one`" in said(capsys)
    assert main(["weights", "get", "tiny-one", "--heads"]) == 0
    capsys.readouterr()
    assert main(["weights", "verify", "tiny-one"]) == 0
    told = said(capsys)
    assert "fits the list" in told
    assert "fits what was noted when it came (the list has no sum)" in told
    folder = tmp_path / "weights" / "tiny-one"
    (folder / "head.safetensors").write_bytes(b"other")
    assert main(["weights", "verify", "tiny-one"]) == 1
    assert "does not fit what was noted when it came" in said(capsys)
    (folder / "head.safetensors").unlink()
    (folder / "tiny.safetensors").write_bytes(CONTENT[:-1] + b"!")
    assert main(["weights", "verify", "tiny-one"]) == 1
    assert re.search(rf"does not fit the list, {SHA256}: it is damaged or another file", said(capsys))
    # So is what is found when it is to be downloaded.
    assert main(["weights", "get", "tiny-one"]) == 1


def test_a_file_put_there_by_hand_is_noted_at_the_first_check(
    tiny: KnownWeights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights" / "tiny-one" / "head.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(HEADS)
    assert main(["weights", "verify", "tiny-one"]) == 0
    assert "noted for later; the list has none to compare with" in said(capsys)
    path.write_bytes(b"changed")
    assert main(["weights", "verify", "tiny-one"]) == 1


def test_any_file_is_told_what_it_is(tiny: KnownWeights, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "found.safetensors").write_bytes(CONTENT)
    assert main(["weights", "verify", str(tmp_path / "found.safetensors")]) == 0
    assert "is 'tiny-one', tiny.safetensors" in said(capsys)
    (tmp_path / "own.pth").write_bytes(b"own")
    assert main(["weights", "verify", str(tmp_path / "own.pth")]) == 1
    assert "no file of the list has it, and none was noted beside it" in said(capsys)
    (tmp_path / "own.pth.sha256").write_text(hashlib.sha256(b"own").hexdigest().upper() + "  own.pth\n")
    assert main(["weights", "verify", str(tmp_path / "own.pth")]) == 0
    assert "fits what was noted beside it" in said(capsys)


@pytest.mark.parametrize("way", ["HF_TOKEN", "file"])
def test_gated_weights_say_how_to_ask_and_take_the_users_token(
    tiny: KnownWeights,
    does: Behaviour,
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    does.token = "hf_secret"
    assert main(["weights", "get", "tiny-one"]) == 2
    assert "does not give tiny-one to everybody (401): ask its owner, then give your token by HF_TOKEN" in said(capsys)
    if way == "HF_TOKEN":
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
    else:
        (tmp_path / "hub").mkdir()
        (tmp_path / "hub" / "token").write_text("hf_secret\n")
    assert main(["weights", "get", "tiny-one"]) == 0
    assert "hf_secret" not in said(capsys)


def test_a_server_that_lies_leaves_nothing(
    tiny: KnownWeights, does: Behaviour, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    does.files = {path: b"x" * len(content) for path, content in does.files.items()}
    assert main(["weights", "get", "tiny-one"]) == 2
    assert f"and not {SHA256}: it was damaged on the way, or is another file; nothing was kept" in said(capsys)
    assert list((tmp_path / "weights" / "tiny-one").iterdir()) == []


def test_without_a_network_the_error_says_which_file_to_put_where(
    tiny: KnownWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with weights_server(Behaviour()) as address:
        pass
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert main(["weights", "get", "tiny-one", "--folder", str(tmp_path / "there")]) == 2
    told = said(capsys)
    assert f"on another machine get {address}/owner/tiny/resolve/main/tiny.safetensors and put it at" in told
    assert str(tmp_path / "there" / "tiny-one" / "tiny.safetensors") in told
    assert told.endswith("access has to be asked for: ask its owner")
    export = ["export", "--weights", "tiny-one", "--to", "meta", "-o", str(tmp_path / "exported.pth")]
    assert main(export) == 2
    assert "`medino weights get tiny-one` (access to them has to be asked for: ask its owner), or give" in said(capsys)
    # Where anybody may download, nothing is said of access.
    monkeypatch.setitem(KNOWN_WEIGHTS, "tiny-one", dataclasses.replace(tiny, gated=None))
    for words in (["weights", "get", "tiny-one", "--folder", str(tmp_path / "there")], export):
        assert main(words) == 2
        assert "access" not in said(capsys)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["get", "uni2"], "no weights are called 'uni2'; did you mean uni or uni2-h?"),
        (["get", "uni", "--heads"], "no heads were published with 'uni'; those of dino_vits16"),
        (["list", "dinov3"], "no weights are called 'dinov3'; did you mean dino_"),
        (["verify", "unii"], "no weights are called so; did you mean uni"),
        (["verify", "none.pth"], "weights file none.pth does not exist"),
        ([], "nothing to do is given; say `medino weights list`"),
        (["fetch"], "invalid choice: 'fetch'"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert problem in line
