"""Several jobs on one machine, one after another, each in its own folder and in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .deadline import watch_deadline
from .results import write_result

if TYPE_CHECKING:
    from collections.abc import Mapping


def run_group(script: str, run: str, jobs: Mapping[str, Mapping[str, str]]) -> None:
    """Run the jobs whose folders lie beside a group's; one that fails does not keep the next one.

    `progress.jsonl` has a line a job that is over; a machine that takes a lost one's place begins where that one stopped.

    Args:
        script: the group's script.
        run: names this run of the group: a result of another one is done again.
        jobs: the names of the jobs' folders, in their order, with what each alone finds in its environment.
    """
    watch_deadline()
    folder, began = Path(script).resolve().parent, time.time()
    if (folder / "members.zip").is_file():
        with zipfile.ZipFile(folder / "members.zip") as archive:
            archive.extractall(folder.parent)
    places = [folder.parent / job for job in jobs]
    for place in places:
        if not _is_done(place, run):
            _clear(place)
            # Who looks for this job finds its group.
            _write(place / "machine.json", {"group": folder.name, "run": run})
    with (folder / "progress.jsonl").open("w", encoding="utf-8", buffering=1) as progress:
        for number, place in enumerate(places):
            progress.write(json.dumps({"step": number, "of": len(jobs), "seconds": round(time.time() - began, 3)}) + "\n")
            if _is_done(place, run):
                print(f"{place.name} is done already", flush=True)  # noqa: T201  # the group's log
            else:
                _run(place, jobs[place.name])
        progress.write(json.dumps({"step": len(jobs), "of": len(jobs), "seconds": round(time.time() - began, 3)}) + "\n")
    write_result(folder, {"state": "succeeded", **_about(began)})


def _is_done(place: Path, run: str) -> bool:
    machine, result = _read(place / "machine.json"), _read(place / "result.json")
    return machine.get("run") == run and result.get("state") == "succeeded"


def _clear(place: Path) -> None:
    """Take away what an earlier run has left, but for a checkpoint: the work itself knows whether that is its own."""
    for name in ("result.json", "log.txt", "progress.jsonl"):
        (place / name).unlink(missing_ok=True)
    shutil.rmtree(place / "outputs", ignore_errors=True)


def _run(place: Path, own: Mapping[str, str]) -> None:
    """Run one job to its result; what it says goes to its own log, and to the group's."""
    began = time.time()
    print(f"{place.name} begins", flush=True)  # noqa: T201
    with (place / "log.txt").open("w", encoding="utf-8", buffering=1) as log:
        process = subprocess.Popen(
            [sys.executable, "train.py"],
            cwd=place,
            env={**os.environ, **own},
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
    if (place / "result.json").is_file():
        return
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory, often)" if name == "SIGKILL" else ""
        write_result(place, {"state": "lost", "error": {"message": f"killed by {name}{hint}"}, **_about(began)})
    else:
        said = f"ended with exit code {returncode} and left no result"
        write_result(place, {"state": "failed", "error": {"message": said}, **_about(began)})


def _about(began: float) -> dict[str, Any]:
    return {"attempt": os.environ.get("CLOUDTRAIN_ATTEMPT"), "started_at": began, "finished_at": time.time()}


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        said = json.loads(file.read_text(encoding="utf-8"))
        return said if isinstance(said, dict) else {}
    return {}


def _write(file: Path, value: object) -> None:
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)
