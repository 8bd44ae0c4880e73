"""A catalog entry on a remote store, which a machine loads and saves by the entry's own class, as Kedro does on this computer."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.worker.protocol import CREDENTIALS_VARIABLE, SAVE_VERSION_VARIABLE
from kedro_cloudtrain.worker.stores import file_identity, path_on_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import JsonValue


@dataclasses.dataclass(frozen=True)
class RemoteEntry:
    """A kedro-datasets entry on S3, Google Cloud Storage, or any other store that fsspec reaches.

    Attributes:
        name: its name in the catalog.
        config: its configuration in the catalog, as plain JSON; `credentials` is a name in it.
        credentials: the credentials of that name.
        dataset: the dataset in this process.
    """

    name: str
    config: Mapping[str, JsonValue] = dataclasses.field(hash=False)
    credentials: Mapping[str, JsonValue] = dataclasses.field(default_factory=dict, repr=False, hash=False)
    dataset: Any = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def redacted(self) -> str:
        """The entry's path as it may be shown."""
        return str(self.config["filepath"])

    @property
    def versioned(self) -> bool:
        """Whether each save makes a version of its own."""
        return bool(self.config.get("versioned"))

    @property
    def driver(self) -> str:
        """The import name of the package that reaches the store, such as `s3fs`; `fsspec` for a store of its own."""
        return type(self.dataset._fs).__module__.partition(".")[0]  # noqa: SLF001  # every dataset of kedro-datasets has it

    def load_version(self) -> str | None:
        """Return the version to load: the latest, or the one that the run was started with; None for an entry without versions.

        Raises:
            SourceError: nothing has been saved yet, or the store does not answer.
        """
        self.dataset.release()
        try:
            version: str | None = self.dataset.resolve_load_version() if self.versioned else None
        except Exception as error:  # Kedro's DatasetError, or whatever the store's own client raises
            raise self._unreachable(error) from error
        return version

    def identity(self, version: str | None = None) -> SourceIdentity:
        """Return the identity of the entry's file, or of one version of it.

        Raises:
            SourceError: the file does not exist, or the store does not answer.
        """
        try:
            return SourceIdentity(**file_identity(self.dataset._fs, path_on_store(self.dataset, version)))  # noqa: SLF001
        except Exception as error:  # FileNotFoundError, or whatever the store's own client raises
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> SourceError:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error).strip() or type(error).__name__
        return SourceError(f"`{self.name}` cannot be read from {self.redacted}: {reason}. Check its entry and its credentials.")


def entry_environment(entries: Iterable[RemoteEntry]) -> dict[str, str]:
    """Return the environment variables by which a machine reaches some entries: no file holds their credentials."""
    environment, credentials = {}, {}
    for entry in entries:
        if entry.credentials:
            credentials[entry.name] = dict(entry.credentials)
        if entry.versioned:
            environment[SAVE_VERSION_VARIABLE] = str(entry.dataset.resolve_save_version())
    return environment | ({CREDENTIALS_VARIABLE: json.dumps(credentials)} if credentials else {})
