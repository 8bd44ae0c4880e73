"""Files that cross from a volume to the client: read within bounds, and taken only for what they should be.

A volume is a disk that pods and other clients write to. A file on it may be cut off, empty, of another release, or anything else. One
policy holds for all of them: a file that is not whole and valid counts as missing, is named, and the job runs again or goes on without it.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kedro_cloudtrain.worker.protocol import OUTPUTS

if TYPE_CHECKING:
    from pathlib import Path

# A result names each file of its outputs: 50,000 of them fit.
MOST_BYTES = 8_000_000
# A spec holds a node's parameters, as large as a user has made them.
MOST_SPEC_BYTES = 512_000_000
# The end of the year 2999, which a date can show.
_LAST_MOMENT_S = 32_503_680_000.0
_MOST_SECONDS = 1e9

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Field(ge=0.0, le=_MOST_SECONDS)]
Moment = Annotated[float, Field(ge=0.0, le=_LAST_MOMENT_S)]
# They become parts of a path or of an API's URL.
Name = Annotated[str, Field(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\z")]
# A pod's id, or that of a cluster which stands for one.
PodName = Annotated[str, Field(pattern=r"\A(cluster/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\z")]


def output_path(name: str) -> str:
    """Return the path of an output, if it is one of a file or a folder below `outputs/` in the job folder.

    Raises:
        ValueError: it leads elsewhere, or is not written as the worker writes it.
    """
    parts = PurePosixPath(name).parts
    if parts[:1] != (OUTPUTS,) or len(parts) == 1 or ".." in parts or "/".join(parts) != name or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} is not below {OUTPUTS}/")
    return name


OutputPath = Annotated[str, AfterValidator(output_path)]


class VolumeRecord(BaseModel):
    """The content of a JSON file that somebody else may have written: exact types, no NaN; what a later release has added is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


Record = TypeVar("Record", bound=BaseModel)


def parsed(model: type[Record], content: bytes | str | None) -> Record | None:
    """Return a file's content as a model; None where there is none, or it is anything else."""
    if content is None or len(content) > MOST_BYTES:
        return None
    try:
        return model.model_validate_json(content)
    except ValidationError:
        return None


def parsed_object(content: bytes | None, most_bytes: int = MOST_BYTES) -> dict[str, Any] | None:
    """Return a file's content as a JSON object; None where there is none, or it is anything else."""
    if content is None or len(content) > most_bytes:
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def fault_of(content: bytes) -> str:
    """Return in words what is wrong with a file that could not be parsed."""
    if not content.strip():
        return "is empty"
    return f"is larger than {MOST_BYTES / 1e6:g} MB" if len(content) > MOST_BYTES else "cannot be read as one"


def bounded_bytes(file: Path, most_bytes: int = MOST_BYTES) -> bytes | None:
    """Return a file's content, of one that is too large only as much as shows that; None where there is no such file."""
    try:
        with file.open("rb") as stream:
            return stream.read(most_bytes + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
