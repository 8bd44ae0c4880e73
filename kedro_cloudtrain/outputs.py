"""What a finished job has left, as the values that a node returns."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.worker.models import load_model
from kedro_cloudtrain.worker.results import folder_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kedro_cloudtrain.folder import JobFolder
    from kedro_cloudtrain.jobs import JobOutput, JobResult, OutputKind


def read_outputs(folder: JobFolder, result: JobResult, kinds: tuple[OutputKind, ...]) -> dict[str, Any]:
    """Give each kind's value: a `TrainedModel`, a dict of metrics, or a DataFrame.

    Raises:
        JobLostError: an output is not there, or is not what the result says of it.
    """
    values: dict[str, Any] = {}
    for kind in kinds:
        said = result.outputs.get(kind)
        if said is None:
            raise JobLostError(f"{folder.name} is done and has left no {kind}. Does its script save it? {folder.script}")
        path = folder.path / said.path
        _compare(folder, kind, path, said)
        values[kind] = _READERS[kind](path)
    return values


def _compare(folder: JobFolder, kind: str, path: Path, said: JobOutput) -> None:
    if not path.exists():
        raise JobLostError(f"{folder.name} says that it has left its {kind} in {path}, where there is nothing.")
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else folder_digest(path)
    if found != said.sha256:
        raise JobLostError(f"{path} is not what {folder.name} has written: its sha256 differs from the one in {folder.result}.")


def _read_json(path: Path) -> Any:
    import json  # noqa: PLC0415

    return json.loads(path.read_text(encoding="utf-8"))


def _read_rows(path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415  # half a second that `kedro --help` need not wait

    return pd.DataFrame(_read_json(path))


def _read_parquet(path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415

    return pd.read_parquet(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    "model": load_model,
    "metrics": _read_json,
    "history": _read_rows,
    "importance": _read_rows,
    "predictions": _read_parquet,
}
