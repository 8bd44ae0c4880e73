"""Commands and jobs as processes of their own that need not import their libraries: a server that xdist's workers share forks them."""

from __future__ import annotations

import importlib.util
import json
import os
import pkgutil
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]
# What Kedro's commands and the nodes of the tests' projects import, and no project can change: `kedro.framework.project`, too, which
# reads the configuration of the logging from the working directory and the environment, but that a forked command does again.
KEDRO_LIBRARIES = (
    "appdirs", "attr", "attrs", "boto3", "botocore.session", "click", "cloudpickle", "coverage", "dynaconf", "fsspec",
    "fsspec.implementations.chained", "fsspec.implementations.local", "jinja2", "joblib", "kedro.config",
    "kedro.framework.cli.cli", "kedro.framework.cli.project", "kedro.framework.hooks", "kedro.framework.session",
    "kedro.io", "kedro.logging", "kedro.pipeline", "kedro.validation", "kedro_datasets.json", "kedro_datasets.pandas.csv_dataset",
    "kedro_datasets.pandas.excel_dataset", "kedro_datasets.pandas.parquet_dataset", "kedro_datasets.pickle.pickle_dataset",
    "kedro_telemetry.masking", "kedro_telemetry.plugin", "kedro_viz.integrations.kedro.hooks", "kedro_viz.integrations.kedro.run_hooks",
    "kedro_viz.launchers.cli.main", "logging.config", "more_itertools",
    "omegaconf._impl", "omegaconf.vendor.antlr4.LL1Analyzer", "openpyxl", "pandas", "pathspec", "pluggy", "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.pandas_compat", "pyarrow.parquet", "pydantic", "requests", "rich._emoji_codes", "rich.console", "rich.live", "rich.logging",
    "rich.pretty", "rich.table", "rich.traceback", "s3fs", "scipy.stats", "sklearn.ensemble", "sklearn.metrics", "sklearn.model_selection",
    "tomli_w", "webbrowser", "yaml",
    *(
        f"kedro_cloudtrain.{package}"
        for package in (
            "backends", "commands", "config", "datasets", "jobs", "nodes", "planning", "plugin", "running", "runs", "storage", "worker"
        )
    ),
)  # fmt: skip
# What jobs import; of Keras and JAX, that is with the backend that the recipes take.
JOB_LIBRARIES = (
    "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "sklearn.model_selection", "cloudpickle", "joblib", "xgboost",
    "lightgbm", "catboost", "jax", "keras",
)  # fmt: skip
# How many new objects Python waits for before it looks for garbage (its own 700, 10 and 10 cost these tests a tenth of their time).
GARBAGE_THRESHOLDS = 50_000, 20, 20
# What an interpreter or a library reads once, when it begins: where a test sets one of these, the process is a new one. A forked
# process honours PYTHONUNBUFFERED by itself, and a job PYTHONPATH.
_READ_AT_START = re.compile(r"(PYTHON(?!UNBUFFERED$)|LD_|LC_|LANG|TZ|OMP_|OPENBLAS_|MKL_|AWS_|FSSPEC_|MALLOC_|KERAS_|JAX_|XLA_)")


