"""What a run would do, as digests of its parts: those of a plan and those of a run tell whether the run is what was planned.

What changes without a hand in the project is not part of it: prices, stock and estimates.
"""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, Version
from pydantic import BaseModel, ConfigDict

from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.spec import is_parameter, validator_module
from kedro_cloudtrain.jobs.worker_archive import worker_digest
from kedro_cloudtrain.planning.content import Contents
from kedro_cloudtrain.planning.digests import Digests, file_digest, modules_of
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.planning.prediction import PredictionPlan
from kedro_cloudtrain.planning.training import TrainingPlan, is_training
from kedro_cloudtrain.planning.training_script import planned_script
from kedro_cloudtrain.planning.validators import validator_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.planning.plan import NodePlan
    from kedro_cloudtrain.planning.planner import Planner

Digest = str | None

_IN_MEMORY = {"type": "MemoryDataset"}


class InputRecord(BaseModel):
    """An input of a node.

    Attributes:
        entry: the entry of the catalog, without its credentials.
        content: what the entry holds; None where another node of the run makes that, where it does not exist yet, and where it cannot be
            known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    entry: Digest
    content: Digest


class PlannedNodeRecord(BaseModel):
    """What a node would do, as digests.

    Attributes:
        where: the backend, or this process.
        settings: each of the node's settings of `cloudtrain.yml`; none for an ordinary node.
        work: the `function`, its `arguments` and what it `returns` by the names of datasets; for a training also the `script` that its
            template makes.
        parameters: the innermost values of the parameters, by dotted names.
        code: the project's code that the function and the entries' classes import; None where it is in no file of the project.
        requirements: the packages that its pod would install; None where nothing is installed.
        inputs: what the node reads besides parameters.
        outputs: the entries that the node saves to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Digest
    settings: dict[str, Digest]
    work: dict[str, Digest]
    parameters: dict[str, Digest]
    code: Digest
    requirements: Digest
    inputs: dict[str, InputRecord]
    outputs: dict[str, Digest]


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run would do.

    Attributes:
        run: digests of what the nodes share: backend, volume, the settings of the run, and this package itself as `plugin`.
        nodes: what each node would do, by its name.
        opaque: a sentence for each thing that no digest can tell from another one: a run takes it as it then is.
        errors: why an input could not be looked at, by node and input.
    """

    run: Mapping[str, Digest]
    nodes: Mapping[str, PlannedNodeRecord]
    opaque: Sequence[str] = ()
    errors: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)


def make_record(planner: Planner, plans: Sequence[NodePlan]) -> Record:
    """Return what a run of some planned nodes would do; the content of their inputs is looked at.

    Args:
        planner: has planned them.
        plans: the nodes.
    """
    return _Recorder(planner).record(plans)


class _Recorder:
    """Records one run.

    Args:
        planner: has planned its nodes.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._digests = Digests(planner.project)
        self._contents = Contents(planner.catalog, self._digests)
        self._opaque: dict[str, None] = {}
        self._errors: dict[tuple[str, str], str] = {}

    def record(self, plans: Sequence[NodePlan]) -> Record:
        settings, digest = self._planner.settings, self._digests.of
        run = {
            "backend": digest(settings.backend),
            "volume": digest(settings.volume.model_dump(mode="json")),
            **{key: digest(value) for key, value in settings.run.model_dump(mode="json", exclude={"report", "notify"}).items()},
            "plugin": digest([metadata.version("kedro-cloudtrain"), worker_digest()]),
        }
        return Record(run, {plan.node.name: self._node(plan) for plan in plans}, tuple(self._opaque), self._errors)

    def _node(self, plan: NodePlan) -> PlannedNodeRecord:
        node, digest = plan.node, self._digests.of
        settings = plan.settings.model_dump(mode="json") if isinstance(plan, MachinePlan) else {}
        return PlannedNodeRecord(
            where=digest(plan.where),
            settings={key: digest(value) for key, value in settings.items()},
            work=self._work(plan),
            parameters=self._parameters(node),
            code=self._code(plan),
            requirements=self._requirements(plan),
            inputs={
                name: InputRecord(entry=self._entry(name, "load"), content=None if name in plan.made else self._content(plan, name))
                for name in dict.fromkeys(node.inputs)
                if not is_parameter(name)
            },
            outputs={name: self._entry(name, "save") for name in node.outputs},
        )

    def _work(self, plan: NodePlan) -> dict[str, Digest]:
        node: Any = plan.node
        function = self._digests.of(_recipe(plan) or node.func)
        if function is None:
            self._note(f"{node.name}: its function holds what cannot be compared")
        # As the node has them: Kedro's own lists of names have lost which argument is which.
        names = {"arguments": node._inputs, "returns": [node._outputs, sorted(node.confirms)]}  # noqa: SLF001
        script = {"script": self._digests.of(self._script(plan))} if isinstance(plan, TrainingPlan) else {}
        return {"function": function, **{key: self._digests.of(value) for key, value in names.items()}, **script}

    def _script(self, plan: TrainingPlan) -> Any:
        """Return the script of a training; where another node makes its parameters, all templates that it may be made by."""
        if plan.parameters is None:
            templates = sorted((self._planner.project / "templates").glob("*.j2"))
            return {template.name: file_digest(template) for template in templates}
        try:
            return planned_script(plan, plan.parameters, self._planner.generator)
        except CloudTrainError:
            return None  # A problem of the plan's.

    def _parameters(self, node: Node) -> dict[str, Digest]:
        digests: dict[str, Digest] = {}
        for name in filter(is_parameter, node.inputs):
            dataset = self._planner.catalog.get(name)
            if dataset is not None:
                digests |= self._digests.leaves(dataset.load(), "" if name == "parameters" else name.removeprefix("params:"))
        for name, digest in digests.items():
            if digest is None:
                self._note(f"{node.name}: its parameter `{name}` has a value that cannot be compared")
        return digests

    def _code(self, plan: NodePlan) -> Digest:
        """Return the digest of the project's code: what travels, and what runs on this computer for the node."""
        node, codes = plan.node, self._planner.codes
        datasets = [dataset for name in dict.fromkeys([*node.inputs, *node.outputs]) if (dataset := self._dataset(name)) is not None]
        validators = {*self._validators(node.inputs, "load"), *self._validators(node.outputs, "save")}
        modules = {*modules_of(node.func), *validators, *(type(dataset).__module__ for dataset in datasets)}
        try:
            digest = codes.digest(*sorted(modules))
        except CloudTrainError as error:
            self._note(f"{node.name}: its code cannot be compared: {error.message.rstrip('.')}")
            return None
        return None if digest is None else self._digests.of(digest)

    def _requirements(self, plan: NodePlan) -> Digest:
        if not isinstance(plan, MachinePlan) or plan.where != "runpod" or plan.problems or not plan.settings.install:
            return None
        return self._digests.of(list(plan.requirements(gpu=plan.settings.gpu != "none")))

    def _validators(self, names: Sequence[str], mode: str) -> set[str]:
        """Return the modules of the validators of some entries."""
        validators = [validator_of(self._planner.catalog, name, mode) for name in names]
        return {validator_module(validator) for validator in validators if validator is not None}

    def _entry(self, name: str, mode: str) -> Digest:
        dataset = self._dataset(name)
        # Kedro itself makes an entry in memory for what is not in the catalog, once a run begins.
        config = _IN_MEMORY if dataset is None else _config(dataset)
        digest = self._digests.of({**config, "validator": validator_of(self._planner.catalog, name, mode)})
        if digest is None:
            self._note(f"the entry of `{name}` has an argument that cannot be compared")
        return digest

    def _content(self, plan: NodePlan, name: str) -> Digest:
        content = self._contents.of(name)
        if content.digest is None or content.opaque:
            reason = content.opaque or content.error.rstrip(".") or "it does not exist yet"
            self._note(f"what `{name}` holds cannot be compared: {reason}")
        if content.error:
            self._errors[plan.node.name, name] = content.error
        return content.digest

    def _dataset(self, name: str) -> Any:
        return None if name in self._planner.unmade else self._planner.catalog.get(name)

    def _note(self, text: str) -> None:
        self._opaque[text] = None


