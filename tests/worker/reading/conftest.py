"""A server that answers by a script, as no well-behaved server does."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Answer:
    """A response; `cut` is the number of bytes of its body that are sent before the connection breaks, None for all."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Asked:
    """A request; `number` counts from 1."""

    number: int
    method: str
    target: str
    headers: dict[str, str]

    def part_of(self, content: bytes, **headers: str) -> Answer:
        """Answer a range as a good server does."""
        if "range" not in self.headers:
            return Answer(200, content, headers)
        start, _, end = self.headers["range"].removeprefix("bytes=").partition("-")
        last = min(int(end or len(content)), len(content) - 1)
        return Answer(206, content[int(start) : last + 1], {"Content-Range": f"bytes {start}-{last}/{len(content)}", **headers})


@contextlib.contextmanager
def _scripted(answer: Callable[[Asked], Answer | None]) -> Iterator[tuple[str, list[Asked]]]:
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(Asked(len(asked) + 1, self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            scripted_answer = answer(asked[-1])
            if scripted_answer is None:
                self.close_connection = True
                return
            self.send_response(scripted_answer.status)
            for name, value in {"Content-Length": str(len(scripted_answer.body)), **scripted_answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = self.close_connection or scripted_answer.cut is not None
            if self.command == "GET":
                with contextlib.suppress(OSError):
                    self.wfile.write(scripted_answer.body[: scripted_answer.cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def scripted() -> Callable[..., Any]:
    return _scripted


@pytest.fixture
def answer() -> type[Answer]:
    return Answer
