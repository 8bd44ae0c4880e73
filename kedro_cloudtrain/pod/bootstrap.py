"""The first program on a pod: starts a watchdog, makes the environment, runs the job once, and ends the pod.

It needs nothing but the standard library: it lies in the job folder beside `machine.json`, which describes the job, and runs with whatever
Python the image has.

RunPod starts a pod's command again when it ends, and bills it, for ever (its docs name no time limit that works). So the watchdog starts
first, a marker on the volume prevents a second run, and at the end this program asks RunPod to terminate the pod, in one way after another,
until the pod is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import traceback
import urllib.request
from pathlib import Path
from threading import Event, Thread, Timer
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path(__file__).resolve().parent
# <volume>/.cloudtrain/jobs/<job>/bootstrap.py
VOLUME = FOLDER.parents[2]
# The id of the job's process, on the pod's own disk: the watchdog, a process of its own, reads it.
_CHILD = Path(f"/tmp/cloudtrain-{os.environ.get('RUNPOD_POD_ID', 'pod')}.pid")  # noqa: S108
_UNKNOWN_LIFETIME_S, _DELIVERY_S = 600.0, 330.0
_LEAST_DISK_BYTES = 1_000_000_000
_MACHINE_READS, _READ_AGAIN_S = 20, 0.25
_ASK_AGAIN_S = (2.0, 5.0, 15.0, 30.0, 60.0)


class MachineError(Exception):
    """This host cannot do the job; another host may."""


class InstallError(Exception):
    """The job's packages cannot be installed."""


