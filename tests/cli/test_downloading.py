"""A download goes on where it broke off, is compared with its sum, and is there whole or not at all."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from weights_server import Behaviour, weights_server

from medino.cli import downloading
from medino.cli.downloading import Source, download
from medino.core import InputError

CONTENT = np.random.default_rng(0).integers(0, 256, 50_000, dtype=np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "WAIT_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def does() -> Behaviour:
    return Behaviour(files={"/weights.pth": CONTENT})


@pytest.fixture
def url(does: Behaviour) -> Iterator[str]:
    with weights_server(does) as address:
        yield f"{address}/weights.pth"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "weights.pth"


def lying(target: Path) -> list[str]:
    return sorted(file.name for file in target.parent.iterdir())


def test_a_connection_that_breaks_off_is_gone_on_with(does: Behaviour, url: str, target: Path) -> None:
    does.break_after = 20_000
    assert download(Source(url, "it", sha256=SHA256), target) == SHA256
    assert target.read_bytes() == CONTENT
    # Not one byte is asked for twice.
    assert does.asked == [None, "bytes=20000-", "bytes=40000-"]
    assert lying(target) == ["weights.pth"]


def test_the_next_command_goes_on_where_the_last_one_ended(does: Behaviour, url: str, target: Path) -> None:
    does.break_after = 20_000

    def dies(behaviour: Behaviour) -> None:
        behaviour.break_after = 20_000 if len(behaviour.requests) == 1 else 0

    does.before = dies
    with pytest.raises(InputError, match=r"1:\d+ broke off after 0.0 MB \(the connection was closed\); try again"):
        download(Source(url, "it"), target)
    assert lying(target) == ["weights.pth.part", "weights.pth.part.etag"]
    assert target.with_name("weights.pth.part").read_bytes() == CONTENT[:20_000]
    does.before, does.break_after, does.requests = None, None, []
    assert download(Source(url, "it"), target) == SHA256
    assert does.asked == ["bytes=20000-"]
    assert lying(target) == ["weights.pth"]


def test_a_server_without_ranges_is_read_from_the_start(does: Behaviour, url: str, target: Path) -> None:
    does.ranges = False
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(b"x" * 20_000)
    assert download(Source(url, "it", sha256=SHA256), target) == SHA256
    assert does.asked == ["bytes=20000-"]
    assert target.read_bytes() == CONTENT


def test_a_file_that_changed_in_between_is_not_patched_together(does: Behaviour, url: str, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(b"x" * 20_000)
    target.with_name("weights.pth.part.etag").write_text('"another"')
    assert download(Source(url, "it"), target) == SHA256
    # Where the server marks no version and the sum is not known, nobody could tell.
    target.with_name("weights.pth.part").write_bytes(b"x" * 20_000)
    does.etag, does.requests = None, []
    assert download(Source(url, "it"), target) == SHA256
    assert does.asked == [None]


def test_a_part_that_is_whole_or_too_long_is_known_as_such(does: Behaviour, url: str, target: Path) -> None:
    target.parent.mkdir()
    for there in (CONTENT, CONTENT + b"more"):
        target.with_name("weights.pth.part").write_bytes(there)
        assert download(Source(url, "it", sha256=SHA256), target) == SHA256
        assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("before", [None, b"the old one"])
def test_another_sum_leaves_nothing_new_behind(url: str, target: Path, before: bytes | None) -> None:
    target.parent.mkdir()
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(InputError, match=rf"has SHA-256 {SHA256} and not {'0' * 64}: it was damaged on the way"):
        download(Source(url, "it", sha256="0" * 64), target)
    assert lying(target) == ([] if before is None else ["weights.pth"])
    assert before is None or target.read_bytes() == before


def test_an_answer_without_a_length_that_ends_early_is_seen_by_the_known_size(
    does: Behaviour, url: str, target: Path
) -> None:
    does.length, does.break_after = False, 30_000
    assert download(Source(url, "it", size=len(CONTENT)), target) == SHA256
    assert does.asked == [None, "bytes=30000-"]


def test_a_server_that_sends_other_bytes_than_asked_for_is_not_believed(
    does: Behaviour, url: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weights_server.Handler.send_file", lambda self, *_: self.answer(206, [], CONTENT[:100]))
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(CONTENT[:20_000])
    with pytest.raises(InputError, match="asked for bytes from 20000 on, it sends others"):
        download(Source(url, "it", sha256=SHA256), target)
    assert target.with_name("weights.pth.part").read_bytes() == CONTENT[:20_000]


def test_a_token_goes_to_its_host_and_not_to_where_that_leads(does: Behaviour, target: Path) -> None:
    does.token = "secret"
    store = Behaviour(files={"/blob": CONTENT})
    with weights_server(does) as hub, weights_server(store) as elsewhere:
        does.redirects = {"/old": "/new", "/new": f"{elsewhere}/blob"}
        assert download(Source(f"{hub}/old", "it", token="secret"), target) == SHA256
        assert [authorization for _, _, authorization in does.requests] == ["Bearer secret", "Bearer secret"]
        assert [authorization for _, _, authorization in store.requests] == [None]
        with pytest.raises(InputError, match=r"does not give it to everybody \(401\): ask first"):
            download(Source(f"{hub}/file", "it", token="wrong", refused="ask first"), target)


def test_a_proxy_of_the_environment_is_asked(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    proxy = Behaviour(files={"http://weights.invalid/weights.pth": CONTENT})
    with weights_server(proxy) as address:
        monkeypatch.setenv("http_proxy", address)
        assert download(Source("http://weights.invalid/weights.pth", "it"), target) == SHA256


def test_without_a_network_the_error_says_which_file_to_put_where(target: Path) -> None:
    with weights_server(Behaviour()) as address:
        gone = f"{address}/weights.pth"
    with pytest.raises(InputError) as refusal:
        download(Source(gone, "it"), target)
    assert "can't be reached (Connection refused)" in str(refusal.value)
    assert f"on another machine get {gone} and put it at {target}" in str(refusal.value)
    assert "HTTPS_PROXY" in str(refusal.value)


def test_a_file_that_is_not_there_any_more_is_named(url: str, target: Path) -> None:
    with pytest.raises(InputError, match=r"answers 404, Not Found, for http://.*/none; look there for where"):
        download(Source(url.replace("weights.pth", "none"), "it"), target)


def test_a_disk_without_room_is_said_before_anything_is_written(
    url: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(InputError, match=r"it needs 0 MB more, and .*folder has 0 MB free; free some, or"):
        download(Source(url, "it"), target)
    assert lying(target) == []


def test_a_folder_that_can_not_be_written_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/weights.pth can't be written: .*choose another folder by --folder"):
        download(Source(url, "it"), tmp_path / "file" / "weights.pth")
