"""A large file of a web server over several connections: many a server limits what each of them gets."""

from __future__ import annotations

import http.client
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# For a smaller file, more connections take longer than they save.
LARGE_BYTES = 64 * 1024 * 1024
_RANGE_BYTES = 8 * 1024 * 1024
# As many as a browser opens to a server.
_CONNECTIONS = 6
_PIECE_BYTES = 1 << 20
_TRIES = 3


class RangeRequests:
    """The requests for the ranges of a file; each range is resumed where it broke off.

    Args:
        send: sends a GET with some headers, and returns the response; raises where the server refuses, or the connection breaks.
        validator: the file's strong ETag: the ranges of another version are not taken.
        size: the file's size in bytes.
        path: where the file is written.

    Attributes:
        bytes_read: the bytes that came over the network.
    """

    def __init__(self, send: Callable[[Mapping[str, str]], Any], validator: str, size: int, path: Path) -> None:
        self._send = send
        self._validator = validator
        self._size = size
        self._path = path
        self._ends = [min(start + _RANGE_BYTES, size) for start in range(0, size, _RANGE_BYTES)]
        self._at = list(range(0, size, _RANGE_BYTES))
        self._given_up = threading.Event()
        self._counting = threading.Lock()
        self.bytes_read = 0

    @staticmethod
    def suit(response: Any) -> bool:
        """Return whether the response to a request for a whole file is the beginning of one that is worth more connections."""
        headers = response.headers
        size, etag = headers.get("Content-Length", ""), headers.get("ETag", "")
        has_ranges = response.status == http.client.OK and headers.get("Accept-Ranges", "").strip().lower() == "bytes"
        plain = headers.get("Content-Encoding", "").strip().lower() in ("", "identity")
        return has_ranges and plain and etag.startswith('"') and size.isdigit() and int(size) >= LARGE_BYTES

    def fetch(self, first: Any) -> int:
        """Write the file, and return how many bytes from its beginning on are there: its size, unless a range did not arrive.

        Args:
            first: the response to the request for the whole file, of which the first range is taken.
        """
        with self._path.open("r+b") as file:
            file.truncate(self._size)
            with ThreadPoolExecutor(_CONNECTIONS) as pool:
                try:
                    list(pool.map(lambda number: self._range(number, file.fileno(), first if number == 0 else None), range(len(self._at))))
                except BaseException:
                    self._given_up.set()
                    raise
            whole = next((at for at, end in zip(self._at, self._ends, strict=True) if at < end), self._size)
            file.truncate(whole)
        return whole

    def _range(self, number: int, file: int, response: Any) -> None:
        """Write one range, in some tries; if it does not arrive, all others end."""
        for tried in range(_TRIES):
            if self._given_up.is_set():
                return
            try:
                if response is None:
                    response = self._send({"Range": f"bytes={self._at[number]}-{self._ends[number] - 1}", "If-Range": self._validator})
                    if not self._is_asked_for(response, self._at[number]):
                        response.close()
                        break
                with response:
                    self._read(number, file, response)
            except Exception:  # noqa: BLE001  # whatever it was: if it stays, the request for the rest of the file meets and explains it
                sleep(0.2 * 2**tried)
            response = None
            if self._at[number] == self._ends[number]:
                return
        self._given_up.set()

    def _is_asked_for(self, response: Any, start: int) -> bool:
        """Return whether a response is the part of the very file that was asked for."""
        part = str(response.headers.get("Content-Range", ""))
        same = response.headers.get("ETag", self._validator) == self._validator
        is_part = response.status == http.client.PARTIAL_CONTENT and part.startswith(f"bytes {start}-")
        return same and is_part and part.endswith(f"/{self._size}")

    def _read(self, number: int, file: int, response: Any) -> None:
        while (left := self._ends[number] - self._at[number]) and not self._given_up.is_set():
            piece = response.read1(min(left, _PIECE_BYTES))
            if not piece:
                return
            os.pwrite(file, piece, self._at[number])
            self._at[number] += len(piece)
            with self._counting:
                self.bytes_read += len(piece)
