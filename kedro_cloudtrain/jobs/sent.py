"""Inputs that exist only on this computer, as files that are sent with a job: named by their content, so each content is sent once."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.sources import SentSource
from kedro_cloudtrain.wording import size
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.protocol import SENT
from kedro_cloudtrain.worker.values import PICKLE, write_value

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class SentInput:
    """One input to send.

    Attributes:
        name: its file's name: the first 16 digits of its digest, and the extension of its format.
        content: the file's bytes.
        digest: a sha256 that is the same for the same value.
    """

    name: str
    content: bytes = dataclasses.field(repr=False)
    digest: str

    @property
    def source(self) -> SentSource:
        """The source by which a script names it."""
        return SentSource(file=f"{SENT}/{self.name}", file_format=self.name.rpartition(".")[2])

    @classmethod
    def of(cls, value: Any, what: str, *, table: bool = False) -> SentInput:
        """Return a value as the file to send.

        Args:
            value: the value.
            what: how a message names it: "`companies` of train_model".
            table: whether it must be a table, which is sent without its index.

        Raises:
            SourceError: the value cannot be written to a file.
        """
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            file = _write_table(value, what, Path(scratch)) if table else _write_any(value, what, Path(scratch))
            content, digest = file.read_bytes(), _digest(value, file)
        return cls(f"{digest[:16]}{file.suffix}", content, digest)


def size_warnings(node: str, inputs: Iterable[tuple[str, SentInput]], warn_mb: float) -> tuple[str, ...]:
    """Return a warning for each sent input of a node that is larger than `warn_mb` megabytes."""
    return tuple(
        f"{node}: `{name}` exists only on this computer, so {size(len(sent.content))} are sent to the machine (upload_warn_mb is "
        f"{warn_mb:g}). To send nothing, save it to a CloudDataset on the volume, where the machine reads it itself."
        for name, sent in inputs
        if len(sent.content) > warn_mb * 1e6
    )


def _write_table(value: Any, what: str, folder: Path) -> Path:
    file = folder / "table.parquet"
    try:
        value.rename(columns=str).to_parquet(file, index=False)
    except (AttributeError, ValueError, TypeError, OverflowError) as error:
        raise SourceError(
            f"{what} is a {type(value).__name__} that cannot be written as parquet: {error}. "
            "Pass a DataFrame whose columns hold one type each."
        ) from error
    return file


def _write_any(value: Any, what: str, folder: Path) -> Path:
    try:
        return write_value(value, folder, "value")
    except InputError as error:
        raise SourceError(f"{what}: {error} Save it to a dataset that a machine can read, or take the node out of `nodes`.") from error


def _digest(value: Any, file: Path) -> str:
    """Return a sha256 that is the same for the same value in every process.

    The bytes of a pickle are not: the order of a set differs between processes, and a text that two objects share is written once. A
    pickled value is therefore digested by joblib's hash, which handles both, if joblib can follow the value.

    Args:
        value: the value that was written.
        file: the file that `write_value` has written.
    """
    content = file.read_bytes()
    # A function of the running program travels by its code, which only the pickle holds.
    if file.suffix == PICKLE and b"__main__" not in content:
        import joblib  # noqa: PLC0415  # only for values that are neither a table nor JSON

        try:
            joblib_hash = joblib.hash(value, hash_name="sha1")
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
            pass  # Only cloudpickle can write it, as with a lambda.
        else:
            content = f"joblib {joblib_hash}".encode()
    return hashlib.sha256(content).hexdigest()
