"""A user's function as it is asked of a machine: the node's inputs and outputs become a job."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import time
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.jobs.code import Codes
from kedro_cloudtrain.jobs.fingerprint import Fingerprint, job_name
from kedro_cloudtrain.jobs.importable import import_path
from kedro_cloudtrain.jobs.requirements import function_requirements
from kedro_cloudtrain.jobs.sent import SentInput, size_warnings
from kedro_cloudtrain.jobs.spec import FunctionSpec, is_parameter, source_fields
from kedro_cloudtrain.jobs.worker_archive import worker_digest
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.job import Job, job_folder, volume_fields
from kedro_cloudtrain.running.outputs import read_values
from kedro_cloudtrain.storage.identity import identities_of
from kedro_cloudtrain.storage.remote_entry import RemoteEntry, entry_environment
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, secrets_environment
from kedro_cloudtrain.worker.values import is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.jobs.spec import Names
    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass(frozen=True)
class FunctionOrder:
    """What a node of a user's own asks for.

    Attributes:
        node: the node's name.
        function: what is called.
        arguments: the datasets that it is given, in order, or by the arguments' names.
        inputs: each of these: a source or an entry that the machine reads, or a value that exists nowhere but here.
        returns: the datasets that take what it returns, as the node has them.
        saves: where the machine saves some of them itself.
        entries: what it loads and saves by the entries' own classes.
        volume: holds the tables that are keys, and the job folder.
        project: the project's folder, whose requirements the machine installs.
        codes: the code that goes along.
        settings: what `cloudtrain.yml` says of the node.
    """

    node: str
    function: Callable[..., Any]
    arguments: tuple[str, ...] | dict[str, str]
    inputs: Mapping[str, Any] = dataclasses.field(repr=False)
    returns: Names
    volume: Volume
    project: Path
    codes: Codes = dataclasses.field(default_factory=Codes)
    saves: Mapping[str, tuple[VolumeSource, Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    entries: Mapping[str, RemoteEntry] = dataclasses.field(default_factory=dict)
    settings: NodeSettings = dataclasses.field(default_factory=NodeSettings)

    def prepare(self, generator: TrainingScriptGenerator, to: Path | None = None) -> Job:
        """Render the job and name it; nothing is written yet.

        Args:
            generator: knows the templates.
            to: where its folder is, for a look at it; left out, under the volume.

        Raises:
            CloudTrainError: before anything has run, when the job cannot be.
        """
        began = time.perf_counter()
        # What stands in the script can be read there; what it could not hold as it is goes along as a file.
        parameters = {name: value for name, value in self.inputs.items() if is_parameter(name) and is_json(value)}
        uploads = {
            name: SentInput.of(value, f"`{name}` of {self.node}")
            for name, value in self.inputs.items()
            if name not in self._tables and name not in parameters and not isinstance(value, RemoteEntry)
        }
        sources = {**self._tables, **{name: upload.source for name, upload in uploads.items()}}
        loaded = {name: value for name, value in self.inputs.items() if isinstance(value, RemoteEntry)}
        versions = {name: version for name, entry in loaded.items() if (version := entry.load_version()) is not None}
        spec = FunctionSpec(
            name=self.node,
            function=import_path(self.function),
            arguments=self.arguments,
            inputs={name: source_fields(sources[name]) for name in self.inputs if name in sources},
            parameters=parameters,
            returns=self.returns,
            saves={name: {**source_fields(source), "save_args": dict(args)} for name, (source, args) in self.saves.items()},
            entries={name: dict(entry.config) for name, entry in self.entries.items()},
            load_versions=versions,
        )
        script = generator.render_function(spec)
        code = self.codes.of(spec.module)
        identities, sizes = identities_of(self._tables, self.volume)
        for name, entry in loaded.items():
            found = entry.identity(versions.get(name))
            identities[name], sizes[name] = (dataclasses.asdict(found) if found.known else None), found.size
        identities |= {name: upload.digest for name, upload in uploads.items()}
        digest = hashlib.sha256((worker_digest() + code.digest).encode()).hexdigest()
        work = Fingerprint.of(script, identities, digest, self.requirements)
        job = job_name(self.node, work.digest)
        return Job(
            self,
            job_folder(self.volume, job, to),
            job,
            spec={**spec.model_dump(mode="json"), **volume_fields(self.volume, uploads.values())},
            script=script,
            uploads=tuple(uploads.values()),
            fingerprint=work,
            environment=secrets_environment([table for table in self._tables.values() if isinstance(table, UrlSource)])
            | entry_environment(self.entries.values()),
            render_s=time.perf_counter() - began,
            warnings=size_warnings(self.node, uploads.items(), self.settings.upload_warn_mb),
            data_bytes=sum(size for size in sizes.values() if size is not None) or None,
            code=code.archive,
        )

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:
        """Read what the job has left, by dataset; what the machine has saved itself is there as its source or its entry.

        Of an earlier run, a version has to be the latest one still: it is what a load of the entry gives.

        Raises:
            JobLostError: an output is not there, or is not what the result says of it.
        """
        saved: dict[str, VolumeSource | RemoteEntry] = {**{name: source for name, (source, _) in self.saves.items()}, **self.entries}
        return read_values(folder, result, self.output_names, saved, self.volume, earlier=earlier)

    @property
    def output_names(self) -> list[str]:
        """The datasets that take what the function returns."""
        if isinstance(self.returns, dict):
            return list(self.returns.values())
        return [self.returns] if isinstance(self.returns, str) else list(self.returns or ())

    @property
    def work(self) -> Workload:
        """How much there is to compute with, as far as it is known here."""
        return Workload(self.function.__qualname__)

    @property
    def python(self) -> str:
        """The one here: what is pickled by one release of Python need not be read by another."""
        return ".".join(platform.python_version_tuple()[:2])

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        return function_requirements(
            self.project,
            self.settings.requirements,
            file_formats=tuple(source.file_format for source in [*self._tables.values(), *(source for source, _ in self.saves.values())]),
            over_http=any(isinstance(table, UrlSource) for table in self._tables.values()),
            drivers=tuple(sorted({entry.driver for entry in self.entries.values()})),
        )

    @property
    def _tables(self) -> dict[str, UrlSource | VolumeSource]:
        """Those that the machine reads itself."""
        return {name: value for name, value in self.inputs.items() if isinstance(value, UrlSource | VolumeSource)}
