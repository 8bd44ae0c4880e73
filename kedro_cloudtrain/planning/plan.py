"""A node before the run: an ordinary one, which runs in Kedro's own process, or one that goes to a machine."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError, SourceError
from kedro_cloudtrain.jobs.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.partitioned import Partitioned
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.jobs.search_space import Search
    from kedro_cloudtrain.planning.sample import Sample
    from kedro_cloudtrain.running.order import Order
    from kedro_cloudtrain.storage.local_entry import LocalEntry
    from kedro_cloudtrain.storage.remote_entry import RemoteEntry
    from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource
    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass(frozen=True)
class NodePlan:
    """An ordinary node; or, with a problem, one that cannot be planned.

    Attributes:
        node: the node.
        problems: what is wrong, a sentence each.
        where: the backend's name, or `here` for an ordinary node.
        made: the inputs that other nodes of the run make: they need not exist before it.
    """

    node: Node
    problems: tuple[str, ...] = ()
    where: str = "here"
    made: frozenset[str] = frozenset()

    @property
    def group(self) -> str | None:
        """The group whose machine the node shares; None where it has a machine of its own."""
        return None

    @property
    def noun(self) -> str:
        """What kind of node it is, as a run's record and its first line have it."""
        return "ordinary"

    @property
    def keep_s(self) -> float:
        """For how many seconds its machine waits for the run's next job."""
        return 0.0

    @property
    def kind(self) -> str:
        """What runs on the machine: the library that trains, the name of a template, or that of a function."""
        return ""

    @property
    def model_type(self) -> str | None:
        """What is trained; None for any other node, and where another node makes the parameters."""
        return None

    @property
    def timeout_s(self) -> float | None:
        """When the node's job is ended, in seconds from its start; None for an ordinary node."""
        return None

    @property
    def search(self) -> Search | None:
        """What is searched; None for any node but a search."""
        return None

    @property
    def partitioned(self) -> Partitioned | None:
        """How the data is divided, a training for each part; None for any node that is not."""
        return None

    @property
    def has_many_jobs(self) -> bool:
        """Whether it runs many jobs, on machines of its own: the trials of a search, or a training for each group."""
        return self.search is not None or self.partitioned is not None

    @property
    def jobs_at_once(self) -> int:
        """How many of its jobs the node would have running at once."""
        return 1

    @property
    def notes(self) -> list[str]:
        """What is worth knowing about the node, a sentence each."""
        return []

    def notes_of_size(self, size_bytes: int | None, shape: tuple[int, int] | None) -> list[str]:  # noqa: ARG002  # a training's
        """Return what is worth knowing about the node by the size of its tables, a sentence each; see `workload`."""
        return []

    @property
    def sized_tables(self) -> list[str]:
        """The tables whose sizes tell how much the machine has to compute with."""
        return []

    @property
    def tables(self) -> list[str]:
        """The datasets that the machine is given, without the parameters."""
        return []

    @property
    def input_names(self) -> dict[str, str]:
        """The dataset that each input of its job is, where the job has a name of its own for it."""
        return {}

    @property
    def reads(self) -> str | None:
        """What the machine reads, as it is shown; None for an ordinary node."""
        return None

    def with_problems(self, *problems: str) -> NodePlan:
        """Return the plan with more problems."""
        return dataclasses.replace(self, problems=(*self.problems, *problems)) if problems else self


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachinePlan(NodePlan, abc.ABC):
    """A node that goes to a machine.

    Attributes:
        settings: what `cloudtrain.yml` sets for the node.
        volume: holds the job folder, and the tables that are keys.
        sources: the tables that the machine reads itself.
        entries: the catalog entries on other stores that the machine loads and saves by the entries' own classes.
    """

    settings: NodeSettings
    volume: Volume
    sources: Mapping[str, UrlSource | VolumeSource] = dataclasses.field(default_factory=dict)
    entries: Mapping[str, RemoteEntry] = dataclasses.field(default_factory=dict)

    @property
    def group(self) -> str | None:
        """The group whose machine the node shares; None where it has a machine of its own."""
        return self.settings.group

    @property
    def keep_s(self) -> float:
        """For how many seconds its machine waits for the run's next job."""
        return self.settings.keep_s

    @property
    def timeout_s(self) -> float | None:
        """When the node's job is ended, in seconds from its start."""
        return self.settings.timeout_s

    @property
    def sized_tables(self) -> list[str]:
        """The tables whose sizes tell how much the machine has to compute with."""
        return list(self.sources)

    @property
    def column_count(self) -> int | None:
        """How many columns are read; None for all of them."""
        return None

    def workload(self, size_bytes: int | None, shape: tuple[int, int] | None = None) -> Workload:  # noqa: ARG002  # a training's
        """Return how much there is to compute with.

        Args:
            size_bytes: the size of the tables; None where it is not known.
            shape: the rows and columns of the table, where its format tells them.
        """
        return Workload(self.kind, columns=self.column_count, size_bytes=size_bytes)

    @property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """The columns that each table needs to have, by what names them."""
        return {}

    def features_of(self, columns: Sequence[str]) -> Sequence[str]:  # noqa: ARG002  # a training's
        """Return the columns that a model learns from, of those that a table has."""
        return ()

    @property
    def checked_tables(self) -> Sequence[str]:
        """The inputs that are looked at as tables also where they are sent."""
        return ()

    @property
    def needs_rows(self) -> bool:
        """Whether a table without rows is a mistake."""
        return True

    def sample_of(self, name: str) -> Sample | None:  # noqa: ARG002  # most nodes have none
        """Return what the first rows of one of its tables are checked for; None where nothing is known of them."""
        return None

    def machine_input(self, name: str) -> UrlSource | VolumeSource | RemoteEntry | LocalEntry | None:
        """Return an input that the machine reads itself; None for one that is sent."""
        return self.sources.get(name) or self.entries.get(name)

    def is_sent(self, name: str) -> bool:
        """Return whether an input goes along from this computer, as a value or as files."""
        return name not in self.sources and name not in self.entries

    def saved_by_machine(self, name: str) -> bool:
        """Return whether the machine saves an output itself, instead of the client through the catalog."""
        return name in self.entries

    @property
    def reads(self) -> str:
        """What the machine reads, as it is shown."""
        inputs: dict[str, Any] = {**self.sources, **self.entries}
        places = [inputs[name].redacted for name in self.tables if name in inputs]
        sent = [name for name in self.tables if name not in inputs]
        return ", ".join([*places, f"{', '.join(sent)} sent from this computer"] if sent else places) or "–"

    @abc.abstractmethod
    def requirements(self, *, gpu: bool) -> tuple[str, ...]:
        """Return what a pod would install for the node, as far as that is known before the run.

        Args:
            gpu: whether the pod has a GPU.

        Raises:
            ConfigError: a requirement of the project is not valid.
        """

    def imports(self) -> frozenset[str]:
        """Return the installed packages without which the machine could not import the node's code, by the names of their modules."""
        return frozenset()

    @abc.abstractmethod
    def order(self, inputs: Mapping[str, Any], generator: TrainingScriptGenerator) -> Order:
        """Return the node's order.

        Args:
            inputs: the value of each of the node's inputs, or the source that the machine reads.
            generator: knows the templates.

        Raises:
            ConfigError: parameters that another node has made, or a hook has changed, are not valid.
        """

    def with_order(self, order: Order, generator: TrainingScriptGenerator) -> MachinePlan | None:  # noqa: ARG002  # a training's
        """Return the plan by which an order's tables are checked; None where it is not known what they need."""
        return self

    def outputs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the node's outputs by dataset, from what its job has left."""
        return dict(values)

    def explain(self, error: CloudTrainError) -> CloudTrainError:
        """Return a job's error with the node's name, and where in the project to correct its cause."""
        if not isinstance(error, SourceError):
            return error
        tables = " and ".join(f"`{name}`" for name in self.tables)
        return SourceError(
            f"{self.node.name}: {error.message}\nIts data is {tables} of the catalog{self._columns_named_by}. "
            "To check each source without a run: kedro cloudtrain plan"
        )

    @property
    def _columns_named_by(self) -> str:
        """Where the project names the columns of its data, as the end of a sentence."""
        return ""
