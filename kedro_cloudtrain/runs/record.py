"""The record of a run: what was asked for, what became of each node, and what it cost."""

from __future__ import annotations

import enum
import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from kedro_cloudtrain.jobs.volume_file import Seconds  # noqa: TC001  # pydantic asks for it when the class is made
from kedro_cloudtrain.secrecy import HIDDEN, names_a_secret, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The latest form of a record; one of an older release lacks fields, which then have their defaults.
VERSION = 1
# A parameter that is longer than this, as JSON, is written as its digest.
_MOST_CHARACTERS = 2_000
# More than any release writes; a longer series is not of this kind.
_MOST_POINTS = 1_000


class RunState(enum.StrEnum):
    """What has become of a run."""

    RUNNING = "running"
    SUCCEEDED = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DETACHED = "detached"


class _Record(BaseModel):
    # What a later release has added is left alone.
    model_config = ConfigDict(extra="ignore")


class MachineRecord(_Record):
    """What one pod was used for, and for how much.

    Attributes:
        pod: its id; empty if it was never created.
        machine: the kind of machine.
        usd_per_hour: its price.
        seconds: from its creation until it was gone.
        cost_usd: what it has cost by its price and its time, in dollars.
        billed_usd: what RunPod has charged for it, in dollars; None while that is not known.
        ended: what became of it.
    """

    pod: str = ""
    machine: str = ""
    usd_per_hour: float = 0.0
    seconds: float = 0.0
    cost_usd: float = 0.0
    billed_usd: float | None = None
    ended: str = ""


class GpuUseRecord(_Record):
    """How busy a job's GPU was: `percent` at the times `seconds`, counted from the job's start."""

    seconds: list[Seconds] = Field(max_length=_MOST_POINTS)
    percent: list[Annotated[float, Field(ge=0.0, le=100.0)]] = Field(max_length=_MOST_POINTS)

    @property
    def points(self) -> list[tuple[float, float]]:
        """Each time with its value."""
        return list(zip(self.seconds, self.percent, strict=True))

    @model_validator(mode="after")
    def _are_points(self) -> GpuUseRecord:
        if len(self.seconds) != len(self.percent):
            raise ValueError("each point has a time and a value")
        return self


def _gpu_use(value: Any) -> GpuUseRecord | None:
    """Return what a record has of a GPU's use; a record that has anything else there is read all the same."""
    try:
        return None if value is None else GpuUseRecord.model_validate(value)
    except ValidationError:
        return None


class NodeRecord(_Record):
    """What became of one node.

    Attributes:
        node: its name; of a group's machine, the group's.
        kind: `training`, `prediction`, `function`, `group` or `ordinary`.
        model: what was trained: `xgboost_regression`; empty for any other node.
        where: the backend, or `here` for an ordinary node.
        state: a job's state, as `JobState` has it; `waiting` for a node that the run did not come to.
        job: the job's name.
        folder: the job's folder on the run's computer; if it is in the project's folder, relative to that.
        why: why the job ran, or was reused.
        error: why it failed, in a line.
        started_at: when it began, in seconds since 1970.
        finished_at: when it ended.
        waited_s: for how long it waited for a slot, in seconds.
        total_s: how long it took, without that wait.
        seconds: by stage.
        rows: the rows read.
        rows_per_s: the training rows that a fit went through in a second.
        bytes_read: the bytes that the machine took from the sources.
        bytes_passed: the bytes that passed through the client.
        device: what has computed.
        machines: the pods, lost ones first.
        scores: its metrics, by name.
        data: the digest of each input's identity, by dataset.
        outputs: where each output went, by dataset.
        gpu_use: how busy its GPU was; None where it had none, and in an older record.
    """

    node: str
    kind: str = "ordinary"
    model: str = ""
    where: str = "here"
    state: str = "waiting"
    job: str = ""
    folder: str = ""
    why: str = ""
    error: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    waited_s: float = 0.0
    total_s: float = 0.0
    seconds: dict[str, float] = Field(default_factory=dict)
    rows: int | None = None
    rows_per_s: float | None = None
    bytes_read: int | None = None
    bytes_passed: int = 0
    device: str = ""
    machines: list[MachineRecord] = Field(default_factory=list)
    scores: dict[str, float] = Field(default_factory=dict)
    data: dict[str, str] = Field(default_factory=dict)
    outputs: dict[str, str] = Field(default_factory=dict)
    gpu_use: Annotated[GpuUseRecord | None, BeforeValidator(_gpu_use)] = None

    @property
    def cost_usd(self) -> float:
        """What its pods have cost, in dollars: by the bill where that is known."""
        return sum(machine.cost_usd if machine.billed_usd is None else machine.billed_usd for machine in self.machines)


