"""Why a job runs, or does not: what an earlier run has left, and what has changed since."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.jobs.owner import owners

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_cloudtrain.jobs.fingerprint import Fingerprint
    from kedro_cloudtrain.jobs.folder import JobFolder

NOTHING_CHANGED = "nothing changed"
# The keys of `job.json` that are not parameters: the node's name, and where the job's data is.
_NOT_PARAMETERS = ("name", "sources", "inputs", "files", "volume_path", "sent")


def reason_to_run(folder: JobFolder, fingerprint: Fingerprint, spec: Mapping[str, Any], *, reuse: bool) -> str:
    """Return in a few words why a job runs even if there is an earlier one.

    Args:
        folder: the job's folder.
        fingerprint: of the job's work.
        spec: the content of its `job.json`, which need not be written yet.
        reuse: whether finished work may be reused at all.
    """
    if not reuse:
        return "cache=false"
    if fingerprint.unidentified:
        return _doubt(fingerprint.unidentified, spec)
    if folder.fingerprint.is_file():
        return _end_of_earlier_run(folder)
    earlier = next(iter(folder.siblings()), None)
    changes = list(_changes(earlier, fingerprint, spec)) if earlier is not None else []
    return f"changed: {', '.join(changes)}" if changes else "first run"


def _doubt(names: Sequence[str], spec: Mapping[str, Any]) -> str:
    """Return why inputs count as changed."""
    # What is sent has its content, and so has a parameter; in doubt is what they refer to.
    parameters = {"hyperparameters"} if "sources" in spec else set(spec.get("parameters", {}))
    inputs = spec.get("inputs", {})
    referring = [name for name in names if name in parameters or "dataset_file" in inputs.get(name, {})]
    if referring:
        return f"{' and '.join(referring)} refers to what may change unseen, so it counts as changed"
    return f"{' and '.join(names)} has neither an ETag nor a date, so it counts as changed"


def _end_of_earlier_run(folder: JobFolder) -> str:
    """Return why an earlier run of the same work cannot be reused."""
    try:
        result = folder.read_result()
    except JobLostError:
        return "the earlier run's result cannot be read"
    if result is None or result.state == "cancelled":
        return "an earlier run did not finish"
    if result.state == "pruned":
        return "a search has ended it early"
    return "the earlier run failed, or its outputs are gone"


def note(folder: JobFolder, state: str, why: str, project_id: str = "") -> None:
    """Note in the job's folder whether it ran or was reused, and why; the latest note replaces the one before.

    Args:
        folder: the job's folder.
        state: `ran` or `reused`.
        why: in a few words.
        project_id: the id of the project that has asked for it; those that have asked before stay noted.
    """
    projects = sorted({*owners(folder), *([project_id] if project_id else [])})
    folder.write_json(folder.why, {"state": state, "why": why, "at": time.time(), "projects": projects})


def _changes(earlier: JobFolder, now: Fingerprint, spec: Mapping[str, Any]) -> Iterator[str]:
    """Name whatever differs from an earlier job of the same node."""
    try:
        earlier_fingerprint = earlier.read_fingerprint()
        earlier_spec = earlier.read_json(earlier.spec)
    except OSError:
        return
    if earlier_fingerprint is None or earlier_spec is None:
        return  # Its folder is being written or removed, or was written by another release.
    earlier_parameters = _parameters(earlier_spec)
    parameters = [name for name, value in _parameters(spec).items() if _given(value) != _given(earlier_parameters.get(name))]
    yield from (name.replace("_", " ") for name in parameters)
    yield from (f"the input {name}" for name, identity in now.inputs.items() if earlier_fingerprint.inputs.get(name) != identity)
    if earlier_fingerprint.script != now.script and not parameters:
        yield "the script"
    if earlier_fingerprint.code != now.code:
        yield "the code beside the script"
    if earlier_fingerprint.requirements != now.requirements:
        yield "the packages"


def _given(value: Any) -> Any:
    """Return a value without what is left out in it: an older job folder lacks the parameters that came later."""
    if isinstance(value, dict):
        value = {key: given for key, inner in value.items() if (given := _given(inner)) is not None}
    return None if value in ([], {}) else value


def _parameters(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a `job.json` by the names that a user knows: those of a training, and of reading its table, one by one.

    Older job folders hold a training's parameters one by one already.
    """
    parameters = {name: value for name, value in spec.items() if name not in _NOT_PARAMETERS}
    if "sources" in spec:
        table = _object(_object(spec["sources"]).get("data"))
        reading = {"file_format": table.get("file_format"), "load_args": table.get("load_args", {})}
        parameters = {**_object(parameters.pop("parameters", None)), **reading, **parameters}
    return parameters


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
