"""What a pod runs: a deadline first, then the environment, then the job, once; and it never ends before its pod is gone.

Standard library alone, and a file by itself: it lies in the job folder beside `machine.json`, which says what to do, and it runs with
whatever Python the image has.

A pod's command that ends is started again, and billed, for ever (RunPod's docs name no time limit that works): so the watchdog is the
first thing that starts, a marker on the volume stops a second run, and the last thing done is to ask RunPod to end the pod, by one way
after the other, until it is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self  # not run: an image's Python may be an older one than typing's

FOLDER = Path(__file__).resolve().parent
# <volume>/.cloudtrain/jobs/<job>/bootstrap.py
VOLUME = FOLDER.parents[2]
# On the pod's own disk, for its own two processes.
_CHILD = Path(f"/tmp/cloudtrain-{os.environ.get('RUNPOD_POD_ID', 'pod')}.pid")  # noqa: S108
_UNKNOWN_LIFETIME_S = 600.0
_LEAST_DISK_BYTES = 1_000_000_000
_LOOKS, _LOOK_AGAIN_S = 20, 0.25
_COURIER_S = 330.0
_ASK_AGAIN_S = (2.0, 5.0, 15.0, 30.0, 60.0)


class MachineError(Exception):
    """This host cannot do the job; another one may."""


class EnvironmentError_(Exception):  # noqa: N801, N818  # Python has an EnvironmentError of another meaning
    """The job's packages cannot be installed."""


def main() -> None:
    """Run the job of this folder once, and end the pod."""
    machine = _own_machine()
    _start_watchdog(float(machine.get("lifetime_s", _UNKNOWN_LIFETIME_S)))
    try:
        if _first_time(machine):
            _run(machine)
    except BaseException:  # noqa: BLE001  # whatever it is: the pod must not outlive it
        traceback.print_exc()
    end_pod()


def _own_machine() -> dict[str, Any]:
    """Read `machine.json`, again where it is not this attempt's.

    It is written anew as soon as the pod's id is known, and may be seen half written, or late.
    """
    machine = _machine()
    for _ in range(_LOOKS):
        if machine.get("attempt") == os.environ.get("CLOUDTRAIN_ATTEMPT", ""):
            break
        time.sleep(_LOOK_AGAIN_S)
        machine = _machine()
    return machine


def _machine() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        said: dict[str, Any] = json.loads((FOLDER / "machine.json").read_text(encoding="utf-8"))
        return said
    return {}


def _first_time(machine: dict[str, Any]) -> bool:
    """Tell whether this pod is the one that is meant, and has not begun before; leave the marker."""
    attempt = os.environ.get("CLOUDTRAIN_ATTEMPT", "")
    if not machine or machine.get("attempt") != attempt:
        _say(f"this pod is attempt {attempt!r}, and {machine.get('attempt')!r} is the one that is wanted")
        return False
    pod = os.environ.get("RUNPOD_POD_ID")
    if machine.get("pod", pod) != pod:
        _say(f"pod {machine['pod']} has this job")  # A create whose answer was lost has made two.
        return False
    try:
        with (FOLDER / f"started-{attempt}").open("x", encoding="utf-8") as marker:
            marker.write(f"{os.environ.get('RUNPOD_POD_ID', '')} {time.time()}\n")
    except FileExistsError:
        _say("this job has begun before; it is not begun twice")
        return False
    return True


