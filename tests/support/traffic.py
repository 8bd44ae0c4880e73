"""What a process sends and receives over Dask's connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tornado.iostream import IOStream

if TYPE_CHECKING:
    import pytest


class Traffic:
    """Counts the bytes of this process's connections to others; traffic between its own scheduler and client does not count."""

    def __init__(self) -> None:
        self._bytes: dict[tuple[int, int], int] = {}

    def counted(self, patch: pytest.MonkeyPatch) -> Self:
        """Count from now on, without Dask's heartbeats: they come by time, not by what is done."""
        patch.setattr("distributed.scheduler.heartbeat_interval", lambda _: 60.0)
        for name in ("read_from_fd", "write_to_fd"):
            patch.setattr(IOStream, name, self._counting(getattr(IOStream, name)))
        return self

    def _counting(self, move: Any) -> Any:
        def moved(stream: IOStream, content: Any) -> Any:
            count = move(stream, content)
            ends = stream.socket.getsockname()[1], stream.socket.getpeername()[1]
            self._bytes[ends] = self._bytes.get(ends, 0) + (count or 0)
            return count

        return moved

    @property
    def bytes(self) -> int:
        own = {here for here, _ in self._bytes}
        return sum(count for (_, there), count in self._bytes.items() if there not in own)
