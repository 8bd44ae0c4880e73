"""Inputs that exist only on this computer, as files that are sent with a job: named by their content, so each content is sent once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.references import Surroundings, reference_in, surroundings_of
from kedro_cloudtrain.jobs.value_digest import DigestError, value_digest
from kedro_cloudtrain.storage.sources import SentSource
from kedro_cloudtrain.wording import size
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.protocol import SENT
from kedro_cloudtrain.worker.scratch import scratch
from kedro_cloudtrain.worker.values import JSON, NOT_IN_PARQUET, PICKLE, is_frame, write_value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from kedro_cloudtrain.jobs.references import Reference


@dataclasses.dataclass(frozen=True)
class SentInput:
    """One input to send.

    Attributes:
        name: its file's name: the first 16 digits of its digest, and the extension of its format.
        content: the file's bytes, or the file itself.
        digest: a sha256 that is the same for the same value.
        reference: what the value refers to instead of holding it, such as a file: that may change while the value stays the same.
        modules: those of the value's classes and functions, whose code the file does not hold.
    """

    name: str
    content: bytes | Path = dataclasses.field(repr=False)
    digest: str
    reference: str | None = None
    modules: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    @property
    def identity(self) -> str | None:
        """The digest; None where it does not tell all."""
        return self.digest if self.reference is None else None

    @property
    def source(self) -> SentSource:
        """The source by which a script names it."""
        return SentSource(file=f"{SENT}/{self.name}", file_format=self.name.rpartition(".")[2])

    def is_in(self, file: Path) -> bool:
        """Return whether a file holds it, byte by byte; a link does not, for what is behind it may change."""
        if file.is_symlink() or not file.is_file() or file.stat().st_size != self.size:
            return False
        content = self.content
        return _sha256_of(file) == (_sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest())

    @classmethod
    def of(cls, value: Any, what: str, *, table: bool = False, columns: Collection[str] | None = None, to_pod: bool = False) -> SentInput:
        """Return a value as the file to send.

        Args:
            value: the value.
            what: how a message names it: "`companies` of train_model".
            table: whether it must be a table, which is sent without its index.
            columns: the table's columns to send; None sends all.
            to_pod: whether it goes to another machine, which has none of this computer's files.

        Raises:
            SourceError: the value cannot be written to a file, or refers to what a machine does not have.
        """
        # A recipe computes with a table's values, and opens none of them.
        surroundings = Surroundings() if table else surroundings_of(value)
        reference = _reference(value, surroundings.reference, what, to_pod=to_pod)
        with scratch() as folder:
            file = _write_table(value, what, folder, columns) if table else _write_any(value, what, folder)
            content = file.read_bytes()
            digest = _digest(value, content, file.suffix)
        return cls(f"{digest[:16]}{file.suffix}", content, digest, reference, surroundings.modules)

    @classmethod
    def of_file(cls, file: Path) -> SentInput:
        """Return a file as it is."""
        digest = _sha256_of(file)
        return cls(f"{digest[:16]}{file.suffix}", file, digest)


@dataclasses.dataclass(frozen=True)
class SentFiles:
    """The files of a catalog entry to send: each by its content, so that one that has changed is sent alone.

    Attributes:
        contents: the list of the files, by which a machine lays them out again; it is sent as well.
        files: the files.
    """

    contents: SentInput
    files: tuple[SentInput, ...]

    @classmethod
    def of(cls, files: Mapping[str, Path]) -> SentFiles:
        """Return files to send.

        Args:
            files: by their paths on the machine.
        """
        sent = {place: SentInput.of_file(file) for place, file in files.items()}
        content = json.dumps({place: file.name for place, file in sent.items()}, indent=1, ensure_ascii=False).encode()
        # By whole digests: the name of a file has a part of it.
        digest = hashlib.sha256(json.dumps([[place, file.digest] for place, file in sent.items()]).encode()).hexdigest()
        return cls(SentInput(f"{digest[:16]}{JSON}", content, digest), tuple(sent.values()))

    @property
    def size(self) -> int:
        """The size of all of them in bytes."""
        return sum(file.size for file in self.files)


def size_warnings(node: str, inputs: Iterable[tuple[str, SentInput | SentFiles]], warn_mb: float) -> tuple[str, ...]:
    """Return a warning for each sent input of a node that is larger than `warn_mb` megabytes."""
    return tuple(
        f"{node}: `{name}` exists only on this computer, so {size(sent.size)} are sent to the machine (upload_warn_mb is "
        f"{warn_mb:g}). To send nothing, save it to a CloudDataset on the volume, where the machine reads it itself."
        for name, sent in inputs
        if sent.size > warn_mb * 1e6
    )


def doubt_about(value: Any, *, to_pod: bool) -> str | None:
    """Return what a value may refer to on this computer, such as a file; None where there is nothing, or the machine cannot follow it.

    Args:
        value: the value, which is plain JSON.
        to_pod: whether it goes to another machine, which has none of this computer's files.
    """
    reference = None if to_pod else reference_in(value)
    return reference.what if reference is not None else None


def _sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reference(value: Any, reference: Reference | None, what: str, *, to_pod: bool) -> str | None:
    """Return what a value refers to instead of holding it, if what is behind that can be reached from the machine.

    Raises:
        SourceError: it is surely no data, and a machine cannot follow it there.
    """
    if reference is None:
        return None
    # On this computer a job finds what this process finds.
    follows = reference.elsewhere or not to_pod
    if (reference.certain and not follows) or isinstance(value, Iterator):
        raise SourceError(
            f"{what} holds {reference.what}: that is not data, and a machine would get it without what is behind it. Load the data in a "
            "node of this process and hand on a table or plain values; or keep it in an entry of kedro-datasets, such as "
            "partitions.PartitionedDataset, whose files go along; or take the node out of `nodes` in cloudtrain.yml."
        )
    # To another machine, a path of this computer is a text as any other.
    return reference.what if follows else None


def _write_table(value: Any, what: str, folder: Path, columns: Collection[str] | None) -> Path:
    file = folder / "table.parquet"
    if not is_frame(value):
        raise SourceError(f"{what} is a {type(value).__name__}, and a table is a DataFrame. Return one from the node that makes it.")
    table = value.rename(columns=str)
    if columns is not None:
        table = table[[name for name in table.columns if name in columns]]
    try:
        table.to_parquet(file, index=False)
    except NOT_IN_PARQUET as error:
        refused = [f"`{name}`" for name in dict.fromkeys(table.columns) if _is_refused(table[[name]], file)]
        columns_held = f"columns that parquet cannot hold: {', '.join(refused)}" if refused else f"what parquet cannot hold: {error}"
        raise SourceError(
            f"{what} has {columns_held}. Make each a column of one type (numbers, texts, booleans or dates), or leave it out of "
            "feature_columns."
        ) from error
    return file


def _is_refused(table: Any, file: Path) -> bool:
    """Return whether parquet refuses a table."""
    try:
        table.to_parquet(file, index=False)
    except NOT_IN_PARQUET:
        return True
    return False


def _write_any(value: Any, what: str, folder: Path) -> Path:
    try:
        return write_value(value, folder, "value")
    except InputError as error:
        raise SourceError(f"{what}: {error} Save it to a dataset that a machine can read, or take the node out of `nodes`.") from error


def _digest(value: Any, content: bytes, suffix: str) -> str:
    """Return a sha256 that is the same for the same value in every process.

    Args:
        value: the value that is sent.
        content: its file, as `write_value` has written it.
        suffix: of the file, which tells its format.
    """
    # A function of the running program travels by its code, which only the pickle holds.
    if suffix == PICKLE and b"__main__" not in content:
        with contextlib.suppress(DigestError):
            content = f"value {value_digest(value)}".encode()
    return hashlib.sha256(content).hexdigest()
