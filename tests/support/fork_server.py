"""Python with its libraries imported: it forks a process for each command or job, which then goes on as `python COMMAND` would."""

from __future__ import annotations

import atexit
import contextlib
import gc
import inspect
import itertools
import json
import logging.config
import os
import runpy
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.metadata import PathDistribution, distributions
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.forked import GARBAGE_THRESHOLDS, JOB_LIBRARIES, KEDRO_LIBRARIES, fork_jobs, import_all

del sys.path[0]

_FROZEN = ("runpy", "importlib._bootstrap", "importlib._bootstrap_external")
LIBRARIES = {"KEDRO": KEDRO_LIBRARIES, "JOB": JOB_LIBRARIES}


def serve(control: socket.socket, listener: socket.socket) -> dict[str, Any]:
    """Fork a process for each request; return in the forked process alone, with the request.

    Args:
        control: ends the server when its other end is closed.
        listener: takes a connection for each request.
    """
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    replies: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, listener, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _report(replies)
        if control in ready:
            sys.exit()
        if listener in ready:
            connection, _ = listener.accept()
            with connection:
                size, descriptors, _, _ = socket.recv_fds(connection, 8, 250, socket.MSG_WAITALL)
                request: dict[str, Any] = json.loads(connection.recv(int(size), socket.MSG_WAITALL)) if size else {}
            # Nothing comes of a client that was killed before it had asked, or while the libraries were imported.
            if request and select.select([descriptors[2]], [], [], 0)[0]:
                request = {}
            pid = os.fork() if request else -1
            if pid == 0:
                _leave_server(request, *descriptors)
                return request
            if request:
                replies[pid] = descriptors.pop(2)
            for descriptor in descriptors:
                os.close(descriptor)


def _report(replies: dict[int, int]) -> None:
    """Report to the client of each process that has ended how it ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            reply = replies.pop(ended[0])
            with contextlib.suppress(BrokenPipeError):
                os.write(reply, f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
            os.close(reply)


def _leave_server(request: dict[str, Any], stdout: int, stderr: int, reply: int, *passed: int) -> None:
    """Undo in the forked process what belongs to the server: its signals and its files, but for those that are passed on."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A shell's background jobs ignore Ctrl-C, and so would what they start: this one listens, as under a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    if request["new_session"]:
        os.setsid()
    os.write(reply, f"{os.getpid()}\n".encode())
    for before, after in itertools.pairwise([2, *sorted(passed), 1024]):
        os.closerange(before + 1, after)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # after a fork Python's own generator is seeded anew, NumPy's is not


def become(request: dict[str, Any]) -> None:
    """Go on as `python` with the request's arguments, environment and working directory."""
    os.chdir(request["cwd"])
    if "multiprocessing.process" in sys.modules:  # it remembers where Python has begun, for the script of a process that it spawns
        sys.modules["multiprocessing.process"].ORIGINAL_DIR = request["cwd"]
    os.environ.clear()
    os.environ.update(request["environment"])
    if "COVERAGE_PROCESS_CONFIG" in os.environ:  # its test is measured
        import coverage.inorout

        # Which files no test goes through, pytest's own processes note: a command would look up each file of the package.
        coverage.inorout.InOrOut.find_possibly_unexecuted_files = lambda _: iter(())  # type: ignore[method-assign]
        coverage.process_startup(force=True)
        # Nothing is gained by measuring its jobs: their worker comes out of an archive.
        del os.environ["COVERAGE_PROCESS_CONFIG"]
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    if "jobs" not in request:
        # A job. (A command is forked only where it has the server's own path.)
        sys.path[1:1] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder and folder not in sys.path]
    else:
        fork_jobs(lambda: request["jobs"])
    option, *arguments = request["arguments"]
    if option == "-m":
        if arguments[0] == "kedro" and "kedro.framework.project" in sys.modules:
            sys.modules["kedro.framework.project"].LOGGING.__init__()  # as its import does, with this folder and this environment
        sys.argv, sys.path[0] = arguments, request["cwd"]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv, sys.path[0] = ["-c", *arguments[1:]], ""
        exec(compile(arguments[0], "<string>", "exec"), sys.modules["__main__"].__dict__)  # noqa: S102
    else:
        sys.argv, sys.path[0] = request["arguments"], os.path.dirname(os.path.abspath(option))  # noqa: PTH100, PTH120
        runpy.run_path(option, run_name="__main__")


