"""What a machine reports of a job: its state, its progress and its result."""

from __future__ import annotations

import enum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


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

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self not in (JobState.WAITING, JobState.STARTING, JobState.RUNNING)


class JobFailure(BaseModel):
    """The script's error, as the machine wrote it.

    Attributes:
        type: the name of its class.
        message: its text.
        traceback: empty where there is none.
        stage: in which it was raised.
        input_error: whether it is a user's mistake.
        about: where the user corrects it: `data`, `hyperparameters` or `outputs`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = "Exception"
    message: str = ""
    traceback: str = ""
    stage: str = "start"
    input_error: bool = False
    about: str = "data"


class JobOutput(BaseModel):
    """One output, in the job folder or on the volume.

    Attributes:
        size: in bytes.
        path: its path in the job folder.
        sha256: of its content.
        files: for a folder, the paths of its files.
        key: its key on the volume, if the machine has saved it to the volume instead.
        modified_ns: when that file was modified, in nanoseconds, as the machine saw it.
        md5: of that file, on a network volume.
        stored: the identity of an entry's file on another store: `etag`, `modified`, `size`, and its `version`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    size: int
    path: str = ""
    sha256: str = ""
    files: tuple[str, ...] = ()
    key: str | None = None
    modified_ns: int | None = None
    md5: str | None = None
    stored: dict[str, JsonValue] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its files in the job folder."""
        return self.files or ((self.path,) if self.path else ())


class GpuReport(BaseModel):
    """The GPU that a job has used.

    Attributes:
        name: its name, as its driver has it.
        driver: the driver's version.
        cuda: the newest CUDA that the driver works with.
        count: how many GPUs the machine has.
        use_percent: how busy they were during the fit or the call, on average; None where the driver does not say.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    driver: str = ""
    cuda: str = ""
    count: int = 1
    use_percent: float | None = None

    def __str__(self) -> str:
        shown = f"{self.count} × {self.name}" if self.count > 1 else self.name
        busy = "" if self.use_percent is None else f"{self.use_percent:.0f} % busy"
        return ", ".join(filter(None, [shown, self.driver and f"driver {self.driver}", self.cuda and f"CUDA {self.cuda}", busy]))


class JobResult(BaseModel):
    """`result.json`, the end of a job: written by the script, or on a pod by the bootstrap if the script could not."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Literal["succeeded", "failed", "timed out", "lost", "cancelled"]
    attempt: str | None = None
    error: JobFailure | None = None
    outputs: dict[str, JobOutput] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    rows: dict[str, int] = Field(default_factory=dict)
    rows_per_s: float | None = None
    bytes_read: int = 0
    device: str = "cpu"
    device_name: str = ""
    gpu: GpuReport | None = None
    peak_memory_bytes: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None

    @classmethod
    def stopped(cls, attempt: str | None = None) -> JobResult:
        """Return the result that `kedro cloudtrain stop` leaves for a client that still waits.

        Args:
            attempt: the pod's attempt; None for a process.
        """
        return cls(state="failed", attempt=attempt, error=JobFailure(type="Stopped", message="ended by `kedro cloudtrain stop` or `reap`"))


class JobProgress(BaseModel):
    """One line of `progress.jsonl`: a round, the number of rounds, its metrics, and the seconds since the fit began."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: int
    of: int
    metrics: dict[str, float | None] = Field(default_factory=dict)
    seconds: float = 0.0

    @property
    def in_rounds(self) -> bool:
        """Whether there are rounds: the call of a function counts as one that begins and ends."""
        return self.of > 1

    @property
    def seconds_left(self) -> float:
        """The seconds that the remaining rounds take at the pace so far."""
        return self.seconds / self.step * (self.of - self.step) if self.step else 0.0