def _run(machine: dict[str, Any]) -> None:
    began = time.time()
    # Of an earlier attempt, which may be writing still: what it has open is not what is there from here on.
    for name in ("result.json", "progress.jsonl", "log.txt"):
        (FOLDER / name).unlink(missing_ok=True)
    shutil.rmtree(FOLDER / "outputs", ignore_errors=True)
    with Log(FOLDER / "log.txt") as log, Heartbeat(machine) as heartbeat:
        where = os.environ.get("RUNPOD_DC_ID", "?")
        log.say(f"pod {os.environ.get('RUNPOD_POD_ID', '?')} in {where}, Python {platform.python_version()}, attempt {machine['attempt']}")
        stage = "machine"
        try:
            log.say(check_machine(machine))
            stage = heartbeat.stage = "environment"
            environment_began = time.perf_counter()
            python = make_environment(machine, log)
            seconds = {"environment": round(time.perf_counter() - environment_began, 3)}
            stage = heartbeat.stage = "job"
            returncode = run_job(machine, python, log, seconds)
        except (MachineError, EnvironmentError_) as error:
            log.say(str(error))
            _write_result({"state": "failed", **_error(type(error).__name__.strip("_"), str(error), stage), "started_at": began})
            return
        if returncode is None:
            timeout_s = machine["timeout_s"]
            log.say(f"ended at its deadline of {timeout_s:g} s")
            _write_result({"state": "timed out", **_error("Timeout", f"ended at its deadline of {timeout_s:g} s", "job")})
        elif returncode < 0:
            name = signal.Signals(-returncode).name
            hint = " (out of memory, often)" if name == "SIGKILL" else ""
            _write_result({"state": "lost", **_error("Killed", f"killed by {name}{hint}", "job")})
        elif not (FOLDER / "result.json").is_file():
            _write_result({"state": "failed", **_error("Exit", f"ended with exit code {returncode} and left no result", "start")})


def check_machine(machine: dict[str, Any]) -> str:
    """Look at the host before anything is paid for twice; give a line about it.

    Raises:
        MachineError: its GPU, its disk or its mount is not what it should be.
    """
    said = []
    if machine.get("gpu"):
        found = nvidia_smi("name,driver_version,memory.total")
        if not found:
            raise MachineError(f"nvidia-smi shows no GPU on this host, where {machine['gpu']} is paid for")
        if len(found) < int(machine.get("gpu_count", 1)):
            raise MachineError(f"nvidia-smi shows {len(found)} GPUs on this host, where {machine['gpu_count']} are paid for")
        said += [" · ".join(cells) for cells in found]
        _check_cuda(str(machine.get("min_cuda_version", "0")))
    said.append(f"{os.cpu_count()} CPU cores")
    for place in (FOLDER, Path("/tmp")):  # noqa: S108
        free = shutil.disk_usage(place).free
        if free < _LEAST_DISK_BYTES:
            raise MachineError(f"{place} has {free / 1e9:.1f} GB left: too little to work with")
    return " · ".join(said)


def _check_cuda(least: str) -> None:
    """Refuse a driver that is older than what was asked for: the host's word for it, in the heading of `nvidia-smi`."""
    try:
        said = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return
    found = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < tuple(int(part) for part in least.split(".")):
        raise MachineError(f"this host's driver has CUDA {found[1]}.{found[2]}, where {least} was asked for")


def nvidia_smi(fields: str) -> list[list[str]]:
    """Ask the driver; a list of cells a GPU, none where there is no driver."""
    try:
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"],  # noqa: S607  # wherever the driver has put it
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in line.split(",")] for line in said.strip().splitlines()]


def make_environment(machine: dict[str, Any], log: Log) -> str:
    """Give the Python that the job runs with: the image's own, or one on the volume, made once for the same requirements.

    Raises:
        EnvironmentError_: the packages cannot be installed.
    """
    requirements: list[str] = machine.get("requirements") or []
    if not requirements:
        return sys.executable
    # The image's Python is PEP 668's "externally managed": packages go into an environment of their own.
    wanted = str(machine.get("python") or "")
    same = platform.python_version().startswith(f"{wanted}.") or not wanted
    # Another release is found in the image, or fetched, by uv.
    version = platform.python_version() if same else wanted
    kind = f"{version} {platform.machine()} {platform.libc_ver()}"
    digest = hashlib.sha256(json.dumps([sorted(requirements), kind]).encode()).hexdigest()[:16]
    place = VOLUME / ".cloudtrain" / "environments" / digest
    python = place / "bin" / "python"
    if python.exists():
        log.say(f"environment {digest} is there: nothing to install")
        return str(python)
    log.say(f"environment {digest}: {' '.join(requirements)}")
    # Built beside and renamed: another pod may be building the same one.
    scratch = place.with_name(f".{digest}-{machine['attempt']}")
    uv = _uv(log)
    environment = {**os.environ, "UV_CACHE_DIR": str(VOLUME / ".cloudtrain" / "uv-cache"), "UV_NO_PROGRESS": "1"}
    for command in (
        [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable if same else wanted, str(scratch)],
        [uv, "pip", "install", "--python", str(scratch / "bin/python"), *requirements],
    ):
        if _tee(command, log, environment) != 0:
            shutil.rmtree(scratch, ignore_errors=True)
            raise EnvironmentError_(f"the packages cannot be installed: {' '.join(requirements)}. What uv says is in the log.")
    try:
        scratch.rename(place)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)  # Another pod was quicker.
    return str(python)