def remember_packages() -> None:
    """Read once what is written about the installed packages: each of Kedro's commands asks three times what all of them offer."""
    for name in ("entry_points", "metadata", "_normalized_name"):
        setattr(PathDistribution, name, property(_remembered(getattr(PathDistribution, name).fget)))
    for name in ("_top_level_declared", "_top_level_inferred"):  # which modules a package has installed: its files are many
        setattr(metadata, name, _remembered(getattr(metadata, name)))
    for package in distributions():
        _ = package.entry_points, package.metadata, package._normalized_name  # type: ignore[attr-defined]
    metadata.packages_distributions()


def _remembered(read: Callable[[PathDistribution], Any]) -> Callable[[PathDistribution], Any]:
    values: dict[str, Any] = {}

    def value(package: PathDistribution) -> Any:
        place = str(package._path)  # type: ignore[attr-defined]
        if place not in values:
            values[place] = read(package)
        return values[place]

    return value


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
    """End a process as Python does, but for the clearing of its memory: with these libraries, that takes five times as long as a fork."""
    code: object = None
    try:
        yield
    except SystemExit as error:
        code = error.code
    # Any other exception is Python's to report, and Ctrl-C to die of.
    threading._shutdown()
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def stack(_context: int = 1) -> list[inspect.FrameInfo]:
    """Return what `inspect.stack` does, but for the lines of source: Kedro's settings ask four times at every start for the files alone."""
    frame, frames = sys._getframe(1), []
    while frame:
        frames.append(inspect.FrameInfo(frame, frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, None, None))
        frame = frame.f_back  # type: ignore[assignment]
    return frames


@contextlib.contextmanager
def no_logging_configured() -> Iterator[None]:
    """Keep `kedro.framework.project` from configuring the logging as it is imported: each command does, in its own folder."""
    configure, logging.config.dictConfig = logging.config.dictConfig, lambda _: None
    try:
        yield
    finally:
        logging.config.dictConfig = configure


if __name__ == "__main__":
    with no_logging_configured():
        for library in LIBRARIES[sys.argv[1]]:
            import_all(library)
    remember_packages()
    if "kedro_cloudtrain.jobs.worker_archive" in sys.modules:  # what is the same for each job of this package
        archives = sys.modules["kedro_cloudtrain.jobs.worker_archive"]
        _ = archives.worker_archive(), archives.worker_archive(bytecode=True), archives.pod_archive()
    if "kedro_cloudtrain.jobs.scripts" in sys.modules:  # the shipped templates, compiled
        templates = sys.modules["kedro_cloudtrain.jobs.scripts"].shipped_templates()
        for name in templates.list_templates(["j2"]):
            templates.get_template(name)
    if "kedro_cloudtrain.storage.s3_client" in sys.modules:  # a first client reads what botocore knows of S3
        sys.modules["kedro_cloudtrain.storage.s3_client"].make_client("http://localhost", "any", ("any", "any"), 1, lambda keys: None)
    inspect.stack()  # remembers each module's file
    # Those that have none would be looked for in all modules, for each frame.
    inspect.modulesbyfile.update({f"<frozen {name}>": name for name in _FROZEN})  # type: ignore[attr-defined]
    inspect.stack = stack
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    with leaving_at_once():
        become(serve(*(socket.socket(fileno=int(number)) for number in sys.argv[2:])))
