"""A forked command is what `python` would have run: the tests that go through the fork server rest on this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.forked import JOBS, KEDRO_COMMANDS, ForkedProcess, ForkServer
from support.kedro_project import Project, make_project

PROBE = """
import json, logging, os, random, signal, sys, threading
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "name": __name__, "main": sys.modules["__main__"].__name__,
    "environment": {name: value for name, value in os.environ.items() if name != "_"}, "stdin": sys.stdin.read(),
    "terminals": [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)],
    "encodings": [stream.encoding for stream in (sys.stdin, sys.stdout, sys.stderr)],
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)],
    "logging": [logging.getLogger().level, len(logging.getLogger().handlers)],
    "threads": threading.active_count(), "leads": os.getsid(0) == os.getpid(),
    "probe": "probe" in sys.modules,
}))
"""
ENDS = {
    "nothing": "print('done')",
    "status": "import sys; sys.exit(7)",
    "words": "import sys; sys.exit('in words')",
    "error": "print('before'); raise ValueError('on purpose')",
    "interrupt": "raise KeyboardInterrupt",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "at exit": "import atexit; atexit.register(print, 'last'); print('first')",
    "thread": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
}


def real(arguments: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def environment() -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}, "ADDED": "é"}


@pytest.mark.parametrize("server", [KEDRO_COMMANDS, JOBS], ids=["kedro", "job"])
@pytest.mark.parametrize("arguments", [["-m", "probe", "one", "--two"], ["probe.py", "one"]], ids=" ".join)
def test_a_forked_process_finds_what_a_new_one_would(server: ForkServer, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    new = real(arguments, tmp_path, environment())
    forked = server.run(arguments, tmp_path, environment(), 60)
    assert forked.stdout == new.stdout
    assert (forked.returncode, forked.stderr) == (new.returncode, new.stderr) == (0, "")


@pytest.mark.parametrize("end", ENDS)
def test_a_forked_process_ends_as_a_new_one_would(end: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(ENDS[end])
    new = real(["program.py"], tmp_path, environment())
    forked = KEDRO_COMMANDS.run(["program.py"], tmp_path, environment(), 60)
    assert (forked.returncode, forked.stdout) == (new.returncode, new.stdout)
    # A stack begins with the server's own calls.
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["cloudtrain", "render", "train_mass"],
        ["cloudtrain", "plan"],
        ["cloudtrain", "plan", "--params", "mass.seed=-1"],
        ["cloudtrain", "no-such-command"],
        ["run", "--runner=cloudtrain", "--params", "mass.seed=-1"],
    ],
    ids=" ".join,
)
def test_a_forked_kedro_command_writes_what_a_users_writes(command: list[str], tmp_path: Path) -> None:
    forked, users = make_project(tmp_path), Project(tmp_path / "shop", forks=False)
    done, wanted = forked.kedro(*command), users.kedro(*command)
    assert done.returncode == wanted.returncode
    assert written(done.stdout) == written(wanted.stdout)
    assert written(done.stderr) == written(wanted.stderr)


def written(text: str) -> list[str]:
    """Return the lines of an output without the times at their beginnings."""
    return [line[20:] if line.startswith(("[", " " * 20)) else line for line in text.splitlines()]


def test_a_project_logs_as_its_own_configuration_wants_it(project: Project) -> None:
    project.write("conf/logging.yml", "version: 1\nroot: {level: ERROR}\n")
    assert "INFO" not in project.kedro("cloudtrain", "plan").stdout
    assert "INFO" not in Project(project.path, forks=False).kedro("cloudtrain", "plan").stdout


def test_what_an_interpreter_reads_at_its_start_is_not_forked() -> None:
    assert KEDRO_COMMANDS.takes({**os.environ, "COLUMNS": "80"})
    assert not KEDRO_COMMANDS.takes({**os.environ, "PYTHONPATH": "elsewhere"})
    assert not KEDRO_COMMANDS.takes({**os.environ, "OMP_NUM_THREADS": "17"})


def test_a_running_process_is_seen_signalled_and_waited_for(tmp_path: Path) -> None:
    process = KEDRO_COMMANDS.start(["-c", "import time; print('begun', flush=True); time.sleep(600)"], tmp_path, environment())
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(60) == process.poll() == -9
    process.kill()  # nothing is signalled any more


JOB = """
import json, os, subprocess, sys
held = [number for number in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{number}").endswith("/lock")]
print(json.dumps({"argv": sys.argv, "path": sys.path, "leads": os.getsid(0) == os.getpid(), "held": len(held), "stdin": sys.stdin.read()}))
print("an error", file=sys.stderr)
subprocess.run([sys.executable, "-c", "print('its own process')"], check=True)
os._exit(3)
"""


def test_a_job_on_this_computer_is_forked_and_does_as_one_that_is_started(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(JOB)
    logs = []
    # A variable that an allocator reads when it starts keeps a job from being forked.
    for more, kind in (({}, ForkedProcess), ({"MALLOC_ARENA_MAX": "2"}, subprocess.Popen)):
        with (tmp_path / "log").open("wb") as log, (tmp_path / "lock").open("w") as lock:
            process = subprocess.Popen(
                [sys.executable, "train.py"],
                cwd=tmp_path,
                env={**os.environ, **more, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(tmp_path / "src")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        assert isinstance(process, kind)
        assert process.wait(60) == 3
        logs.append((tmp_path / "log").read_text())
    assert logs[0] == logs[1]
    assert json.loads(logs[0].splitlines()[0])["held"] == 1


def test_a_job_is_not_forked_whose_library_is_another_than_the_servers(tmp_path: Path) -> None:
    (tmp_path / "src/xgboost").mkdir(parents=True)
    (tmp_path / "src/xgboost/__init__.py").write_text("print('not the real one')")
    (tmp_path / "train.py").write_text("import xgboost")
    with (tmp_path / "log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        options = {"cwd": tmp_path, "env": environment, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        subprocess.Popen([sys.executable, "train.py"], start_new_session=True, pass_fds=[], **options).wait(60)
    assert (tmp_path / "log").read_text() == "not the real one\n"
