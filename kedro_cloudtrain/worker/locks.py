"""The locks of jobs on this computer: their client passes them on, so that they stay held if it is killed."""

from __future__ import annotations

import contextlib
import os
import socket

from .protocol import LOCKS_VARIABLE

_LONGEST_NAME = 4096


class Locks:
    """The locks that a client has passed to a group's machine, until each job is done; on a pod, none.

    A lock stays held as long as the client or this machine has it: a client that comes later waits until the job is done.

    Attributes:
        is_client_gone: whether the client has ended; not known on a pod.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[int]] = {}
        self.is_client_gone = False
        number = os.environ.pop(LOCKS_VARIABLE, "")
        self._socket = socket.socket(fileno=int(number)) if number else None
        if self._socket is not None:
            self._socket.setblocking(False)
            # Jobs must not inherit it.
            self._socket.set_inheritable(False)

    def take(self) -> None:
        """Take the locks that have been passed so far."""
        while self._socket is not None:
            with contextlib.suppress(BlockingIOError):
                name, descriptors, _, _ = socket.recv_fds(self._socket, _LONGEST_NAME, 1)
                if not name:
                    self.is_client_gone = True
                    return
                self._held.setdefault(name.decode().strip(), []).extend(descriptors)
                continue
            return

    def release(self, job: str) -> None:
        """Release the lock of a job that is done."""
        self.take()
        for descriptor in self._held.pop(job, ()):
            os.close(descriptor)
