"""A real S3 server over a directory, whose folders are buckets: `rclone serve s3` on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ACCESS_KEY, SECRET_KEY = "user_PLANTED_S3_ID", "rps_PLANTED_S3_SECRET"


@dataclass
class S3Server:
    """`with S3Server(root) as s3: s3.endpoint_url`."""

    root: Path

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
        options = ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--vfs-cache-mode", "off", "--dir-cache-time", "0s", "--config", "/dev/null"]
        self._process = subprocess.Popen(
            [rclone, "serve", "s3", str(self.root), "--addr", self._address, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        host, _, port = self._address.partition(":")
        for _ in range(200):
            try:
                socket.create_connection((host, int(port)), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        self.__exit__()
        raise RuntimeError("rclone did not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    @property
    def endpoint_url(self) -> str:
        return f"http://{self._address}"