def _uv(log: Log) -> str:
    found = shutil.which("uv")
    if found is not None:
        return found
    target = Path("/tmp/cloudtrain-uv")  # noqa: S108
    if _tee([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "uv"], log, dict(os.environ)) != 0:
        raise EnvironmentError_("uv is not in the image and cannot be installed by pip")
    return str(target / "bin" / "uv")


def run_job(machine: dict[str, Any], python: str, log: Log, seconds: dict[str, float]) -> int | None:
    """Run the script in a process group of its own; None says that it was ended at its deadline."""
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "CLOUDTRAIN_VOLUME": str(VOLUME),
        "CLOUDTRAIN_STAGES": json.dumps(seconds),
    }
    # The job needs no key of the pod's.
    environment.pop("RUNPOD_API_KEY", None)
    return _tee([python, "train.py"], log, environment, float(machine["timeout_s"]))


def _tee(command: Sequence[str], log: Log, environment: dict[str, str], timeout_s: float | None = None) -> int | None:
    process = subprocess.Popen(
        list(command),
        cwd=FOLDER,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _CHILD.write_text(str(process.pid))
    over = threading.Event()

    def end() -> None:
        over.set()
        _kill_group(process.pid)

    timer = threading.Timer(timeout_s, end) if timeout_s is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        for line in process.stdout or ():
            log.write(line)
        returncode = process.wait()
    finally:
        if timer is not None:
            timer.cancel()
        _kill_group(process.pid)
    return None if over.is_set() else returncode


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


class Log:
    """`log.txt` on the volume, and the pod's own log beside it."""

    def __init__(self, file: Path) -> None:
        self._file: TextIO = file.open("a", encoding="utf-8", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: str) -> None:
        """Write a line as it came."""
        sys.stdout.write(line)
        sys.stdout.flush()
        # A full volume must not stop the job: its own log still has the line.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line)

    def say(self, line: str) -> None:
        """Write a line of our own."""
        self.write(f"cloudtrain: {line}\n")


class Heartbeat:
    """`heartbeat.json`, anew every few seconds: a number that grows, the stage, how busy the GPU is.

    A newer attempt in `machine.json` ends this one: its client has given it up.
    """

    def __init__(self, machine: dict[str, Any]) -> None:
        self.stage = "machine"
        self._attempt = machine["attempt"]
        self._every_s = float(machine.get("heartbeat_every_s", 10.0))
        self._gpu = bool(machine.get("gpu"))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _beat(self) -> None:
        began, number = time.monotonic(), 0
        while not self._over.is_set():
            number += 1
            said: dict[str, Any] = {"attempt": self._attempt, "number": number, "uptime_s": round(time.monotonic() - began, 1)}
            said["stage"] = self.stage
            use = nvidia_smi("utilization.gpu,memory.used") if self._gpu else []
            with contextlib.suppress(ValueError, IndexError):
                said |= {"gpu_percent": float(use[0][0]), "gpu_memory_mb": float(use[0][1])} if use else {}
            with contextlib.suppress(OSError):
                _write_json(FOLDER / "heartbeat.json", said)
            if _machine().get("attempt", self._attempt) != self._attempt:
                _say("another pod has this job now")
                with contextlib.suppress(OSError, ValueError):
                    _kill_group(int(_CHILD.read_text()))
                end_pod()
            self._over.wait(self._every_s)


def _say(line: str) -> None:
    print(f"cloudtrain: {line}", flush=True)  # noqa: T201  # a pod's log is its stdout


def _error(kind: str, message: str, stage: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "traceback": "", "stage": stage, "input_error": False}}