def _recipe(plan: NodePlan) -> list[Any] | None:
    """Return what stands for the function of a recipe's node; None for any other node, whose function is its own."""
    if isinstance(plan, PredictionPlan):
        return ["a prediction", list(plan.keep)]
    return None if not is_training(plan.node) else ["a training"]


def _config(dataset: AbstractDataset[Any, Any]) -> dict[str, Any]:
    """Return a dataset's type and arguments, without its credentials and the version that a run gives it."""
    kind = type(dataset)
    arguments: Mapping[str, Any] = getattr(dataset, "_init_args", {})
    if kind.__name__ == "MemoryDataset":
        return {**_IN_MEMORY, **({"copy_mode": mode} if (mode := arguments.get("copy_mode")) is not None else {})}
    kept = {key: value for key, value in _plain(dict(arguments)).items() if key != "metadata" and value is not None}
    return {**kept, "type": f"{kind.__module__}.{kind.__qualname__}"}


def _plain(value: Any) -> Any:
    """Return an argument of an entry; that of an entry within it as its configuration, without credentials."""
    if isinstance(value, AbstractDataset):
        return _config(value)
    if isinstance(value, Version):
        return "versioned"  # The version that is loaded is part of the content, and the one that is saved is the run's.
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "credentials"}
    return value
