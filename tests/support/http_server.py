"""A web server on loopback that does what servers do: ranges, redirects, refusals, broken connections."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    served: int = 0


@dataclass
class Server:
    """Serves `files` by their decoded path; `with Server(files) as server: server.url("a.csv")`."""

    files: dict[str, bytes]
    ranges: bool = True
    etag: bool = True
    head: bool = True
    host: str = "127.0.0.1"
    required_header: tuple[str, str] | None = None
    redirect: dict[str, str] = field(default_factory=dict)
    # Statuses of the first requests for content, and how many bytes the first answers break off after.
    statuses: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    stall: bool = False
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                outer._answer(self, with_body=True)

            def do_HEAD(self) -> None:
                outer._answer(self, with_body=False)

        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET

        class Bound(ThreadingHTTPServer):
            address_family = family
            daemon_threads = True

        self._http = Bound((self.host, 0), Handler)
        self._released = threading.Event()
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()

    def url(self, path: str, host: str | None = None) -> str:
        name = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"http://{name}:{self._http.server_port}/{path}"

    @property
    def served(self) -> int:
        return sum(request.served for request in self.requests)

    def _answer(self, handler: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        request = Request(handler.command, handler.path, {name.lower(): value for name, value in handler.headers.items()})
        self.requests.append(request)
        path = unquote(urlsplit(handler.path).path).lstrip("/")

        def plain(status: int, **headers: str) -> None:
            handler.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()

        if path in self.redirect:
            plain(302, Location=self.redirect[path])
        elif self.required_header and request.headers.get(self.required_header[0].lower()) != self.required_header[1]:
            plain(401)
        elif not with_body and not self.head:
            plain(405)
        elif with_body and self.statuses:
            plain(self.statuses.pop(0), Retry_After="0")
        elif path not in self.files:
            plain(404)
        else:
            self._content(handler, request, self.files[path], with_body=with_body)

    def _content(self, handler: BaseHTTPRequestHandler, request: Request, content: bytes, *, with_body: bool) -> None:
        status, start, end = 200, 0, len(content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        tag = f'"{hash(content) & 0xFFFFFF:x}"'
        if self.ranges and asked and request.headers.get("if-range", tag) == tag:
            status, start = 206, int(asked[1])
            end = min(int(asked[2]) + 1 if asked[2] else end, end)
        handler.send_response(status)
        handler.send_header("Content-Length", str(end - start))
        if self.ranges:
            handler.send_header("Accept-Ranges", "bytes")
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        if self.etag:
            handler.send_header("ETag", tag)
        if handler.path.endswith("/"):
            handler.send_header("Content-Type", "text/html")
        handler.end_headers()
        if not with_body:
            return
        if self.stall:
            self._released.wait(20)
            return
        piece = content[start:end]
        if self.breaks:
            piece = piece[: self.breaks.pop(0)]
            handler.close_connection = True
        try:
            handler.wfile.write(piece)
        except OSError:
            return
        request.served += len(piece)
