"""A training as it is asked of a machine: parameters, tables and outputs become a job."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.fingerprint import Fingerprint, job_name
from kedro_cloudtrain.jobs.parameters import library_of
from kedro_cloudtrain.jobs.requirements import requirements
from kedro_cloudtrain.jobs.sent import SentInput, size_warnings
from kedro_cloudtrain.jobs.spec import TrainingSpec, source_fields
from kedro_cloudtrain.jobs.worker_archive import worker_digest
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.job import Job, job_folder, volume_fields
from kedro_cloudtrain.running.outputs import read_outputs
from kedro_cloudtrain.storage.identity import identities_of
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, secrets_environment
from kedro_cloudtrain.wording import problems_of

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.parameters import OutputKind, TrainingParameters
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass(frozen=True)
class TrainingOrder:
    """What a training node asks for.

    Attributes:
        node: the node's name.
        parameters: what stands in `parameters.yml`.
        data: where the table is; a DataFrame where it exists nowhere but here.
        validation: the table of the validation rows, where it is another one.
        outputs: which outputs are wanted.
        volume: holds the data, where it is a key, and the job folder.
        settings: what `cloudtrain.yml` says of the node.
        given_script: a script of one's own, instead of the recipe's.
    """

    node: str
    parameters: TrainingParameters
    data: UrlSource | VolumeSource | pd.DataFrame
    outputs: tuple[OutputKind, ...]
    volume: Volume
    validation: UrlSource | VolumeSource | pd.DataFrame | None = None
    settings: NodeSettings = dataclasses.field(default_factory=NodeSettings)
    given_script: str | None = None
    # A model travels in its library's own format.
    python: str = ""

    def script(self, generator: TrainingScriptGenerator) -> str:
        """Render the job's script and write nothing.

        Raises:
            CloudTrainError: when the job cannot be.
        """
        return generator.render(self._spec(self._sent()))

    def prepare(self, generator: TrainingScriptGenerator, to: Path | None = None) -> Job:
        """Render the job and name it; nothing is written yet.

        Args:
            generator: knows the templates.
            to: where its folder is, for a look at it; left out, under the volume.

        Raises:
            CloudTrainError: before anything has run, when the job cannot be.
        """
        began = time.perf_counter()
        sent = self._sent()
        uploads = {name: table for name, table in sent.items() if isinstance(table, SentInput)}
        spec = self._spec(sent)
        script = self.given_script if self.given_script is not None else generator.render(spec)
        identities, sizes = identities_of(self._tables, self.volume)
        identities |= {name: upload.digest for name, upload in uploads.items()}
        work = Fingerprint.of(script, identities, worker_digest(), self._requirements(gpu=False))
        job = job_name(self.node, work.digest)
        return Job(
            self,
            job_folder(self.volume, job, to),
            job,
            spec={**spec.model_dump(mode="json"), **volume_fields(self.volume, uploads.values())},
            script=script,
            uploads=tuple(uploads.values()),
            fingerprint=work,
            environment=secrets_environment([table for table in self._tables.values() if isinstance(table, UrlSource)]),
            render_s=time.perf_counter() - began,
            warnings=size_warnings(self.node, uploads.items(), self.settings.upload_warn_mb),
            data_bytes=sizes.get("data"),
        )

    def write(self, generator: TrainingScriptGenerator, to: Path | None = None) -> Job:
        """Render the job and write its folder: under the volume, or, for a look at it, under `to`.

        Raises:
            CloudTrainError: before anything has run, when the job cannot be.
        """
        attempt = self.prepare(generator, to)
        with attempt.folder.held():
            attempt.write()
        return attempt

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:  # noqa: ARG002  # all come back
        """Read what the job has left, by kind.

        Raises:
            JobLostError: an output is not there, or is not what the result says of it.
        """
        return read_outputs(folder, result, self.outputs)

    @property
    def work(self) -> Workload:
        """How much there is to compute with, as far as it is known here."""
        rows = columns = None
        if not isinstance(self.data, UrlSource | VolumeSource):
            rows, columns = self.data.shape
        named = self.parameters.feature_columns
        return Workload(library_of(self.parameters.model_type), rows, columns if named is None else len(named) + 1)

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        return self._requirements(gpu=self.settings.gpu != "none")

    @property
    def _tables(self) -> dict[str, UrlSource | VolumeSource]:
        """Those that the machine reads itself."""
        tables = {"data": self.data, "validation": self.validation}
        return {name: table for name, table in tables.items() if isinstance(table, UrlSource | VolumeSource)}

    def _requirements(self, *, gpu: bool) -> tuple[str, ...]:
        tables = self._tables.values()
        needed = requirements(
            library_of(self.parameters.model_type),
            gpu=gpu,
            file_formats=tuple(table.file_format for table in tables),
            over_http=any(isinstance(table, UrlSource) for table in tables),
        )
        return (*needed, *self.settings.requirements)

    def _sent(self) -> dict[str, UrlSource | VolumeSource | SentInput]:
        """Give each table's source, or the file to send."""
        sent: dict[str, UrlSource | VolumeSource | SentInput] = dict(self._tables)
        for name, table in (("data", self.data), ("validation", self.validation)):
            if table is not None and name not in sent:
                sent[name] = SentInput.of(table, f"The {name} of a training node", table=True)
        return sent

    def _spec(self, sent: dict[str, UrlSource | VolumeSource | SentInput]) -> TrainingSpec:
        sources = {name: source_fields(table.source if isinstance(table, SentInput) else table) for name, table in sent.items()}
        if "data" not in sources:
            raise ConfigError(f"{self.node} has no data.")
        try:
            return TrainingSpec(name=self.node, parameters=self.parameters, sources=sources, outputs=self.outputs)
        except ValidationError as error:
            raise ConfigError("\n".join(f"{self.node}: {said}" for _, said in problems_of(error, TrainingSpec))) from None
