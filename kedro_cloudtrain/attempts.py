"""One try at a job: from what a node asks for to its outputs and its receipt."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kedro_cloudtrain.archive import worker_archive, worker_digest
from kedro_cloudtrain.backends import JobRequest
from kedro_cloudtrain.backends.placing import Work
from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import (
    CloudTrainError,
    ConfigError,
    DetachedError,
    JobCancelledError,
    JobLostError,
    JobTimeoutError,
    SourceError,
)
from kedro_cloudtrain.folder import JOBS, JobFolder
from kedro_cloudtrain.jobs import Fingerprint, JobSpec, JobState, job_name, library_of
from kedro_cloudtrain.outputs import read_outputs
from kedro_cloudtrain.problems import problems_of
from kedro_cloudtrain.receipts import Receipt
from kedro_cloudtrain.requirements import requirements
from kedro_cloudtrain.reuse import NOTHING_CHANGED, note, reason_to_run
from kedro_cloudtrain.sources import UploadSource, UrlSource, VolumeSource, environment
from kedro_cloudtrain.volumes import DirectoryVolume, source_identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from kedro_cloudtrain.backends import Backend, Watcher
    from kedro_cloudtrain.jobs import JobResult, OutputKind, Source, TrainingParameters
    from kedro_cloudtrain.receipts import MachineUse
    from kedro_cloudtrain.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.volumes import Volume

logger = logging.getLogger("kedro.cloudtrain")


@dataclasses.dataclass(frozen=True)
class Training:
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

    def script(self, generator: TrainingScriptGenerator) -> str:
        """Render the job's script and write nothing.

        Raises:
            CloudTrainError: when the job cannot be.
        """
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            (source, _, _), (validation, _, _) = self._send(Path(scratch))
            return generator.render(self._spec(source, validation))

    def prepare(self, generator: TrainingScriptGenerator, to: Path | None = None) -> Attempt:
        """Render the job and name it; nothing is written yet.

        Args:
            generator: knows the templates.
            to: where its folder is, for a look at it; left out, under the volume.

        Raises:
            CloudTrainError: before anything has run, when the job cannot be.
        """
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            sent = self._send(Path(scratch))
            files = {file.name: file.read_bytes() for _, file, _ in sent if file is not None}
        spec = self._spec(sent[0][0], sent[1][0])
        script = self.given_script if self.given_script is not None else generator.render(spec)
        identities, data_bytes = self._identities(sent)
        work = Fingerprint.of(script, identities, worker_digest(), self._requirements(gpu=False))
        job = job_name(self.node, work.digest)
        folder = JobFolder(to if to is not None else self.volume.folder(f"{JOBS}/{job}"))
        here = {"volume_path": str(self.volume.root.resolve())} if isinstance(self.volume, DirectoryVolume) else {}
        return Attempt(
            self,
            folder,
            job,
            spec={**spec.model_dump(mode="json"), **here},
            script=script,
            files=files,
            fingerprint=work,
            environment=environment([table for table in (self.data, self.validation) if isinstance(table, UrlSource)]),
            render_s=time.perf_counter() - began,
            data_bytes=data_bytes,
        )

    def write(self, generator: TrainingScriptGenerator, to: Path | None = None) -> Attempt:
        """Render the job and write its folder: under the volume, or, for a look at it, under `to`.

        Raises:
            CloudTrainError: before anything has run, when the job cannot be.
        """
        attempt = self.prepare(generator, to)
        with attempt.folder.held():
            attempt.write()
        return attempt

    @property
    def work(self) -> Work:
        """How much there is to compute with, as far as it is known here."""
        rows = columns = None
        if not isinstance(self.data, UrlSource | VolumeSource):
            rows, columns = self.data.shape
        named = self.parameters.feature_columns
        return Work(library_of(self.parameters.model_type), rows, columns if named is None else len(named) + 1)

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        return self._requirements(gpu=self.settings.gpu != "none")

    def _requirements(self, *, gpu: bool) -> tuple[str, ...]:
        tables = [table for table in (self.data, self.validation) if isinstance(table, UrlSource | VolumeSource)]
        needed = requirements(
            library_of(self.parameters.model_type),
            gpu=gpu,
            file_formats=tuple(table.file_format for table in tables),
            over_http=any(isinstance(table, UrlSource) for table in tables),
        )
        return (*needed, *self.settings.requirements)

    def _send(self, scratch: Path) -> list[tuple[Source | None, Path | None, str | None]]:
        return [_send(table, name, scratch) for name, table in (("data", self.data), ("validation", self.validation))]

    def _spec(self, source: Source | None, validation: Source | None) -> JobSpec:
        if source is None:
            raise ConfigError(f"{self.node} has no data.")
        try:
            return JobSpec.make(self.node, self.parameters, source, validation_source=validation, outputs=self.outputs)
        except ValidationError as error:
            raise ConfigError("\n".join(f"{self.node}: {said}" for _, said in problems_of(error, JobSpec))) from None

    def _identities(self, sent: Sequence[tuple[Source | None, Path | None, str | None]]) -> tuple[Mapping[str, Any], int | None]:
        """Say by what each input is known to be the same, and the size of the table's file, as far as it is known."""
        identities: dict[str, Any] = {}
        data_bytes: int | None = None
        for name, (source, _, digest) in zip(("data", "validation"), sent, strict=True):
            if isinstance(source, UrlSource | VolumeSource):
                identity = source_identity(source, self.volume)
                identities[name] = dataclasses.asdict(identity) if identity.known else None
                data_bytes = identity.size if name == "data" else data_bytes
            elif digest is not None:
                identities[name] = digest
        return identities, data_bytes


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A job, rendered and named.

    Attributes:
        training: what was asked for.
        folder: the job folder.
        job: the job's name.
        spec: what `job.json` says.
        script: what `train.py` says.
        files: the inputs that exist nowhere but here, by their names.
        fingerprint: what names the work.
        environment: the secrets of its sources, by the names of environment variables.
        render_s: what rendering took, in seconds.
        data_bytes: the size of the table's file, where the machine reads it and its size is known.
    """

    training: Training
    folder: JobFolder
    job: str
    spec: Mapping[str, Any] = dataclasses.field(repr=False)
    script: str = dataclasses.field(repr=False)
    files: Mapping[str, bytes] = dataclasses.field(repr=False)
    fingerprint: Fingerprint
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    render_s: float
    data_bytes: int | None = None

    def write(self) -> None:
        """Write the job folder anew; whoever calls holds it."""
        folder = self.folder
        folder.clear()
        self._write_spec()
        folder.write(folder.archive, worker_archive())
        for name, content in self.files.items():
            folder.write(folder.input(name), content)

    def _write_spec(self) -> None:
        folder = self.folder
        folder.write_json(folder.spec, dict(self.spec))
        folder.write(folder.script, self.script.encode())
        folder.write_json(folder.fingerprint, self.fingerprint.model_dump(mode="json"))

    def run(
        self, backend: Backend, watcher: Watcher, receipts: list[Receipt], *, reuse: bool = False, detach: bool = False
    ) -> dict[str, Any]:
        """Run the job; give its outputs by kind.

        `receipts` gets the attempt's account, whatever comes of it.

        Args:
            backend: where it runs.
            watcher: is told how it goes.
            receipts: gets the account.
            reuse: whether the result of an earlier run of the same work is taken instead, or a machine that is at it already.
            detach: whether the job is started and left to itself.

        Raises:
            DetachedError: the job is started, and left.
            JobError: no outputs came of it.
            SourceError: the data is not what the job needs.
        """
        began, asked_at = time.perf_counter(), time.time()
        result: JobResult | None = None
        state = JobState.FAILED
        account = _Account(watcher)
        try:
            with self.folder.held(lambda: self._look(watcher)):
                why = reason_to_run(self.folder, self.fingerprint, dict(self.spec), reuse=reuse)
                reuse = reuse and not self.fingerprint.unidentified
                values, result = self._earlier(backend) if reuse else (None, None)
                if values is not None:
                    state = JobState.REUSED
                    if not self.folder.spec.is_file():
                        # Another computer has done it: what is shown of a job is its spec.
                        self._write_spec()
                    note(self.folder, "reused", NOTHING_CHANGED)
                    return values
                self.write()
                note(self.folder, "ran", why)
                if detach:
                    backend.submit(dataclasses.replace(self.request, attach=reuse))
                    state = JobState.RUNNING
                    raise DetachedError(self.job)
                result = backend.run(dataclasses.replace(self.request, attach=reuse), account)
            values = read_outputs(self.folder, result, self.training.outputs)
            state = JobState.SUCCEEDED
        except CloudTrainError as error:
            state = _state_after(error)
            raise
        finally:
            receipts.append(self._receipt(backend.name, state, result, account.machines, asked_at, time.perf_counter() - began))
            watcher.moved(self.job, state)
        return values

    def _earlier(self, backend: Backend) -> tuple[dict[str, Any] | None, JobResult | None]:
        """Give the outputs of an earlier run of the same work, where it is done and all of them are what its result says."""
        try:
            result = backend.earlier(self.folder)
            if result is None or result.state != "succeeded":
                return None, None
            return read_outputs(self.folder, result, self.training.outputs), result
        except JobLostError as error:
            logger.info("%s runs again: %s", self.job, error, extra={"markup": False})
            return None, None

    def _look(self, watcher: Watcher) -> None:
        """Say how far another client of the same job is."""
        progress = self.folder.new_progress()
        if progress is not None:
            watcher.moved(self.job, JobState.RUNNING)
            watcher.progressed(self.job, progress)

    @property
    def request(self) -> JobRequest:
        """What a backend is asked for."""
        training = self.training
        work = dataclasses.replace(training.work, size_bytes=self.data_bytes)
        return JobRequest(self.folder, training.volume, training.settings, work, training.requirements, self.environment)

    def _receipt(
        self, where: str, state: JobState, result: JobResult | None, machines: Sequence[MachineUse], asked_at: float, run_s: float
    ) -> Receipt:
        seconds = {"render": self.render_s}
        if result is not None and state is not JobState.REUSED:
            before_s = (result.started_at or asked_at) - asked_at - result.seconds.get("environment", 0.0)
            seconds |= {"start": max(0.0, before_s), **result.seconds}
        return Receipt(
            node=self.training.node,
            job=self.job,
            where=where,
            state=state,
            seconds=seconds,
            total_s=self.render_s + run_s,
            rows=result.rows.get("read") if result is not None else None,
            bytes_read=result.bytes_read if result is not None and state is not JobState.REUSED else None,
            bytes_passed=self.folder.bytes_passed,
            machines=tuple(machines),
        )


class _Account:
    """Passes on how a job goes, and keeps what its machines were used for."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.machines: list[MachineUse] = []
        self.moved = watcher.moved
        self.progressed = watcher.progressed
        self.placed = watcher.placed
        self.busy = watcher.busy

    def used(self, job: str, use: MachineUse) -> None:
        """Keep it."""
        self.machines.append(use)
        self._watcher.used(job, use)


def _state_after(error: CloudTrainError) -> JobState:
    for kind, state in (
        (JobTimeoutError, JobState.TIMED_OUT),
        (JobCancelledError, JobState.CANCELLED),
        (JobLostError, JobState.LOST),
    ):
        if isinstance(error, kind):
            return state
    return JobState.FAILED


def _send(table: Any, name: str, scratch: Path) -> tuple[Source | None, Path | None, str | None]:
    """Give a table's source, and, for one that exists nowhere but here, the file to send and its digest."""
    if table is None or isinstance(table, UrlSource | VolumeSource):
        return table, None, None
    file = scratch / f"{name}.parquet"
    try:
        table.rename(columns=str).to_parquet(file, index=False)
    except (AttributeError, ValueError, TypeError, OverflowError) as error:
        raise SourceError(
            f"The {name} of a training node is a {type(table).__name__} that cannot be written as parquet: {error}. "
            "Give it as a DataFrame whose columns hold one type each."
        ) from error
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return UploadSource(file=f"inputs/{file.name}", file_format="parquet"), file, digest
