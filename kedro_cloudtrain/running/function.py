"""A call of a user's own function as it is asked of a machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.jobs.code import Codes
from kedro_cloudtrain.jobs.importable import import_path
from kedro_cloudtrain.jobs.requirements import function_requirements, own_release
from kedro_cloudtrain.jobs.sent import SentFiles, SentInput, doubt_about
from kedro_cloudtrain.jobs.spec import FunctionSpec, dotted_names, is_parameter, save_fields, source_fields, unpickles, validator_module
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.order import Inputs, Rendered, save_version
from kedro_cloudtrain.running.outputs import read_values
from kedro_cloudtrain.storage.local_entry import LocalEntry
from kedro_cloudtrain.storage.remote_entry import RemoteEntry
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, resolved
from kedro_cloudtrain.worker.values import is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pydantic import JsonValue

    from kedro_cloudtrain.jobs.code import Code
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
        function: the function to call.
        arguments: the datasets that it is given, in order, or by the arguments' names.
        argument_values: their values: a source or an entry that the machine reads, or a value that exists only in this process.
        returns: the datasets that take what it returns, as the node has them.
        volume: holds the tables that are keys, and the job folder.
        project: the project's folder, whose requirements the machine installs.
        codes: the code that goes along.
        saves: the outputs that the machine saves on the volume itself: where, and with which arguments of the writer.
        entries: the catalog entries that the machine loads and saves by the entries' own classes.
        validators: the validators of what the machine loads and saves itself, as the catalog has them.
        lazy: the outputs whose datasets save a dict of callables by calling them.
        to_pod: whether the machine is another one than this computer.
        settings: what `cloudtrain.yml` sets for the node.
    """

    node: str
    function: Callable[..., Any]
    arguments: tuple[str, ...] | dict[str, str]
    argument_values: Mapping[str, Any] = dataclasses.field(repr=False)
    returns: Names
    volume: Volume
    project: Path
    codes: Codes = dataclasses.field(default_factory=Codes)
    saves: Mapping[str, tuple[VolumeSource, Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    entries: Mapping[str, RemoteEntry] = dataclasses.field(default_factory=dict)
    validators: Mapping[str, JsonValue] = dataclasses.field(default_factory=dict)
    lazy: tuple[str, ...] = ()
    to_pod: bool = False
    settings: NodeSettings = dataclasses.field(default_factory=NodeSettings)

    @property
    def trial(self) -> bool:
        """False: a function is not a trial."""
        return False

    @property
    def python(self) -> str:
        """This process's own: what one release of Python pickles, another may not be able to read."""
        return own_release()

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        return self.settings.index_lines + function_requirements(
            self.project,
            self.settings.requirements,
            file_formats=tuple(source.file_format for source in [*self._read.values(), *(source for source, _ in self.saves.values())]),
            over_http=any(isinstance(table, UrlSource) for table in self._read.values()),
            shared=self.settings.machines > 1,
            drivers=tuple(
                sorted({*(entry.driver for entry in self._entries.values()), *(["fsspec"] if self._local or self._validators else [])})
            ),
        )

    @property
    def cpu_requirements(self) -> tuple[str, ...]:
        """The same: nobody knows what of them needs a GPU."""
        return self.requirements

    @property
    def output_names(self) -> list[str]:
        """The datasets that take what the function returns."""
        if isinstance(self.returns, dict):
            return list(self.returns.values())
        return [self.returns] if isinstance(self.returns, str) else list(self.returns or ())

    def inputs(self) -> Inputs:
        """Sort the arguments by how each comes to the machine.

        Raises:
            SourceError: a value cannot be sent, or a table has no version yet.
        """
        read = {name: resolved(source) for name, source in self._read.items()}
        loaded = {name: value for name, value in self.argument_values.items() if isinstance(value, RemoteEntry)}
        # A parameter that is JSON stands in the script, where a person can read it; any other goes along as a file.
        parameters = {name: value for name, value in self.argument_values.items() if is_parameter(name) and is_json(value)}
        files = {name: SentFiles.of(entry.files()) for name, entry in self._local.items()}
        sent = {
            name: SentInput.of(value, f"`{name}` of {self.node}", to_pod=self.to_pod)
            for name, value in self.argument_values.items()
            if not any(name in others for others in (read, parameters, loaded, files))
        }
        doubts = {name: doubt for name, value in parameters.items() if (doubt := doubt_about(value, to_pod=self.to_pod)) is not None}
        version = save_version(source for source, _ in self.saves.values())
        return Inputs(read, sent, loaded, parameters, self._entries, files, doubts, save_version=version)

    def code(self, inputs: Inputs) -> Code:
        """Return the project's code that the function's module imports, and that of what runs on the machine besides.

        That is the code of validators, of the classes of entries, and of the classes and functions of sent values. What the machine itself
        takes out of a pickle cannot be told here: then the whole project counts.

        Args:
            inputs: the sorted inputs.

        Raises:
            ConfigError: it is not in any file, or is not Python.
        """
        entries: dict[str, RemoteEntry | LocalEntry] = {**self._entries, **self._local}
        validators = [validator_module(validator) for validator in self._validators.values()]
        return self.codes.of(
            self.function.__module__,
            *validators,
            *inputs.modules,
            *(name for entry in entries.values() for name in dotted_names(entry.config)),
            whole=any(unpickles(entry.config) for name, entry in entries.items() if name in self.argument_values),
        )

    def render(self, inputs: Inputs, generator: TrainingScriptGenerator) -> Rendered:
        """Render the job's spec and script.

        Raises:
            SourceError: an entry that is loaded has no version yet, or its store does not answer.
            TemplateError: the template does not make a script.
        """
        sources = inputs.sources
        spec = FunctionSpec(
            name=self.node,
            function=import_path(self.function),
            arguments=self.arguments,
            inputs={name: source_fields(sources[name]) for name in self.argument_values if name in sources},
            parameters=dict(inputs.parameters),
            returns=self.returns,
            saves={name: save_fields(source, args) for name, (source, args) in self.saves.items()},
            entries={
                **{name: dict(entry.config) for name, entry in self._entries.items()},
                **{name: dict(entry.config) for name, entry in self._local.items()},
            },
            validators=dict(self._validators),
            files={name: {self._local[name].argument: files.contents.source.file} for name, files in inputs.files.items()},
            lazy=self.lazy,
            load_versions=inputs.versions,
            machines=self.settings.machines,
        )
        return Rendered(spec.model_dump(mode="json"), generator.render_function(spec))

    def workload(self, sizes: Mapping[str, int | None]) -> Workload:
        """Return how much there is to compute with: the sizes of what the machine reads, together.

        Args:
            sizes: the size in bytes of each table that the machine reads; None where it is not known.
        """
        return Workload(self.function.__qualname__, size_bytes=sum(size for size in sizes.values() if size is not None) or None)

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:
        """Return what the job has left, by dataset; what the machine has saved itself is returned as its source or its entry.

        The version that an earlier run has saved has to be the latest one still: it is what a load of the entry returns.

        Raises:
            JobLostError: an output is missing, or is not what the result describes.
        """
        saved: dict[str, VolumeSource | RemoteEntry] = {**{name: source for name, (source, _) in self.saves.items()}, **self._entries}
        return read_values(folder, result, self.output_names, saved, self.volume, earlier=earlier)

    def scores(self, values: Mapping[str, Any]) -> dict[str, float]:  # noqa: ARG002  # only the catalog knows which of them are metrics
        """Return nothing: a function may return anything."""
        return {}

    @property
    def _entries(self) -> dict[str, RemoteEntry]:
        """The entries without those of inputs that a hook has given a value."""
        return {name: entry for name, entry in self.entries.items() if not self._is_given(name)}

    @property
    def _validators(self) -> dict[str, JsonValue]:
        """The validators of what the machine does load or save: as under Kedro's own runners, a value that a hook gives has none."""
        return {name: validator for name, validator in self.validators.items() if not self._is_given(name)}

    def _is_given(self, name: str) -> bool:
        """Return whether an input is there as a value, which the machine does not load itself."""
        by_machine = RemoteEntry | LocalEntry | UrlSource | VolumeSource
        return name in self.argument_values and not isinstance(self.argument_values[name], by_machine)

    @property
    def _local(self) -> dict[str, LocalEntry]:
        return {name: value for name, value in self.argument_values.items() if isinstance(value, LocalEntry)}

    @property
    def _read(self) -> dict[str, UrlSource | VolumeSource]:
        return {name: value for name, value in self.argument_values.items() if isinstance(value, UrlSource | VolumeSource)}
