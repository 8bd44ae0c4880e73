"""Why a job runs, or does not: what an earlier run has left, and what is another than then."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.jobs.fingerprint import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kedro_cloudtrain.jobs.folder import JobFolder

NOTHING_CHANGED = "nothing changed"
# Of `job.json`, what is no parameter: where the job's data is, and the name of its node.
_NO_PARAMETERS = ("name", "dataset_url", "dataset_key", "dataset_file", "validation_source", "volume_path", "inputs", "sent")


def reason_to_run(folder: JobFolder, fingerprint: Fingerprint, spec: dict[str, Any], *, reuse: bool) -> str:
    """Say in a few words why a job runs although there may be an earlier one.

    Args:
        folder: the job's.
        fingerprint: of the work.
        spec: what `job.json` will say.
        reuse: whether finished work is taken at all.
    """
    if not reuse:
        return "cache=false"
    if fingerprint.unidentified:
        return f"{' and '.join(fingerprint.unidentified)} cannot be told to be unchanged: no ETag, no date"
    if folder.fingerprint.is_file():
        return _of_the_same_work(folder)
    before = next(_siblings(folder), None)
    if before is None:
        return "first run"
    changed = list(_changes(before, fingerprint, spec))
    return f"changed: {', '.join(changed)}" if changed else "first run"


def _of_the_same_work(folder: JobFolder) -> str:
    """Say what became of an earlier run of this very work."""
    try:
        result = folder.read_result()
    except JobLostError:
        return "the earlier run's result cannot be read"
    if result is None or result.state == "cancelled":
        return "an earlier run did not finish"
    return "the earlier run failed, or its outputs are gone"


def note(folder: JobFolder, state: str, why: str) -> None:
    """Note in the job's folder that it ran, or was reused, and why; the latest note is the one that is shown."""
    folder.write_json(folder.why, {"state": state, "why": why, "at": time.time()})


def _siblings(folder: JobFolder) -> Iterator[Path]:
    """Give the folders of other jobs of the same node, the latest first."""
    beginning = folder.name.rpartition("-")[0]
    others = [path for path in folder.path.parent.glob(f"{beginning}-*") if path != folder.path and (path / "fingerprint.json").is_file()]
    others = [path for path in others if path.name.rpartition("-")[0] == beginning]
    yield from sorted(others, key=lambda path: (path / "fingerprint.json").stat().st_mtime, reverse=True)


def _changes(before: Path, now: Fingerprint, spec: dict[str, Any]) -> Iterator[str]:
    try:
        then = Fingerprint.model_validate_json((before / "fingerprint.json").read_bytes())
        spec_then = json.loads((before / "job.json").read_bytes())
    except (OSError, ValueError, ValidationError):
        return
    parameters = [key for key in spec if key not in _NO_PARAMETERS and spec[key] != spec_then.get(key)]
    yield from (key.replace("_", " ") for key in parameters)
    yield from (f"the input {name}" for name, identity in now.inputs.items() if then.inputs.get(name) != identity)
    if then.script != now.script and not parameters:
        yield "the script"
    if then.code != now.code:
        yield "the code beside the script"
    if then.requirements != now.requirements:
        yield "the packages"
