"""What a node asks of a machine, with the values of its inputs sorted by how each comes to the machine."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from kedro_cloudtrain.storage.identity import identities_of
from kedro_cloudtrain.storage.remote_entry import RemoteEntry, entry_environment
from kedro_cloudtrain.storage.sources import UrlSource, VersionedSource, VolumeSource, secrets_environment
from kedro_cloudtrain.worker.protocol import SAVE_VERSION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.code import Code
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.jobs.sent import SentFiles, SentInput
    from kedro_cloudtrain.jobs.spec import Source
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A node's inputs, sorted by how each comes to the machine.

    Attributes:
        read: the tables that the machine reads itself.
        sent: the values that exist only in this process, and are sent along.
        files: the files that are sent along in place of a value: those of a catalog entry, or of a model.
        loaded: the catalog entries that the machine loads by the entries' own classes.
        parameters: the values that stand in the script.
        entries: every catalog entry that the machine loads or saves, whose credentials it needs.
        doubts: what a parameter may refer to on this computer, such as a file: it may change while the parameter stays the same.
        save_version: the version of what the machine saves on the volume itself; None where no output there has versions.
    """

    read: Mapping[str, UrlSource | VolumeSource] = dataclasses.field(default_factory=dict)
    sent: Mapping[str, SentInput] = dataclasses.field(default_factory=dict)
    loaded: Mapping[str, RemoteEntry] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    entries: Mapping[str, RemoteEntry] = dataclasses.field(default_factory=dict)
    files: Mapping[str, SentFiles] = dataclasses.field(default_factory=dict)
    doubts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    save_version: str | None = None

    @property
    def sources(self) -> dict[str, Source]:
        """The place of each table and of each sent value, as a script names it."""
        return {**self.read, **{name: sent.source for name, sent in self.sent.items()}}

    @cached_property
    def versions(self) -> dict[str, str]:
        """The version of each versioned entry that is loaded.

        Raises:
            SourceError: an entry has no version yet, or its store does not answer.
        """
        return {name: version for name, entry in self.loaded.items() if (version := entry.load_version()) is not None}

    def identities(self, volume: Volume) -> tuple[dict[str, Any], dict[str, int | None]]:
        """Return each input's identity, None where it has none, and the sizes in bytes of those that the machine reads.

        Each store is asked once.

        Raises:
            SourceError: an input does not exist, or cannot be reached.
        """
        if self._identities:
            return self._identities[0]
        identities, sizes = identities_of(self.read, volume)
        for name, entry in self.loaded.items():
            identity = entry.identity(self.versions.get(name))
            identities[name], sizes[name] = identity.described, identity.size
        identities |= {name: files.contents.digest for name, files in self.files.items()}
        whole = identities | {name: sent.identity for name, sent in self.sent.items()} | dict.fromkeys(self.doubts)
        self._identities.append((whole, sizes))
        return whole, sizes

    @cached_property
    def _identities(self) -> list[tuple[dict[str, Any], dict[str, int | None]]]:
        return []

    @property
    def all_sent(self) -> dict[str, SentInput | SentFiles]:
        """What is sent along, by input."""
        return {**self.sent, **self.files}

    @property
    def sent_files(self) -> tuple[SentInput, ...]:
        """Every file that is sent along, once."""
        files = [file for files in self.files.values() for file in (files.contents, *files.files)]
        return tuple({file.name: file for file in (*self.sent.values(), *files)}.values())

    @property
    def references(self) -> dict[str, str]:
        """What an input refers to instead of holding it, by the input: such an input always counts as changed."""
        return {**{name: sent.reference for name, sent in self.sent.items() if sent.reference is not None}, **self.doubts}

    @property
    def modules(self) -> frozenset[str]:
        """The modules of the classes and functions that are sent: a machine needs their code to read them."""
        return frozenset().union(*(sent.modules for sent in self.sent.values()))

    @property
    def secrets(self) -> dict[str, str]:
        """The environment variables that the machine needs to reach the inputs and to save; no file may hold them."""
        version = {SAVE_VERSION_VARIABLE: self.save_version} if self.save_version is not None else {}
        urls = [source for source in self.read.values() if isinstance(source, UrlSource)]
        return secrets_environment(urls) | entry_environment({**self.loaded, **self.entries}.values()) | version


def save_version(sources: Iterable[VolumeSource]) -> str | None:
    """Return the version of what a machine saves on the volume itself; None where none of that has versions."""
    return next((source.versions.save_version for source in sources if isinstance(source, VersionedSource)), None)


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A job's spec as plain JSON, and its script."""

    spec: Mapping[str, Any]
    script: str


class Order(Protocol):
    """What a node asks of a machine: a training, a prediction, or a call of a user's function."""

    @property
    def node(self) -> str:
        """The node's name."""
        ...

    @property
    def volume(self) -> Volume:
        """Holds the job folder."""
        ...

    @property
    def settings(self) -> NodeSettings:
        """What `cloudtrain.yml` sets for the node."""
        ...

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        ...

    @property
    def cpu_requirements(self) -> tuple[str, ...]:
        """What a pod without a GPU installs. It is part of the fingerprint: the work is the same on either."""
        ...

    @property
    def python(self) -> str:
        """The Python that a pod needs, such as `3.12`."""
        ...

    @property
    def project(self) -> Path | None:
        """The project's folder; None for what has no project."""
        ...

    @property
    def trial(self) -> bool:
        """Whether it is a trial of a search, which may be ended early and whose metrics alone come back."""
        ...

    def inputs(self) -> Inputs:
        """Sort the node's inputs by how each comes to the machine.

        Raises:
            SourceError: an input cannot be sent.
        """
        ...

    def code(self, inputs: Inputs) -> Code | None:
        """Return the project's code that goes along; None where the job imports none of it.

        Args:
            inputs: the sorted inputs, which may hold objects of the project's classes.

        Raises:
            ConfigError: it is not in any file, or is not Python.
        """
        ...

    def render(self, inputs: Inputs, generator: TrainingScriptGenerator) -> Rendered:
        """Render the job's spec and script.

        Raises:
            CloudTrainError: the job cannot be rendered.
        """
        ...

    def workload(self, sizes: Mapping[str, int | None]) -> Workload:
        """Return how much there is to compute with, as far as the client knows.

        Args:
            sizes: the size in bytes of each table that the machine reads; None where it is not known.
        """
        ...

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:
        """Return what the job has left: by kind for a training or a prediction, by dataset for a function.

        The outputs of an earlier run have to be what a load of them returns now.

        Raises:
            JobLostError: an output is missing, or is not what the result describes.
        """
        ...

    def scores(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Return the numbers among the metrics of what the job has left, by name; none where it measures nothing."""
        ...
