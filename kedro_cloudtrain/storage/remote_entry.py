"""A catalog entry on a remote store, which a machine loads and saves by the entry's own class, as Kedro does here."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.worker.stores import file_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import JsonValue

# Under these names a machine finds the credentials of its entries, by the entries' names, and the version that the run saves.
CREDENTIALS_VARIABLE = "CLOUDTRAIN_CREDENTIALS"
SAVE_VERSION_VARIABLE = "CLOUDTRAIN_SAVE_VERSION"


@dataclasses.dataclass(frozen=True)
class RemoteEntry:
    """An entry of kedro-datasets on S3, Google Cloud Storage, or any other store of fsspec's.

    Attributes:
        name: in the catalog.
        config: what the catalog says of it, as plain JSON; its `credentials` are a name there.
        credentials: what they are.
        dataset: the dataset here.
    """

    name: str
    config: Mapping[str, JsonValue] = dataclasses.field(hash=False)
    credentials: Mapping[str, JsonValue] = dataclasses.field(default_factory=dict, repr=False, hash=False)
    dataset: Any = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def redacted(self) -> str:
        """Its path as it may be shown."""
        return str(self.config["filepath"])

    @property
    def versioned(self) -> bool:
        """Whether each save is a version of its own."""
        return bool(self.config.get("versioned"))

    @property
    def driver(self) -> str:
        """The package that reaches its store, by the name that it is imported by: `s3fs`; `fsspec` for its own ones."""
        return type(self.dataset._fs).__module__.partition(".")[0]  # noqa: SLF001  # every dataset of kedro-datasets has it

    def load_version(self) -> str | None:
        """Give the version that is loaded: the latest, or the one that the run has been told; None where there are none.

        Raises:
            SourceError: nothing was saved yet, or the store does not answer.
        """
        self.dataset.release()
        try:
            version: str | None = self.dataset.resolve_load_version() if self.versioned else None
        except Exception as error:  # Kedro's DatasetError, or whatever the store's own client raises
            raise self._unreachable(error) from error
        return version

    def identity(self, version: str | None = None) -> SourceIdentity:
        """Say by what its file is known to be the same; a version's is the version's.

        Raises:
            SourceError: it is not there, or the store does not answer.
        """
        dataset = self.dataset
        path = dataset._get_versioned_path(version) if version is not None else dataset._filepath  # noqa: SLF001
        try:
            return SourceIdentity(**file_identity(dataset._fs, str(path)))  # noqa: SLF001
        except Exception as error:  # FileNotFoundError, or whatever the store's own client raises
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> SourceError:
        said = "there is no such file" if isinstance(error, FileNotFoundError) else str(error).strip() or type(error).__name__
        return SourceError(f"`{self.name}` is not to be had from {self.redacted}: {said}. Check its entry, and its credentials.")


def entry_environment(entries: Iterable[RemoteEntry]) -> dict[str, str]:
    """Give the environment variables by which a machine reaches some entries: no file holds their credentials."""
    told, known = {}, {}
    for entry in entries:
        if entry.credentials:
            known[entry.name] = dict(entry.credentials)
        if entry.versioned:
            told[SAVE_VERSION_VARIABLE] = str(entry.dataset.resolve_save_version())
    return told | ({CREDENTIALS_VARIABLE: json.dumps(known)} if known else {})
