"""Callbacks that run in the job's own process, for a fit that several processes do: its progress and checkpoints have one place.

Each process has its own copy of the model, all are equal after each round, and no process may stop in another round than the rest: what
follows from a round is decided in the first process, or in the job's, and the others wait for it.
"""

from __future__ import annotations

import pickle
import secrets
import threading
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

_BACKLOG = 64
_DO, _POST, _GET = "do", "post", "get"
# What the job answers while it wants the model's bytes.
_MODEL = "model"


class RemoteModel(Protocol):
    """The first process's model, as the callbacks of the job see it."""

    def save_model(self, file: Path) -> None:
        """Write the model to a file of the job's."""


class Relay:
    """The job's end: it runs callbacks for the first process, and hands out to the others what has become of a round.

    Args:
        callbacks: by number; each takes what the first process tells of a round, and the model.
        host: this machine's address, at which the processes reach it.
    """

    def __init__(self, callbacks: Sequence[Callable[[Any, RemoteModel], Any]], host: str) -> None:
        self._callbacks = callbacks
        self._key = secrets.token_bytes(32)
        self._listener = Listener((host, 0), backlog=_BACKLOG, authkey=self._key)
        self._outcomes: dict[Any, Any] = {}
        self._changed = threading.Condition()
        self._closed = False
        threading.Thread(target=self._accept, name="cloudtrain-relay", daemon=True).start()

    def caller(self) -> Caller:
        """Return the processes' end, which can be sent to them."""
        return Caller(self._listener.address, self._key)

    def close(self) -> None:
        """Answer nobody any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except Exception:  # noqa: BLE001, S112  # closed, or somebody without the key: the next one may have it
                continue
            threading.Thread(target=self._serve, args=(connection,), name="cloudtrain-relay", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection:
            try:
                while True:
                    connection.send(self._answered(connection, *connection.recv()))
            except (EOFError, OSError):
                return  # The fit is over, in that process.

    def _answered(self, connection: Connection, kind: str, number: Any, payload: Any) -> tuple[Any, BaseException | None]:
        if kind == _DO:
            try:
                return self._callbacks[number](payload, _Fetched(connection)), None
            except BaseException as error:  # noqa: BLE001  # it is raised where the round was
                return None, _sendable(error)
        with self._changed:
            if kind == _POST:
                self._outcomes[number] = payload
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or number in self._outcomes)
            return self._outcomes.get(number), None


class Caller:
    """The processes' end of a relay; `first` is whether this is the process whose model counts."""

    def __init__(self, address: Any, key: bytes) -> None:
        self._address, self._key = address, key
        self._connection: Connection | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}

    @property
    def first(self) -> bool:
        """Whether this is the first process of the cluster."""
        from distributed import get_worker

        return bool(get_worker().name == 0)

    def do(self, callback: int, arguments: Any, model: Callable[[], bytes]) -> Any:
        """Run one of the job's callbacks, and return its value, or raise its error.

        Args:
            callback: its number.
            arguments: what it takes.
            model: makes the model's bytes, if it asks for them.
        """
        return self._call(_DO, callback, arguments, model)

    def same(self, number: Any, decide: Callable[[], Any]) -> Any:
        """Return the first process's decision about a round in every process, or raise its error.

        Args:
            number: the round.
            decide: called in the first process alone.
        """
        if not self.first:
            value, error = self._call(_GET, number, None) or (None, ConnectionError("the first process of the fit has ended"))
        else:
            try:
                value, error = decide(), None
            except Exception as raised:  # noqa: BLE001  # early stopping, for LightGBM, is an error
                value, error = None, raised
            self._call(_POST, number, (value, None if error is None else _sendable(error)))
        if error is not None:
            raise error
        return value

    def _call(self, kind: str, number: Any, payload: Any, model: Callable[[], bytes] | None = None) -> Any:
        connection = self._connection = self._connection or Client(self._address, authkey=self._key)
        connection.send((kind, number, payload))
        while (answer := connection.recv()) == _MODEL:
            connection.send_bytes(model() if model is not None else b"")
        value, error = answer
        if error is not None:
            raise error
        return value


class _Fetched:
    """The first process's model, fetched when a callback saves it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save_model(self, file: Path) -> None:
        self._connection.send(_MODEL)
        Path(file).write_bytes(self._connection.recv_bytes())


def _sendable(error: BaseException) -> BaseException:
    """Return an error as another process can read it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # its own
    except Exception:  # noqa: BLE001  # an error of any class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
