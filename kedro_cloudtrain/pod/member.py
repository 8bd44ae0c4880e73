"""A machine of a cluster but the first: it runs the processes that the job on the first one asks for."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import traceback
import zipfile
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

from . import cluster, job_folder
from .cores import thread_variables, usable_cores
from .environment import InstallError, make_environment
from .host import MachineError, check_machine
from .log import Log, kill_job, print_line

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_EVERY_S = 0.25


def serve(machine: dict[str, Any]) -> None:
    """Run the processes that the job on the first machine asks for, until it has a result."""
    folder, rank = cluster.folder_of(machine), cluster.rank_of(machine)
    folder.mkdir(exist_ok=True)
    with (folder / f"log-{rank}").open("a", encoding="utf-8", buffering=1) as file:
        log = Log(file)
        log.note(f"machine {rank + 1} of {cluster.machines_of(machine)}, at {cluster.own_address()}")
        try:
            log.note(check_machine(machine))
            python = make_environment(machine, log)
            number = 1
            while (asked := _await(folder, number)) is not None:
                ended = _run(machine, python, asked, log)
                if ended:
                    _fail(folder, rank, "LostProcessError", ended)
                number += 1
        except (MachineError, InstallError) as error:
            log.note(str(error))
            _fail(folder, rank, type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001  # the first machine must not wait for this one, and all be paid for
            log.write(traceback.format_exc())
            _fail(folder, rank, type(error).__name__, f"{type(error).__name__}: {error}")
        while not _is_over():
            sleep(_LOOK_EVERY_S)


def _fail(folder: Path, rank: int, kind: str, message: str) -> None:
    job_folder.write_json(folder / f"failed-{rank}", {"type": kind, "message": message})


def _await(folder: Path, number: int) -> dict[str, Any] | None:
    """Return what the job asks for, by a number; None once it is over."""
    while not _is_over():
        with contextlib.suppress(OSError, ValueError):
            asked: dict[str, Any] = json.loads((folder / f"asked-{number}").read_text(encoding="utf-8"))
            return asked
        sleep(_LOOK_EVERY_S)
    return None


def _is_over() -> bool:
    """Return whether the job has a result, or belongs to another attempt."""
    attempt = os.environ.get("CLOUDTRAIN_ATTEMPT", "")
    machine = job_folder.read_machine()
    if machine and machine.get("attempt") != attempt:
        print_line("the job belongs to other machines now")
        return True
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return bool(json.loads((job_folder.FOLDER / "result.json").read_text(encoding="utf-8")).get("attempt") == attempt)
    return False


def _run(machine: dict[str, Any], python: str, asked: dict[str, Any], log: Log) -> str:
    """Run the processes until the job has done with them, and return how one has ended that should not have; empty where none has."""
    count, rank = int(asked["processes"]), cluster.rank_of(machine)
    cores = usable_cores() / count
    processes = []
    with tempfile.TemporaryDirectory(prefix="cloudtrain-cluster-", ignore_cleanup_errors=True) as scratch:
        path = os.pathsep.join([*_code(scratch), asked["path"]])
        for place in range(count):
            gpu = {"CUDA_VISIBLE_DEVICES": str(place)} if asked.get("gpu") and count > 1 else {}
            environment = {**thread_variables(cores, ()), **_given(), **gpu, **asked["variables"], "PYTHONPATH": path}
            environment["DASK_LOGGING__DISTRIBUTED"] = "critical"  # what a process has raised, the job raises
            number, threads = rank * count + place, max(1, int(cores))
            arguments = [asked["scheduler"], str(number), str(threads), scratch, asked["memory"], cluster.own_address()]
            command = [python, "-P", "-m", asked["module"], *arguments]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, env=environment, text=True, errors="replace", start_new_session=True, **pipes)
            Thread(target=_copy, args=(process, log), daemon=True).start()
            processes.append(process)
        job_folder.CHILD.write_text(" ".join(str(process.pid) for process in processes))
        log.note(f"the job has {count} process{'es' * (count > 1)} on this machine")
        try:
            while any(process.poll() is None for process in processes) and not _is_over():
                wrong = [process.returncode for process in processes if process.returncode]
                if wrong:
                    return f"a process of machine {rank + 1} has ended with exit code {wrong[0]}"
                sleep(_LOOK_EVERY_S)
            wrong = [process.returncode for process in processes if process.returncode]
            return f"a process of machine {rank + 1} has ended with exit code {wrong[0]}" if wrong else ""
        finally:
            kill_job()
            for process in processes:
                process.wait()


def _copy(process: subprocess.Popen[str], log: Log) -> None:
    for line in process.stdout or ():
        log.write(line)


def _code(scratch: str) -> list[str]:
    """Unpack the project's code, if the job has any, and return the folder to import from."""
    archive = job_folder.FOLDER / "code.zip"
    if not archive.is_file():
        return []
    with zipfile.ZipFile(archive) as code:
        code.extractall(scratch)
    return [scratch]


def _given() -> dict[str, str]:
    """Return this pod's environment without what the code of a job does not get: the pod's own key, the installer's, the signing ones."""
    hidden = ("RUNPOD_API_KEY", "CLOUDTRAIN_JOB_KEYS")
    return {name: value for name, value in os.environ.items() if name not in hidden and not name.startswith("CLOUDTRAIN_INDEX_")}
