"""The first program on a pod: starts a watchdog, makes the environment, runs the job once, and ends the pod.

It needs nothing but the standard library, and runs with whatever Python the image has. `machine.json` in the job folder describes the job.

RunPod starts a pod's command again when it ends, and bills it, for ever (its docs name no time limit that works). So the watchdog starts
first, a marker on the volume prevents a second run, and at the end this program asks RunPod to terminate the pod, in one way after another,
until the pod is gone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import traceback
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from . import cluster, job_folder, member
from .cores import thread_variables, usable_cores
from .ending import end_pod, watch
from .environment import InstallError, make_environment
from .heartbeat import Heartbeat
from .host import MachineError, check_machine
from .log import Log, print_line, run_logged

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNKNOWN_LIFETIME_S = 600.0


def main(arguments: Sequence[str] = ()) -> None:
    """Run the job of this folder once, and end the pod.

    Args:
        arguments: `watchdog SECONDS` ends the pod after that time instead.
    """
    if arguments:
        watch(float(arguments[1]))
    machine = job_folder.read_own_machine()
    # In a process of its own, so that it ends the pod at its deadline whatever becomes of this process.
    lifetime_s = float(machine.get("lifetime_s", _UNKNOWN_LIFETIME_S))
    machine.setdefault("timeout_s", lifetime_s)
    watchdog = [sys.executable, str(job_folder.FOLDER / "bootstrap.py"), "watchdog", str(lifetime_s)]
    subprocess.Popen(watchdog, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        if claim_job(machine):
            if cluster.rank_of(machine):
                member.serve(machine)
            else:
                run_once(machine)
    except BaseException:  # noqa: BLE001  # whatever it is: the pod must not outlive it
        traceback.print_exc()
    end_pod()


def claim_job(machine: dict[str, Any]) -> bool:
    """Return whether the job is this pod's and has not begun before, and leave the marker that it has begun."""
    attempt, pod = os.environ.get("CLOUDTRAIN_ATTEMPT", ""), os.environ.get("RUNPOD_POD_ID", "")
    if not machine or machine.get("attempt") != attempt:
        print_line(f"this pod is attempt {attempt!r}, but the job waits for attempt {machine.get('attempt')!r}")
        return False
    rank, several = cluster.rank_of(machine), cluster.machines_of(machine) > 1
    if machine.get("pod", pod) != pod and not several:
        print_line(f"the job belongs to pod {machine['pod']}")  # A request to create a pod whose response was lost has created two.
        return False
    try:
        with (job_folder.FOLDER / f"started-{attempt}{f'-{rank}' * bool(rank)}").open("x", encoding="utf-8") as marker:
            marker.write(f"{pod} {time()}\n")
    except FileExistsError:
        print_line("the job has begun before, and does not begin twice")
        return False
    return True


def run_once(machine: dict[str, Any]) -> None:
    """Make the environment, run the job, and write a result if the script has left none."""
    began = time()
    # An earlier attempt may still be writing: unlinked, its open files are no longer those of the job folder.
    for name in ("result.json", "progress.jsonl", "log.txt"):
        (job_folder.FOLDER / name).unlink(missing_ok=True)
    shutil.rmtree(job_folder.FOLDER / "outputs", ignore_errors=True)
    cluster.clear(machine)
    with (
        (job_folder.FOLDER / "log.txt").open("a", encoding="utf-8", buffering=1) as file,
        contextlib.closing(Heartbeat(machine)) as heartbeat,
    ):
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
            job_folder.write_failure("failed", type(error).__name__, str(error), heartbeat.stage, began)
            return
        except Exception as error:  # noqa: BLE001  # the client reads what has happened, and pays for no second pod that meets the same
            message = f"the pod failed before the script began: {type(error).__name__}: {error}"
            log.write(traceback.format_exc())
            log.note(message)
            job_folder.write_failure("failed", type(error).__name__, message, heartbeat.stage, began)
            return
        if returncode is None:
            message = f"ended at its deadline of {machine['timeout_s']:g} s"
            log.note(message)
            job_folder.write_failure("timed out", "Timeout", message, "job", began)
        elif returncode < 0:
            name = signal.Signals(-returncode).name
            hint = " (out of memory, often)" if name == "SIGKILL" else ""
            job_folder.write_failure("lost", "Killed", f"killed by {name}{hint}", "job", began)
        else:
            job_folder.write_failure("failed", "Exit", f"ended with exit code {returncode} and left no result", "start", began)


def run_job(machine: dict[str, Any], python: str, log: Log, seconds: dict[str, float]) -> int | None:
    """Run the job's script in a process group of its own, and return its exit code, None if it was ended at its deadline."""
    # RunPod sells a CPU pod by its vCPUs; a quota or an affinity may leave it fewer.
    cores = min(usable_cores(), float(machine.get("vcpu_count") or math.inf))
    log.note(f"the job has {cores:g} CPU core{'' if cores == 1 else 's'} of the host's {os.cpu_count()}")
    variables = {**thread_variables(cores, os.environ), **os.environ, "PYTHONUNBUFFERED": "1"}
    variables |= {"CLOUDTRAIN_VOLUME": str(job_folder.VOLUME), "CLOUDTRAIN_STAGES": json.dumps(seconds)}
    variables |= cluster.variables(machine)
    # The job needs neither the pod's own key nor what packages were installed with.
    variables = {name: value for name, value in variables.items() if name != "RUNPOD_API_KEY" and not name.startswith("CLOUDTRAIN_INDEX_")}
    return run_logged([python, "train.py"], log, variables, float(machine["timeout_s"]))
