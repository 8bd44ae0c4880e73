"""Several jobs on one machine, one after another, each in its own folder and its own process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from .deadline import watch_deadline
from .errors import MachineError
from .protocol import ATTEMPT_VARIABLE, JOB_KEYS_VARIABLE, LOG, MACHINE, MEMBERS, OUTPUTS, PROGRESS, RESULT, SCRIPT
from .results import write_result

if TYPE_CHECKING:
    from collections.abc import Mapping


def run_group(script: str, run: str, jobs: Mapping[str, Mapping[str, str]]) -> None:
    """Run the jobs whose folders are beside the group's; the next job runs even if one fails.

    `progress.jsonl` has a line for each job that has ended. A machine that replaces a lost one begins where that one stopped.

    Args:
        script: the group's script.
        run: the name of this run of the group: a job with a result of another run is run again.
        jobs: the names of the jobs' folders, in order, with each job's own environment variables.
    """
    watch_deadline()
    folder, began = Path(script).resolve().parent, time()
    if (folder / MEMBERS).is_file():
        with zipfile.ZipFile(folder / MEMBERS) as archive:
            archive.extractall(folder.parent)
    places = [folder.parent / job for job in jobs]
    for place in places:
        if not _is_done(place, run):
            _clear(place)
            # By it, a client that looks for this job finds its group.
            _write(place / MACHINE, {"group": folder.name, "run": run})
    with (folder / PROGRESS).open("w", encoding="utf-8", buffering=1) as progress:
        for number, place in enumerate(places):
            progress.write(json.dumps({"step": number, "of": len(jobs), "seconds": round(time() - began, 3)}) + "\n")
            if _is_done(place, run):
                print(f"{place.name} is done already", flush=True)  # noqa: T201  # the group's log
            else:
                _run(place, jobs[place.name])
                fault = _read(place / RESULT).get("error")
                if isinstance(fault, dict) and fault.get("type") == MachineError.__name__:
                    # Another machine goes on from here.
                    write_result(folder, {"state": "failed", "error": fault, **_about(began)})
                    raise SystemExit(1)
        progress.write(json.dumps({"step": len(jobs), "of": len(jobs), "seconds": round(time() - began, 3)}) + "\n")
    write_result(folder, {"state": "succeeded", **_about(began)})


def _is_done(place: Path, run: str) -> bool:
    machine, result = _read(place / MACHINE), _read(place / RESULT)
    return machine.get("run") == run and result.get("state") == "succeeded"


def _clear(place: Path) -> None:
    """Remove what an earlier run has left, except its checkpoint: the job itself knows whether that is its own."""
    for name in (RESULT, LOG, PROGRESS):
        (place / name).unlink(missing_ok=True)
    shutil.rmtree(place / OUTPUTS, ignore_errors=True)


def _run(place: Path, own: Mapping[str, str]) -> None:
    """Run one job to its result; its output goes to its own log and to the group's."""
    began = time()
    print(f"{place.name} begins", flush=True)  # noqa: T201
    with (place / LOG).open("w", encoding="utf-8", buffering=1) as log:
        process = subprocess.Popen(
            [sys.executable, SCRIPT],
            cwd=place,
            env={**os.environ, **own, **_own_keys(place.name)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for line in process.stdout or ():
            log.write(line)
            print(line, end="", flush=True)  # noqa: T201
        returncode = process.wait()
    if (place / RESULT).is_file():
        return
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory, often)" if name == "SIGKILL" else ""
        write_result(place, {"state": "lost", "error": {"message": f"killed by {name}{hint}"}, **_about(began)})
    else:
        message = f"ended with exit code {returncode} and left no result"
        write_result(place, {"state": "failed", "error": {"message": message}, **_about(began)})


def _own_keys(job: str) -> dict[str, str]:
    """Return the variable with a job's own key alone: no job signs for another."""
    keys = json.loads(os.environ.get(JOB_KEYS_VARIABLE) or "{}")
    return {JOB_KEYS_VARIABLE: json.dumps({job: keys[job]} if job in keys else {})}


def _about(began: float) -> dict[str, Any]:
    return {"attempt": os.environ.get(ATTEMPT_VARIABLE), "started_at": began, "finished_at": time()}


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _write(file: Path, value: object) -> None:
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)