def main() -> None:
    """Run the job of this folder once, and end the pod."""
    machine = read_own_machine()
    # In a process of its own, so that it ends the pod at its deadline whatever becomes of this process.
    lifetime_s = float(machine.get("lifetime_s", _UNKNOWN_LIFETIME_S))
    subprocess.Popen([sys.executable, __file__, "watchdog", str(lifetime_s)], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        if claim_job(machine):
            run_once(machine)
    except BaseException:  # noqa: BLE001  # whatever it is: the pod must not outlive it
        traceback.print_exc()
    end_pod()


def read_own_machine() -> dict[str, Any]:
    """Read `machine.json`, again and again while it is not this attempt's.

    The client writes it anew as soon as it knows the pod's id, and the volume may show it late or half written.
    """
    for _ in range(_MACHINE_READS):
        machine = _read_machine()
        if machine.get("attempt") == os.environ.get("CLOUDTRAIN_ATTEMPT", ""):
            break
        sleep(_READ_AGAIN_S)
    return machine


def _read_machine() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(json.loads((FOLDER / "machine.json").read_text(encoding="utf-8")))
    return {}


def claim_job(machine: dict[str, Any]) -> bool:
    """Return whether the job is this pod's and has not begun before, and leave the marker that it has begun."""
    attempt, pod = os.environ.get("CLOUDTRAIN_ATTEMPT", ""), os.environ.get("RUNPOD_POD_ID", "")
    if not machine or machine.get("attempt") != attempt:
        _print(f"this pod is attempt {attempt!r}, but the job waits for attempt {machine.get('attempt')!r}")
        return False
    if machine.get("pod", pod) != pod:
        _print(f"the job belongs to pod {machine['pod']}")  # A request to create a pod whose response was lost has created two.
        return False
    try:
        with (FOLDER / f"started-{attempt}").open("x", encoding="utf-8") as marker:
            marker.write(f"{pod} {time()}\n")
    except FileExistsError:
        _print("the job has begun before, and does not begin twice")
        return False
    return True


def run_once(machine: dict[str, Any]) -> None:
    """Make the environment, run the job, and write a result if the script has left none."""
    began = time()
    # An earlier attempt may still be writing: unlinked, its open files are no longer those of the job folder.
    for name in ("result.json", "progress.jsonl", "log.txt"):
        (FOLDER / name).unlink(missing_ok=True)
    shutil.rmtree(FOLDER / "outputs", ignore_errors=True)
    with (FOLDER / "log.txt").open("a", encoding="utf-8", buffering=1) as file, contextlib.closing(Heartbeat(machine)) as heartbeat:
        log = Log(file)
        pod, place = os.environ.get("RUNPOD_POD_ID", "?"), os.environ.get("RUNPOD_DC_ID", "?")
        log.note(f"pod {pod} in {place}, Python {platform.python_version()}, attempt {machine['attempt']}")
        try:
            log.note(check_machine(machine))
            heartbeat.stage = "environment"
            environment_began = monotonic()
            python = make_environment(machine, log)
            seconds = {"environment": round(monotonic() - environment_began, 3)}
            heartbeat.stage = "job"
            returncode = run_job(machine, python, log, seconds)
        except (MachineError, InstallError) as error:
            log.note(str(error))
            _write_failure("failed", type(error).__name__, str(error), heartbeat.stage, began)
            return
        if returncode is None:
            message = f"ended at its deadline of {machine['timeout_s']:g} s"
            log.note(message)
            _write_failure("timed out", "Timeout", message, "job", began)
        elif returncode < 0:
            name = signal.Signals(-returncode).name
            hint = " (out of memory, often)" if name == "SIGKILL" else ""
            _write_failure("lost", "Killed", f"killed by {name}{hint}", "job", began)
        else:
            _write_failure("failed", "Exit", f"ended with exit code {returncode} and left no result", "start", began)


def check_machine(machine: dict[str, Any]) -> str:
    """Check the host before the job spends time on it, and return a line about it.

    Raises:
        MachineError: its GPUs, its driver or its disks are not as the job needs them.
    """
    lines = []
    if machine.get("gpu"):
        gpus = nvidia_smi("name,driver_version,memory.total")
        if len(gpus) < int(machine.get("gpu_count", 1)):
            raise MachineError(f"nvidia-smi shows {len(gpus)} GPUs on this host, which is billed for {machine.get('gpu_count', 1)}")
        lines += [" · ".join(cells) for cells in gpus]
        # The host's own version of CUDA is in the heading of nvidia-smi.
        least = str(machine.get("min_cuda_version", "0"))
        cuda = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", _output("nvidia-smi"))
        if cuda and (int(cuda[1]), int(cuda[2])) < tuple(int(part) for part in least.split(".")):
            raise MachineError(f"this host's driver has CUDA {cuda[1]}.{cuda[2]}, and the job needs {least}")
    lines.append(f"{os.cpu_count()} CPU cores")
    for place in (FOLDER, Path("/tmp")):  # noqa: S108
        free = shutil.disk_usage(place).free
        if free < _LEAST_DISK_BYTES:
            raise MachineError(f"{place} has {free / 1e9:.1f} GB left, and a job needs {_LEAST_DISK_BYTES / 1e9:g} GB")
    return " · ".join(lines)


def nvidia_smi(fields: str) -> list[list[str]]:
    """Return a list of cells for each GPU, an empty one if the host has no driver."""
    lines = _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits").strip().splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines]


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def make_environment(machine: dict[str, Any], log: Log) -> str:
    """Return the Python to run the job with: the image's own, or one on the volume, made once for the same requirements.

    Raises:
        InstallError: the packages cannot be installed.
    """
    requirements: list[str] = machine.get("requirements") or []
    if not requirements:
        return sys.executable
    # The image's Python is "externally managed" (PEP 668): packages go into an environment of their own.
    release = str(machine.get("python") or "")
    same = platform.python_version().startswith(f"{release}.") or not release
    # uv finds another release of Python in the image, or downloads it.
    kind = f"{platform.python_version() if same else release} {platform.machine()} {platform.libc_ver()}"
    digest = hashlib.sha256(json.dumps([sorted(requirements), kind]).encode()).hexdigest()[:16]
    place = VOLUME / ".cloudtrain/environments" / digest
    python = place / "bin/python"
    if python.exists():
        log.note(f"environment {digest} exists: nothing to install")
        return str(python)
    log.note(f"environment {digest}: {' '.join(line.partition(' --hash=')[0] for line in requirements)}")
    # Built beside its place and renamed: another pod may be building the same one.
    scratch = place.with_name(f".{digest}-{machine['attempt']}")
    uv = _find_uv(log)
    kept = {"UV_CACHE_DIR": str(VOLUME / ".cloudtrain/uv-cache"), "UV_PYTHON_INSTALL_DIR": str(VOLUME / ".cloudtrain/python")}
    variables = {**os.environ, **kept, "UV_NO_PROGRESS": "1"}
    create = [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable if same else release, str(scratch)]
    listed = _CHILD.with_suffix(".txt")
    listed.write_text("\n".join(requirements), encoding="utf-8")
    install = [uv, "pip", "install", "--python", str(scratch / "bin/python"), "--requirements", str(listed)]
    if _run_logged(create, log, variables) != 0 or _run_logged(install, log, variables) != 0:
        shutil.rmtree(scratch, ignore_errors=True)
        raise InstallError("the packages cannot be installed. The log has uv's messages.")
    try:
        if not python.exists():  # One whose Python is gone gives way.
            shutil.rmtree(place, ignore_errors=True)
        scratch.rename(place)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)  # Another pod was quicker.
    return str(python)


