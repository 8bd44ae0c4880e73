"""What a machine reports of a job: its state, its progress and its result."""

from __future__ import annotations

import enum
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from kedro_cloudtrain.jobs.volume_file import Count, Moment, OutputPath, Seconds, VolumeRecord

_A_YEAR_S = 365 * 86_400.0


class JobState(enum.StrEnum):
    """A job's state."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REUSED = "reused"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"
    CANCELLED = "cancelled"
    PRUNED = "pruned"

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self not in (JobState.WAITING, JobState.STARTING, JobState.RUNNING)


class JobFailure(VolumeRecord):
    """The script's error, as the machine wrote it.

    Attributes:
        type: the name of its class.
        message: its text.
        traceback: empty where there is none.
        stage: in which it was raised.
        input_error: whether it is a user's mistake.
        about: where the user corrects it: `data`, `hyperparameters`, `outputs` or `packages`.
    """

    type: str = "Exception"
    message: str = ""
    traceback: str = ""
    stage: str = "start"
    input_error: bool = False
    about: str = "data"

    @property
    def headline(self) -> str:
        """The error in a line: with its class where the script raised it, since its text alone may say little."""
        text = self.message.strip().partition("\n")[0]
        if self.input_error or not self.traceback:
            return text or self.type
        return f"{self.type}: {text}" if text else self.type


class JobOutput(VolumeRecord):
    """One output, in the job folder or on the volume.

    Attributes:
        size: in bytes.
        path: its path in the job folder.
        sha256: of its content.
        files: for a folder, the paths of its files.
        signature: of a pickle, by the job's key; empty where the machine had none.
        key: its key on the volume, if the machine has saved it to the volume instead.
        modified_ns: when that file was modified, in nanoseconds, as the machine saw it.
        md5: of that file, on a network volume.
        stored: the identity of an entry's file on another store: `etag`, `modified`, `size`, and its `version`.
    """

    size: Count
    path: OutputPath = ""
    sha256: str = ""
    files: tuple[OutputPath, ...] = ()
    signature: str = ""
    key: str | None = None
    modified_ns: Count | None = None
    md5: str | None = None
    stored: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if any(not file.startswith(f"{self.path}/") for file in self.files):
            raise ValueError("a file of an output is outside of its folder")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Its files in the job folder."""
        return self.files or ((self.path,) if self.path else ())


class GpuReport(VolumeRecord):
    """The GPU that a job has used.

    Attributes:
        name: its name, as its driver has it.
        driver: the driver's version.
        cuda: the newest CUDA that the driver works with.
        count: how many GPUs the machine has.
        use_percent: how busy they were during the fit or the call, on average; None where the driver does not say.
    """

    name: str
    driver: str = ""
    cuda: str = ""
    count: Count = 1
    use_percent: float | None = None

    def __str__(self) -> str:
        shown = f"{self.count} × {self.name}" if self.count > 1 else self.name
        busy = "" if self.use_percent is None else f"{self.use_percent:.0f} % busy"
        return ", ".join(filter(None, [shown, self.driver and f"driver {self.driver}", self.cuda and f"CUDA {self.cuda}", busy]))


class JobResult(VolumeRecord):
    """`result.json`, the end of a job: written by the script, or on a pod by the bootstrap if the script could not."""

    state: Literal["succeeded", "failed", "timed out", "lost", "cancelled", "pruned"]
    attempt: str | None = None
    error: JobFailure | None = None
    outputs: dict[str, JobOutput] = Field(default_factory=dict)
    seconds: dict[str, Seconds] = Field(default_factory=dict)
    rows: dict[str, Count] = Field(default_factory=dict)
    rows_per_s: float | None = None
    bytes_read: Count = 0
    device: str = "cpu"
    device_name: str = ""
    gpu: GpuReport | None = None
    peak_memory_bytes: Count = 0
    versions: dict[str, str] = Field(default_factory=dict)
    started_at: Moment | None = None
    finished_at: Moment | None = None

    @classmethod
    def stopped(cls, attempt: str | None = None) -> JobResult:
        """Return the result that `kedro cloudtrain stop` leaves for a client that still waits.

        Args:
            attempt: the pod's attempt; None for a process.
        """
        return cls(state="failed", attempt=attempt, error=JobFailure(type="Stopped", message="ended by `kedro cloudtrain stop` or `reap`"))


class JobProgress(VolumeRecord):
    """One line of `progress.jsonl`: a round, the number of rounds, its metrics, and the seconds since the fit began.

    A prediction has the pieces of its table in the place of rounds.

    Attributes:
        step: the round, or how many jobs of a group are done.
        of: the number of rounds, or of jobs.
        unit: what a step is: a `round`, or a `piece`.
        metrics: those of the round.
        seconds: since the fit began.
        job: the job of a group that runs.
        member: that job's own progress.
    """

    step: Count
    of: Count
    unit: str = "round"
    metrics: dict[str, float | None] = Field(default_factory=dict)
    seconds: Seconds = 0.0
    job: str = ""
    member: JobProgress | None = None

    @property
    def in_rounds(self) -> bool:
        """Whether there are rounds: the call of a function counts as one that begins and ends."""
        return self.of > 1

    @property
    def seconds_left(self) -> float:
        """The seconds that the remaining rounds take at the pace so far."""
        if not self.step:
            return 0.0
        return min(_A_YEAR_S, self.seconds / self.step * max(0, self.of - self.step))