def _write_result(result: dict[str, Any]) -> None:
    """Write `result.json`, unless the script has left one."""
    if not (FOLDER / "result.json").is_file():
        now = time.time()
        _write_json(
            FOLDER / "result.json", {"started_at": now, **result, "finished_at": now, "attempt": os.environ.get("CLOUDTRAIN_ATTEMPT")}
        )


def _write_json(file: Path, value: object) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)


def _start_watchdog(lifetime_s: float) -> None:
    """Start the process that ends the pod at its deadline, whatever becomes of this one."""
    subprocess.Popen([sys.executable, __file__, "watchdog", str(lifetime_s)], stdin=subprocess.DEVNULL, start_new_session=True)


def watch(lifetime_s: float) -> None:
    """Wait for the deadline, end the job, say so in its result, and end the pod."""
    time.sleep(lifetime_s)
    _say(f"the pod's deadline of {lifetime_s:g} s is over")
    with contextlib.suppress(OSError, ValueError):
        _kill_group(int(_CHILD.read_text()))
    with contextlib.suppress(OSError):
        _write_result({"state": "timed out", **_error("Timeout", f"its pod's deadline of {lifetime_s:g} s was over", "machine")})
    end_pod()


def end_pod() -> NoReturn:
    """Ask RunPod to end this pod, by each way there is, until it does; this call gives nothing back.

    The pod's own key may do that and little else. `action: terminate` is reported to work; the others are asked in case it does not.
    """
    _await_courier()
    pod = os.environ.get("RUNPOD_POD_ID", "")
    base = (os.environ.get("RUNPOD_API_BASE_URL") or "https://api.runpod.io").rstrip("/")
    mutation = f'mutation {{ podTerminate(input: {{podId: "{pod}"}}) }}'
    ways: tuple[tuple[Any, ...], ...] = (
        ("POST", f"{base}/v2/pods/{pod}/action", {"action": "terminate"}),
        ("DELETE", f"{base}/v2/pods/{pod}"),
        ("POST", f"{base}/graphql", {"query": mutation}),
        (),
    )
    for pause_s in itertools.chain(_ASK_AGAIN_S, itertools.repeat(_ASK_AGAIN_S[-1])):
        for way in ways:
            _say(_ask(*way) if way else _runpodctl(pod))
            time.sleep(pause_s)
    raise AssertionError  # the pauses never end


def _await_courier() -> None:
    """Let a result be delivered first, where the folder is no mount but was brought here; not for ever."""
    give_up_at = time.monotonic() + _COURIER_S
    while os.environ.get("CLOUDTRAIN_COURIER") and not (FOLDER / "delivered").exists() and time.monotonic() < give_up_at:
        if not (FOLDER / "result.json").exists():
            return  # There is nothing to deliver.
        time.sleep(0.2)


def _ask(method: str, url: str, body: dict[str, Any] | None = None) -> str:
    request = urllib.request.Request(  # noqa: S310  # RunPod's own API, or the one that stands in for it
        url,
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={
            "Authorization": f"Bearer {os.environ.get('RUNPOD_API_KEY', '')}",
            "Content-Type": "application/json",
            # Without one the front end answers 403 (reported).
            "User-Agent": "kedro-cloudtrain",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return f"{method} {url}: {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{method} {url}: {error.code}"
    except OSError as error:
        return f"{method} {url}: {type(error).__name__}"


def _runpodctl(pod: str) -> str:
    command = ["runpodctl", "remove", "pod", pod]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{shlex.join(command)}: {type(error).__name__}"
    return f"{shlex.join(command)}: {done.returncode}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["watchdog"]:
        watch(float(sys.argv[2]))
    main()