def _find_uv(log: Log) -> str:
    target = "/tmp/cloudtrain-uv"  # noqa: S108
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", target, "uv"]
    uv = shutil.which("uv")
    if uv is None and _run_logged(install, log, dict(os.environ)) != 0:
        raise InstallError("the image has no uv, and pip cannot install it")
    return uv or f"{target}/bin/uv"


def run_job(machine: dict[str, Any], python: str, log: Log, seconds: dict[str, float]) -> int | None:
    """Run the job's script in a process group of its own, and return its exit code, None if it was ended at its deadline."""
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "CLOUDTRAIN_VOLUME": str(VOLUME), "CLOUDTRAIN_STAGES": json.dumps(seconds)}
    variables.pop("RUNPOD_API_KEY", None)  # The job does not need the pod's own key.
    return _run_logged([python, "train.py"], log, variables, float(machine["timeout_s"]))


def _run_logged(command: Sequence[str], log: Log, variables: dict[str, str], timeout_s: float | None = None) -> int | None:
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=FOLDER, env=variables, text=True, errors="replace", start_new_session=True, **pipes)
    _CHILD.write_text(str(process.pid))
    timed_out = Event()

    def end() -> None:
        timed_out.set()
        _kill_group(process.pid)

    timer = Timer(timeout_s or 0.0, end)
    timer.daemon = True
    if timeout_s is not None:
        timer.start()
    try:
        for line in process.stdout or ():
            log.write(line)
        returncode = process.wait()
    finally:
        timer.cancel()
        _kill_group(process.pid)
    return None if timed_out.is_set() else returncode


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _kill_job() -> None:
    with contextlib.suppress(OSError, ValueError):
        _kill_group(int(_CHILD.read_text()))


