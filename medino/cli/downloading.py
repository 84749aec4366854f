"""One file over HTTP: gone on with where it broke off, compared with its SHA-256, and there whole or not at all.

What has come so far lies beside the target as `.part`, until all of it has and its sum is right. The server's mark of
the version (ETag) is kept with it, so that a file that changes in between is begun anew and not patched together.
"""

import contextlib
import errno
import http
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from medino.core import InputError, ProgressBar, file_sha256
from medino.core.files import DISK_FULL

TRIES = 4
"""So often in a row may a connection bring nothing before it is given up."""

WAIT_SECONDS = 2.0
"""Before the next try."""

TIMEOUT_SECONDS = 60.0
"""Without a byte for so long, a connection counts as broken."""

NOTHING_MORE = http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE

BLOCK = 1 << 20
MB = 10**6


@dataclass(frozen=True)
class Source:
    """What is downloaded.

    Attributes:
        url: its address.
        name: how it is called in messages.
        size: bytes, where that is known.
        sha256: what its bytes must have; None where that is not known.
        token: sent to the address' own host, not to where that leads.
        refused: what to do where the server asks who one is.
        gated: how to ask for access; None where anybody may download.
    """

    url: str
    name: str
    size: int | None = None
    sha256: str | None = None
    token: str | None = None
    refused: str = "check that it is public"
    gated: str | None = None

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(self.url).netloc


class _BrokenOffError(Exception):
    """The connection ended early, or did not come about."""


