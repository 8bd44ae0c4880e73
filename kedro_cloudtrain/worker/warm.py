"""Jobs that begin with their libraries imported: a process that has imported them forks each job."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .protocol import GPU_VARIABLE, PACKAGE, SCRIPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# macOS has `fork` as well, and frameworks that do not survive it.
CAN_FORK = sys.platform == "linux"
_OF_TRAININGS = ("numpy", "pandas", "pyarrow.parquet", "sklearn.metrics", "sklearn.model_selection")
_OF_TABLES = ("numpy", "pandas", "pyarrow.parquet")
# Only these are imported before a fork: none of them has threads of its own by then.
_NAMED = ("numpy", "pandas", "scipy", "sklearn")
# These compute on a GPU where there is one, and a GPU that is open does not survive a fork: there, each job imports them itself.
_MAY_OPEN_GPU = ("xgboost", "lightgbm", "catboost")
_GPU_DEVICE = Path("/dev/nvidiactl")
_SURVIVE_NO_FORK = ("torch", "tensorflow", "jax", "keras")
_LENGTH_BYTES = 8


def libraries_of(script: str) -> tuple[str, ...]:
    """Return the modules that a job's script is sure to import, of those that survive a fork."""
    has_gpu = bool(os.environ.get(GPU_VARIABLE)) or _GPU_DEVICE.exists()
    named = [
        name for name in (*_NAMED, *(() if has_gpu else _MAY_OPEN_GPU)) if re.search(rf"^\s*(import|from) {name}\b", script, re.MULTILINE)
    ]
    implied = _OF_TRAININGS if "TrainingJob" in script else _OF_TABLES if "job.load(" in script else ()
    return tuple(dict.fromkeys((*implied, *named)))


class WarmJob:
    """A job that the warm process has forked: as much of `subprocess.Popen` as a group needs.

    Attributes:
        pid: its process.
        stdout: what it writes, line by line.
    """

    def __init__(self, pid: int, output: int, replies: Any) -> None:
        self.pid = pid
        self.stdout = os.fdopen(output, encoding="utf-8", errors="replace")
        self._replies = replies

    def wait(self) -> int:
        """Wait until the job has ended and return its exit status, or minus the signal that has ended it."""
        return int(self._replies.readline() or "1")


class WarmProcess:
    """A process that imports what jobs import, and forks each of them.

    Args:
        archive: the worker's archive.
    """

    def __init__(self, archive: Path) -> None:
        self._socket, theirs = socket.socketpair()
        self._replies = self._socket.makefile("r")
        begin = f"import sys; sys.path.insert(0, {str(archive)!r}); from {PACKAGE}.warm import serve; serve({theirs.fileno()})"
        with theirs:
            # In this process's group: what ends the machine's process ends it, too.
            self._process = subprocess.Popen([sys.executable, "-c", begin], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def start(self, place: Path, environment: Mapping[str, str]) -> WarmJob | None:
        """Start the job of a folder; return None where the process cannot fork it."""
        libraries = libraries_of((place / SCRIPT).read_text(encoding="utf-8", errors="replace"))
        request = json.dumps({"place": str(place), "environment": dict(environment), "libraries": libraries}).encode()
        reader, writer = os.pipe()
        try:
            socket.send_fds(self._socket, [f"{len(request):{_LENGTH_BYTES}}".encode()], [writer])
            self._socket.sendall(request)
            pid = int(self._replies.readline())
        except (OSError, ValueError):  # It has ended.
            os.close(reader)
            return None
        finally:
            os.close(writer)
        return WarmJob(pid, reader, self._replies)

    def close(self) -> None:
        """End the process."""
        self._replies.close()
        self._socket.close()
        self._process.wait()


def serve(number: int) -> None:
    """Fork a job for each request, one after another, until the other end is closed.

    Args:
        number: the file descriptor of the socket that requests come from.
    """
    archive = sys.path.pop(0)
    path = [folder for folder in sys.path if folder]
    requests = socket.socket(fileno=number)
    while True:
        length, descriptors, _, _ = socket.recv_fds(requests, _LENGTH_BYTES, 1, socket.MSG_WAITALL)
        if not length:
            return
        request = json.loads(requests.recv(int(length), socket.MSG_WAITALL))
        for library in request["libraries"]:
            # A library that is broken or missing makes the job itself fail.
            with contextlib.suppress(Exception):
                importlib.import_module(library)
        if threading.active_count() > 1 or any(library in sys.modules for library in _SURVIVE_NO_FORK):
            return
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become(Path(request["place"]), request["environment"], descriptors[0], path, archive)
        os.close(descriptors[0])
        requests.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        requests.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(place: Path, environment: Mapping[str, str], output: int, path: Sequence[str], archive: str) -> NoReturn:
    """Go on as `python train.py` in a job's folder, and end as Python does, but for the clearing of its memory."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    # The job has a worker of its own.
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    sys.path_importer_cache.pop(archive, None)
    sys.path[:], sys.argv[:] = [str(place), *path], [SCRIPT]
    if "multiprocessing.process" in sys.modules:  # It remembers where Python has begun.
        sys.modules["multiprocessing.process"].ORIGINAL_DIR = str(place)  # type: ignore[attr-defined]
    if "numpy.random" in sys.modules:
        # Python's own generator is seeded anew after a fork; NumPy's is not.
        sys.modules["numpy.random"].seed()
    code = _run_script(place / SCRIPT)
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  # waits for the job's threads, as the end of Python does
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _run_script(script: Path) -> int:
    """Run a script as the program, and return its exit status."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(script), __builtins__=__builtins__)
    sys.modules["__main__"] = main
    try:
        exec(compile(script.read_bytes(), str(script), "exec"), main.__dict__)  # noqa: S102  # the job's own script
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)  # noqa: T201
    except BaseException as error:  # noqa: BLE001  # as Python prints what nobody has caught
        traceback.print_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
    else:
        return 0
    return 1