class Log:
    """`log.txt` on the volume, and the pod's own log beside it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        """Write a line of the job."""
        print(line, end="", flush=True)  # noqa: T201  # a pod's log is its stdout
        # A full volume must not stop the job: the pod's own log still has the line.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line)

    def note(self, line: str) -> None:
        """Write a line of this program."""
        self.write(f"cloudtrain: {line}\n")


class Heartbeat:
    """`heartbeat.json`, written anew every few seconds: a number that grows, the stage, how busy the GPU is.

    It ends the pod once `machine.json` has a newer attempt: the client has given this one up.
    """

    def __init__(self, machine: dict[str, Any]) -> None:
        self.stage = "machine"
        self._machine = machine
        self._over = Event()
        Thread(target=self._beat, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._over.set()

    def _beat(self) -> None:
        attempt, began = self._machine["attempt"], monotonic()
        for number in itertools.count(1):
            beat: dict[str, Any] = {"attempt": attempt, "number": number, "stage": self.stage, "uptime_s": round(monotonic() - began, 1)}
            gpus = nvidia_smi("utilization.gpu,memory.used") if self._machine.get("gpu") else []
            with contextlib.suppress(ValueError, IndexError):
                beat |= {"gpu_percent": float(gpus[0][0]), "gpu_memory_mb": float(gpus[0][1])}
            with contextlib.suppress(OSError):
                _write_json(FOLDER / "heartbeat.json", beat)
            if _read_machine().get("attempt", attempt) != attempt:
                _print("the job belongs to another pod now")
                _kill_job()
                end_pod()
            if self._over.wait(float(self._machine.get("heartbeat_every_s", 10.0))):
                break


def _print(line: str) -> None:
    print(f"cloudtrain: {line}", flush=True)  # noqa: T201  # a pod's log is its stdout


def _write_failure(state: str, kind: str, message: str, stage: str, began: float) -> None:
    """Write `result.json`, unless the script has left one."""
    if not (FOLDER / "result.json").is_file():
        error = {"type": kind, "message": message, "traceback": "", "stage": stage, "input_error": False}
        times = {"started_at": began, "finished_at": time()}
        _write_json(FOLDER / "result.json", {"state": state, "error": error, **times, "attempt": os.environ.get("CLOUDTRAIN_ATTEMPT")})


def _write_json(file: Path, value: object) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)


def watch(lifetime_s: float) -> None:
    """Wait for the pod's deadline, end the job with a result, and end the pod."""
    began = time()
    sleep(lifetime_s)
    message = f"its pod's deadline of {lifetime_s:g} s has passed"
    _print(message)
    _kill_job()
    with contextlib.suppress(OSError):
        _write_failure("timed out", "Timeout", message, "machine", began)
    end_pod()


def end_pod() -> NoReturn:
    """Ask RunPod to end this pod, in each possible way, until it is gone; this function never returns.

    The pod's own key allows that and little else. `action: terminate` is reported to work; the other ways are tried in case it does not.
    """
    _await_delivery()
    for pause_s in itertools.chain(_ASK_AGAIN_S, itertools.repeat(_ASK_AGAIN_S[-1])):
        for outcome in _terminate(os.environ.get("RUNPOD_POD_ID", "")):
            _print(outcome)
            sleep(pause_s)
    raise AssertionError  # the pauses never end


def _terminate(pod: str) -> Iterator[str]:
    base = (os.environ.get("RUNPOD_API_BASE_URL") or "https://api.runpod.io").rstrip("/")
    yield _request("POST", f"{base}/v2/pods/{pod}/action", {"action": "terminate"})
    yield _request("DELETE", f"{base}/v2/pods/{pod}")
    yield _request("POST", f"{base}/graphql", {"query": f'mutation {{ podTerminate(input: {{podId: "{pod}"}}) }}'})
    command = ["runpodctl", "remove", "pod", pod]
    try:
        outcome = str(subprocess.run(command, capture_output=True, timeout=60, check=False).returncode)
    except (OSError, subprocess.SubprocessError) as error:
        outcome = type(error).__name__
    yield f"{' '.join(command)}: {outcome}"


def _await_delivery() -> None:
    """On a pod without a volume, wait until the courier has delivered the result, but not for ever."""
    give_up_at = monotonic() + _DELIVERY_S
    has_courier, has_result = bool(os.environ.get("CLOUDTRAIN_COURIER")), (FOLDER / "result.json").exists()
    while has_courier and has_result and not (FOLDER / "delivered").exists() and monotonic() < give_up_at:
        sleep(0.2)


def _request(method: str, url: str, body: dict[str, Any] | None = None) -> str:
    # Without a User-Agent, RunPod's front end answers 403 (reported).
    headers = {"Content-Type": "application/json", "User-Agent": "kedro-cloudtrain"}
    headers["Authorization"] = f"Bearer {os.environ.get('RUNPOD_API_KEY', '')}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # RunPod's own API, or its stand-in
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return f"{method} {url}: {response.status}"
    except OSError as error:  # an HTTPError with its status code, or no connection
        return f"{method} {url}: {getattr(error, 'code', type(error).__name__)}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["watchdog"]:
        watch(float(sys.argv[2]))
    main()
