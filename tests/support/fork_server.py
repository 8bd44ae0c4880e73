"""Python with its libraries imported: it forks a process for each command, which then goes on as `python COMMAND` would."""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import signal
import socket
import sys
from typing import Any

# What a Kedro command and the nodes of the tests' projects import, and no project can change. Never `kedro.framework.project`, nor
# what imports it: it reads the configuration of the logging from the working directory and the environment.
KEDRO = (
    "attr", "attrs", "boto3", "botocore.session", "click", "cloudpickle", "dynaconf", "fsspec", "fsspec.implementations.local",
    "jinja2", "joblib", "kedro.config", "kedro.framework.hooks", "kedro.io", "kedro.logging", "kedro.pipeline", "kedro.validation",
    "kedro_datasets.json", "kedro_datasets.pandas.csv_dataset", "kedro_datasets.pandas.excel_dataset",
    "kedro_datasets.pandas.parquet_dataset", "kedro_datasets.pickle.pickle_dataset", "logging.config", "more_itertools", "omegaconf",
    "openpyxl", "pandas", "pathspec", "pluggy", "pyarrow.pandas_compat", "pyarrow.parquet", "pydantic", "requests", "rich.console",
    "rich.live", "rich.logging", "rich.pretty", "rich.table", "rich.traceback", "s3fs", "scipy.stats", "sklearn.ensemble",
    "sklearn.metrics", "sklearn.model_selection", "tomli_w", "yaml", "kedro_cloudtrain.backends.local",
    "kedro_cloudtrain.backends.runpod.backend", "kedro_cloudtrain.config", "kedro_cloudtrain.datasets", "kedro_cloudtrain.nodes",
    "kedro_cloudtrain.running.function", "kedro_cloudtrain.running.training",
)  # fmt: skip
# What a job imports whatever its library is.
JOB = ("numpy", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "sklearn.model_selection")


def serve(control: socket.socket) -> dict[str, Any]:
    """Fork a process for each request; return in the forked process alone, with the request."""
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    replies: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _report(replies)
        if control in ready:
            size, descriptors, _, _ = socket.recv_fds(control, 8, 3)
            if not size:
                sys.exit()
            request: dict[str, Any] = json.loads(control.recv(int(size), socket.MSG_WAITALL))
            pid = os.fork()
            if pid == 0:
                _leave_server(request, *descriptors)
                return request
            stdout, stderr, replies[pid] = descriptors
            os.close(stdout)
            os.close(stderr)


def _report(replies: dict[int, int]) -> None:
    """Report to the client of each process that has ended how it ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            reply = replies.pop(ended[0])
            with contextlib.suppress(BrokenPipeError):
                os.write(reply, f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
            os.close(reply)


def _leave_server(request: dict[str, Any], stdout: int, stderr: int, reply: int) -> None:
    """Undo in the forked process what belongs to the server: its signals and its files."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A shell's background jobs ignore Ctrl-C, and so would what they start: this one listens, as under a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    if request["new_session"]:
        os.setsid()
    os.write(reply, f"{os.getpid()}\n".encode())
    os.closerange(3, 1024)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # after a fork Python's own generator is seeded anew, NumPy's is not


def become(request: dict[str, Any]) -> None:
    """Go on as `python` with the request's arguments, environment and working directory."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    # This process is measured already, and nothing is gained by measuring its jobs: their worker comes out of an archive.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    option, *arguments = request["arguments"]
    if option == "-m":
        sys.argv, sys.path[0] = arguments, request["cwd"]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv, sys.path[0] = ["-c", *arguments[1:]], ""
        exec(compile(arguments[0], "<string>", "exec"), sys.modules["__main__"].__dict__)  # noqa: S102
    else:
        sys.argv, sys.path[0] = request["arguments"], os.path.dirname(os.path.abspath(option))  # noqa: PTH100, PTH120
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    for module in globals()[sys.argv[1]]:
        with contextlib.suppress(ImportError):  # an older Kedro has fewer modules
            importlib.import_module(module)
    if "kedro.framework.project" in sys.modules:
        sys.exit("kedro.framework.project was imported before there was a project")
    inspect.stack()  # remembers each module's file: Kedro's settings look through all of them at every start
    gc.collect()
    gc.freeze()
    become(serve(socket.socket(fileno=int(sys.argv[2]))))