def download(source: Source, target: Path) -> str:
    """Download a file, going on with a part of it that is there.

    Proxies are those of the usual environment variables (HTTPS_PROXY, NO_PROXY, ...).

    Args:
        source: what.
        target: where it is to lie; replaced only by a whole file with the right sum.

    Returns:
        Its SHA-256.

    Raises:
        InputError: the server can't be reached or refuses, the connection keeps breaking, the disk is full, or the
            file has another SHA-256.
    """
    part = target.with_name(target.name + ".part")
    mark = target.with_name(target.name + ".part.etag")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _all_parts(source, part, mark, target)
        with ProgressBar(f"checking {source.name} (MB)", part.stat().st_size // MB) as bar:
            found = file_sha256(part, lambda done: bar.update(done // MB))
        if source.sha256 is not None and found != source.sha256:
            part.unlink()
            mark.unlink(missing_ok=True)
            raise InputError(
                f"what came from {source.url} has SHA-256 {found} and not {source.sha256}: it was damaged on the way, "
                "or is another file; nothing was kept, so try again or get it elsewhere"
            )
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(target)
        mark.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in DISK_FULL:
            why = f"{os.strerror(error.errno or errno.ENOSPC)}; free some space and run the command again, it goes on"
        else:
            why = f"{error.strerror or error}; choose another folder by --folder"
        raise InputError(f"{target} can't be written: {why}") from error
    return found


def _all_parts(source: Source, part: Path, mark: Path, target: Path) -> None:
    """Bring the partial file to its end, over as many connections as it takes.

    Raises:
        InputError: nothing more comes, or the server refuses.
    """
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _one_part(source, part, mark)
            return
        except _BrokenOffError as error:
            there = part.stat().st_size if part.exists() else 0
            failures = 0 if there > before else failures + 1
            if failures == TRIES:
                reached = f"broke off after {there / MB:.1f} MB" if there else "can't be reached"
                access = "" if source.gated is None else f"; access has to be asked for: {source.gated}"
                raise InputError(
                    f"{source.host} {reached} ({error}); try again (it goes on where it was), set HTTPS_PROXY where a "
                    f"proxy stands between, or on another machine get {source.url} and put it at {target}{access}"
                ) from error
            time.sleep(WAIT_SECONDS if there == before else 0)


def _one_part(source: Source, part: Path, mark: Path) -> None:
    """Append what one connection brings.

    Raises:
        _BrokenOffError: it ended before the file did.
        InputError: the server refuses.
    """
    there = part.stat().st_size if part.exists() else 0
    version = mark.read_text(encoding="utf-8") if mark.is_file() else None
    if there and version is None and source.sha256 is None:
        # Neither the server nor a sum would tell if the rest were of another version.
        there = 0
    with _answer(source, there, version) as answer:
        if answer.status == NOTHING_MORE:
            if str(answer.headers.get("Content-Range", "")).endswith(f"/{there}"):
                return
            part.unlink()
            raise _BrokenOffError("the part that was there is longer than the file")
        there = _first_byte(answer, there)
        whole = _whole_size(answer, there) or source.size
        if whole is not None and whole - there > (free := shutil.disk_usage(part.parent).free):
            raise InputError(
                f"{source.name} needs {(whole - there) / MB:.0f} MB more, and {part.parent} has {free / MB:.0f} MB "
                "free; free some, or choose another folder by --folder"
            )
        etag = answer.headers.get("ETag", "")
        # A weak mark (RFC 9110, 8.8.1) does not stand for the same bytes.
        if etag and not etag.startswith("W/"):
            mark.write_text(etag, encoding="utf-8")
        else:
            mark.unlink(missing_ok=True)
        with part.open("r+b" if there else "wb") as file:
            file.truncate(there)
            file.seek(there)
            _copy(answer, file, source.name, there, whole)


def _copy(answer: Any, file: IO[bytes], name: str, there: int, whole: int | None) -> None:
    with ProgressBar(f"downloading {name} (MB)", None if whole is None else whole // MB) as bar:
        while True:
            try:
                block = answer.read(BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenOffError(_reason(error)) from error
            if not block:
                break
            file.write(block)
            there += len(block)
            bar.update(there // MB)
    if whole is not None and there < whole:
        raise _BrokenOffError("the connection was closed")


@contextlib.contextmanager
def _answer(source: Source, there: int, version: str | None) -> Iterator[Any]:
    """The server's answer: bytes, or that it has none after those that are there.

    Raises:
        _BrokenOffError: there is none.
        InputError: it is a refusal.
    """
    # No compression on the way: the sizes and ranges are those of the file.
    request = urllib.request.Request(source.url, headers={"User-Agent": "medino", "Accept-Encoding": "identity"})
    if there:
        request.add_header("Range", f"bytes={there}-")
        if version is not None:
            request.add_header("If-Range", version)
    if source.token is not None:
        request.add_unredirected_header("Authorization", f"Bearer {source.token}")
    opener = urllib.request.build_opener(_SameHostKeepsTheToken)
    try:
        answer = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == NOTHING_MORE and there:
            yield error
            return
        if error.code >= 500 or error.code == http.HTTPStatus.TOO_MANY_REQUESTS:
            raise _BrokenOffError(f"it answers {error.code}, {error.reason}") from error
        if error.code in (401, 403):
            raise InputError(
                f"{source.host} does not give {source.name} to everybody ({error.code}): {source.refused}"
            ) from error
        raise InputError(
            f"{source.host} answers {error.code}, {error.reason}, for {source.url}; look there for where the file is"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_reason(error)) from error
    with answer:
        yield answer


def _first_byte(answer: Any, there: int) -> int:
    """Where in the file the answer begins: where it was asked to, or at 0 where the server sends all of it."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0
    said = str(answer.headers.get("Content-Range", ""))
    if not said.startswith(f"bytes {there}-"):
        raise _BrokenOffError(f"asked for bytes from {there} on, it sends {said or 'others'}")
    return there


def _whole_size(answer: Any, there: int) -> int | None:
    length = answer.headers.get("Content-Length")
    return there + int(length) if length is not None and length.isdigit() else None


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(text)


class _SameHostKeepsTheToken(urllib.request.HTTPRedirectHandler):
    """The hub leads to new names of a repository, which need the token, and to stores, which must not get it."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if following is not None and token is not None and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            following.add_unredirected_header("Authorization", token)
        return following