class ForkedProcess:
    """A process that a server has forked: as much of `subprocess.Popen` as the tests use.

    Attributes:
        pid: the process's id.
        returncode: the exit status once the process has ended, or minus the signal that ended it.
    """

    def __init__(self, arguments: list[str], pid: int, reply: socket.socket, stdout: int, stderr: int) -> None:
        self.args, self.pid, self.returncode = arguments, pid, None
        self._reply, self._stdout, self._stderr = reply, stdout, stderr
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        with self._lock:
            if self.returncode is None and select.select([self._reply], [], [], 0)[0]:
                # It stays open: another thread may be about to wait for it.
                self.returncode = int(_line(self._reply))
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while (returncode := self.poll()) is None:
            left = None if give_up_at is None else give_up_at - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout)
            select.select([self._reply], [], [], left)
        return returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str | None]:
        """Wait until the process has ended; return what it has written."""
        self.wait(timeout)
        return _read(self._stdout), None if self._stderr == self._stdout else _read(self._stderr)

    @property
    def output(self) -> str:
        """What the process has written so far to its standard output."""
        return os.pread(self._stdout, 1 << 20, 0).decode(errors="ignore")

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, if it has not ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A server that forks processes with the libraries of its kind imported; it starts when the first of them is asked for.

    Args:
        kind: whose libraries.
        jobs: the server of the jobs that its processes start.
    """

    def __init__(self, kind: str, jobs: ForkServer | None = None) -> None:
        self._kind, self._jobs, self._lock = kind, jobs, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._address = ""
        # As it is before any test: the first command may come in one that has changed it, and would leave no other to be forked.
        self._environment = _read_at_start(os.environ)

    def takes(self, environment: Mapping[str, str]) -> bool:
        """Return whether a process with this environment may be forked."""
        return _read_at_start(environment) == self._environment

    def start(
        self, arguments: list[str], cwd: Path, environment: dict[str, str], *, new_session: bool = False, one_output: bool = False
    ) -> ForkedProcess:
        """Start `python ARGUMENTS`; `one_output` is `stderr=subprocess.STDOUT`."""
        stdout = _file()
        stderr = stdout if one_output else _file()
        address = self.open()
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "new_session": new_session}
        if self._jobs is not None:
            request["jobs"] = self._jobs.open()
        return _start(address, request, stdout, stderr)

    def run(self, arguments: list[str], cwd: Path, environment: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` to its end."""
        process = self.start(arguments, cwd, environment)
        try:
            stdout, stderr = process.communicate(timeout)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.wait(), stdout, stderr)

    def open(self) -> str:
        """Return the address where the server listens; it starts when somebody connects, who waits until it has its libraries."""
        with self._lock:
            if not self._address:
                self._listen()
            return self._address

    def share(self, address: str) -> None:
        """Be the server that another process has opened: xdist's workers share those of pytest's first process."""
        self._address = address

    def stop(self) -> None:
        """End the server, if this process has opened it."""
        if self._control is not None:
            self._control.close()
            self._starting.join(60)
            if self._process is not None:
                self._process.wait(60)
            Path(self._address).unlink()
            Path(self._address).parent.rmdir()
            self._control, self._process, self._address = None, None, ""

    def _listen(self) -> None:
        address = str(Path(tempfile.mkdtemp(prefix="fork-server-")) / "socket")
        self._control, server_end = socket.socketpair()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen(128)
        self._starting = threading.Thread(target=self._start_when_asked, args=(server_end, listener), daemon=True)
        self._starting.start()
        self._address = address

    def _start_when_asked(self, server_end: socket.socket, listener: socket.socket) -> None:
        with server_end, listener:
            ready, _, _ = select.select([server_end, listener], [], [])
            if server_end in ready:  # it is stopped
                return
            environment = {name: value for name, value in os.environ.items() if not _READ_AT_START.match(name)} | self._environment
            self._process = subprocess.Popen(
                [sys.executable, _TESTS / "support/fork_server.py", self._kind, str(server_end.fileno()), str(listener.fileno())],
                pass_fds=[server_end.fileno(), listener.fileno()],
                # What a command runs is measured, not what the server imports: its tests' own processes import the same.
                env=unmeasured(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # A terminal's Ctrl-C is for pytest, which ends the server.
                start_new_session=True,
            )


def fork_jobs(server: Callable[[], str]) -> None:
    """Let the jobs that this process starts on this computer be forked from now on: all else about them is as of any other.

    Args:
        server: returns the address of the server of jobs.
    """
    environment, popen, python_path = _read_at_start(os.environ), subprocess.Popen, {"PYTHONPATH": ""}

    class Popen(popen):  # type: ignore[misc, valid-type]
        def __new__(cls, arguments: Sequence[str], *args: Any, **options: Any) -> Any:
            # As the local backend starts one; a pod's bootstrap reads its job's output by a pipe.
            is_job = arguments == [sys.executable, "train.py"] and "pass_fds" in options
            # Kedro tells the processes that it starts where the project's packages are.
            path = options["env"].get("PYTHONPATH", "").split(os.pathsep) if is_job else []
            # The number of the socket of a machine that is kept is another one in a forked process.
            is_job = is_job and "CLOUDTRAIN_LOCKS" not in options["env"]
            if not is_job or _read_at_start(options["env"]) | python_path != environment | python_path or _replaces_a_library(path):
                return super().__new__(cls)
            request = {"arguments": ["train.py"], "cwd": str(options["cwd"]), "environment": options["env"], "new_session": True}
            log = options["stdout"].fileno()
            return _start(server(), request, log, log, options["pass_fds"])

    subprocess.Popen = Popen  # type: ignore[misc]


def import_all(library: str) -> None:
    """Import the module by the name, and with one of this package all that are below it."""
    spec = importlib.util.find_spec(library) if library.startswith("kedro_cloudtrain.") else None
    below = pkgutil.walk_packages(spec.submodule_search_locations, f"{library}.") if spec and spec.submodule_search_locations else ()
    for name in (library, *(module.name for module in below)):
        with suppress(ImportError):  # an older Kedro has fewer modules
            importlib.import_module(name)


def _start(address: str, request: dict[str, Any], stdout: int, stderr: int, pass_fds: Sequence[int] = ()) -> ForkedProcess:
    """Have a server fork a process."""
    reply, server_end = socket.socketpair()
    content = json.dumps(request).encode()
    with server_end, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [f"{len(content):8}".encode()], [stdout, stderr, server_end.fileno(), *pass_fds])
        connection.sendall(content)
    return ForkedProcess(request["arguments"], int(_line(reply)), reply, stdout, stderr)


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which no process measures coverage: a job's worker comes out of an archive, and counts for nothing."""
    return {name: value for name, value in environment.items() if name != "COVERAGE_PROCESS_CONFIG"}


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if _READ_AT_START.match(name)}


def _replaces_a_library(path: Sequence[str]) -> bool:
    """Return whether a folder on Python's path has another module by the name of one that the server of jobs has imported."""
    libraries = {library.partition(".")[0] for library in JOB_LIBRARIES}
    return any(entry.stem in libraries for folder in path if Path(folder).is_dir() for entry in Path(folder).iterdir())


def _line(reply: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = reply.recv(1)
        if not piece:
            raise RuntimeError("The fork server has ended: its own error is on pytest's standard error.")
        line += piece
    return line


def _file() -> int:
    """Open a file without a name, for what a process writes: it is complete when the process has ended."""
    descriptor, name = tempfile.mkstemp()
    Path(name).unlink()
    return descriptor


def _read(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode()


JOBS = ForkServer("JOB")
KEDRO_COMMANDS = ForkServer("KEDRO", JOBS)
