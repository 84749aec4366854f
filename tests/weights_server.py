"""An HTTP server on loopback that serves files as servers on the way do: breaking off, ignoring ranges, lying."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What the server does.

    Attributes:
        files: their bytes by path.
        break_after: bytes of each answer after which it closes the connection; None: never.
        ranges: whether it knows Range.
        etag: sent with each answer; None: none.
        token: wanted for every file; None: none.
        redirects: where a path leads.
        length: whether it says how long an answer is.
        requests: path, Range and Authorization of each request so far.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: int | None = None
    ranges: bool = True
    etag: str | None = '"one"'
    token: str | None = None
    redirects: dict[str, str] = field(default_factory=dict)
    length: bool = True
    before: Callable[["Behaviour"], None] | None = None
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    @property
    def asked(self) -> list[str | None]:
        """The Range of each request."""
        return [wanted for _, wanted, _ in self.requests]


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's behaviour."""

    server: Any

    def do_GET(self) -> None:
        does: Behaviour = self.server.behaviour
        wanted, authorization = self.headers.get("Range"), self.headers.get("Authorization")
        does.requests.append((self.path, wanted, authorization))
        if does.before is not None:
            does.before(does)
        if self.path in does.redirects:
            self.answer(302, [("Location", does.redirects[self.path])], b"")
        elif does.token is not None and authorization != f"Bearer {does.token}":
            self.answer(401, [], b"")
        elif self.path not in does.files:
            self.answer(404, [], b"")
        else:
            self.send_file(does, does.files[self.path], wanted)

    def send_file(self, does: Behaviour, content: bytes, wanted: str | None) -> None:
        headers = [("ETag", does.etag)] if does.etag else []
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and does.ranges else 0
        if self.headers.get("If-Range", does.etag) != does.etag:
            first = 0
        if first >= len(content) > 0:
            self.answer(416, [*headers, ("Content-Range", f"bytes */{len(content)}")], b"")
        elif first:
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self.answer(206, [*headers, ("Content-Range", span)], content[first:])
        else:
            self.answer(200, headers, content)

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        does: Behaviour = self.server.behaviour
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if does.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if does.break_after is None else body[: does.break_after])
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def weights_server(behaviour: Behaviour) -> Iterator[str]:
    """Serve until the end of the block; yields the server's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.behaviour = behaviour  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