class GitState(_Record):
    """The state of the project's repository: its commit, its branch, and whether every file was as committed."""

    commit: str
    branch: str = ""
    clean: bool = True

    def __str__(self) -> str:
        return f"{self.commit[:10]}{'' if self.clean else ' + changes'}"


class RunRecord(_Record):
    """A run.

    Attributes:
        version: of the record's form.
        id: the run's id, which is Kedro's own: the version of what it has saved.
        project: the project's id.
        client: whose lock shows that the run goes on.
        by: the user and the computer: `anna@laptop`.
        command: what was typed; empty for a run from Python.
        env: Kedro's environment.
        git: the state of the project's repository; None outside of one.
        pipeline: the pipeline's name.
        backend: where machine nodes ran.
        volume: the volume's name.
        max_cost_usd: the run's limit in dollars.
        rehearsed: whether its RunPod was a stand-in on this computer, and its dollars were play money.
        parameters: the parameters that its nodes read, by dotted name; a long one as its digest, a secret one hidden.
        parameters_digest: of all of them, before any was shortened or hidden.
        started_at: in seconds since 1970.
        finished_at: None while it runs.
        state: what has become of it.
        error: why it failed, in a line.
        nodes: the nodes of the run, in their order.
    """

    version: int = VERSION
    id: str
    project: str = ""
    client: str = ""
    by: str = ""
    command: str = ""
    env: str = ""
    git: GitState | None = None
    pipeline: str = "__default__"
    backend: str = ""
    volume: str = ""
    max_cost_usd: float | None = None
    rehearsed: bool = False
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    parameters_digest: str = ""
    started_at: float = 0.0
    finished_at: float | None = None
    state: RunState = RunState.RUNNING
    error: str = ""
    nodes: list[NodeRecord] = Field(default_factory=list)

    @property
    def machines(self) -> Iterator[MachineRecord]:
        """All pods of the run."""
        return (machine for node in self.nodes for machine in node.machines)

    @property
    def cost_usd(self) -> float | None:
        """What the run has cost, in dollars, by the bill where that is known; None if nothing was paid for."""
        return sum(node.cost_usd for node in self.nodes) if any(self.machines) else None

    @property
    def seconds(self) -> float | None:
        """How long the run took; None while it runs, and where nobody saw its end."""
        return None if self.finished_at is None else max(0.0, self.finished_at - self.started_at)

    def node(self, name: str) -> NodeRecord | None:
        """Return the record of a node; None if the run does not have it."""
        return next((node for node in self.nodes if node.node == name), None)


def flat_parameters(values: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Flatten parameters for a record.

    Args:
        values: each input of the pipeline that is a parameter, by its name without `params:`.

    Returns:
        The parameters by dotted name, without secrets and as long as a person reads; and the digest of all of them.
    """
    flat = dict(sorted(_leaves(values)))
    digest = hashlib.sha256(json.dumps(flat, sort_keys=True, default=repr).encode()).hexdigest()[:12]
    return {name: _shown(name, value) for name, value in flat.items()}, digest


def _leaves(values: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, dict) and value:
            yield from _leaves(value, name)
        else:
            yield name, value


def _shown(name: str, value: Any) -> Any:
    if names_a_secret(name.rpartition(".")[2]) and isinstance(value, str):
        return HIDDEN
    text = json.dumps(value, default=repr, ensure_ascii=False)
    if len(text) > _MOST_CHARACTERS:
        return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}, {len(text):,} characters"
    return _public(json.loads(text))


def _public(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list):
        return [_public(each) for each in value]
    if isinstance(value, dict):
        return {key: HIDDEN if names_a_secret(key) and isinstance(each, str) else _public(each) for key, each in value.items()}
    return value
