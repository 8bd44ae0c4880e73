"""What exists only here, as files that go along with a job: named by their content, so that the same content is sent once."""

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
from kedro_cloudtrain.worker.values import PICKLE, write_value

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class SentInput:
    """One file to send.

    Attributes:
        name: its file's name: the first 16 digits of its digest, and an ending that says how it is read.
        content: its bytes.
        digest: a sha256 by which the value is known to be the same.
    """

    name: str
    content: bytes = dataclasses.field(repr=False)
    digest: str

    @property
    def source(self) -> SentSource:
        """How a script names it."""
        return SentSource(file=f"inputs/{self.name}", file_format=self.name.rpartition(".")[2])

    @classmethod
    def of(cls, value: Any, what: str, *, table: bool = False) -> SentInput:
        """Write a value as it will be sent.

        Args:
            value: what it is.
            what: as a message names it: "`companies` of train_model".
            table: whether it has to be a table, which is sent without its index.

        Raises:
            SourceError: it cannot be sent.
        """
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            file = _table(value, what, Path(scratch)) if table else _any(value, what, Path(scratch))
            content, digest = file.read_bytes(), _digest(value, file)
        return cls(f"{digest[:16]}{file.suffix}", content, digest)


def size_warnings(node: str, uploads: Iterable[tuple[str, SentInput]], warn_mb: float) -> tuple[str, ...]:
    """Say which inputs of a node are so large that they had better be where the machine can read them itself."""
    return tuple(
        f"{node}: `{name}` exists only here, and {size(len(upload.content))} of it are sent to the machine (upload_warn_mb is "
        f"{warn_mb:g}). Where the machine can read it itself, nothing is sent: let the node that makes it "
        "save it to a CloudDataset on the volume."
        for name, upload in uploads
        if len(upload.content) > warn_mb * 1e6
    )


def _table(value: Any, what: str, folder: Path) -> Path:
    file = folder / "table.parquet"
    try:
        value.rename(columns=str).to_parquet(file, index=False)
    except (AttributeError, ValueError, TypeError, OverflowError) as error:
        raise SourceError(
            f"{what} is a {type(value).__name__} that cannot be written as parquet: {error}. "
            "Give it as a DataFrame whose columns hold one type each."
        ) from error
    return file


def _any(value: Any, what: str, folder: Path) -> Path:
    try:
        return write_value(value, folder, "value")
    except InputError as error:
        raise SourceError(f"{what}: {error} Save it to a dataset that a machine can read, or take the node out of `nodes`.") from error


def _digest(value: Any, file: Path) -> str:
    """Give a sha256 by which a value is known to be the same, in whichever process it was made.

    A pickle's bytes are not: a set's order is another one in each process, and a text that is shared is written once. So what is pickled is
    known by joblib's hash, which sees to both, where joblib can follow it.

    Args:
        value: what was written.
        file: what `write_value` has made of it.
    """
    content = file.read_bytes()
    # A function of the program that runs travels by its code, which is in the pickle alone.
    if file.suffix == PICKLE and b"__main__" not in content:
        import joblib  # noqa: PLC0415  # for who sends what is neither a table nor JSON

        try:
            said = joblib.hash(value, hash_name="sha1")
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
            pass  # What only cloudpickle can write: a lambda, say.
        else:
            content = f"joblib {said}".encode()
    return hashlib.sha256(content).hexdigest()
