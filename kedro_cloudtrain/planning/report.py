"""Report where each node goes, what it costs and what is wrong with it, as a table or as JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends.runpod.offers import CachedOffers
from kedro_cloudtrain.errors import ApiError, CloudTrainError
from kedro_cloudtrain.planning.catalog import missing_inputs
from kedro_cloudtrain.planning.doctor import examine_runpod
from kedro_cloudtrain.planning.environments import lock_environments
from kedro_cloudtrain.planning.inspection import look_at_inputs
from kedro_cloudtrain.planning.machines import at_once_notes, machines_notes
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.planning.quotes import (
    Quote,
    most_usd_per_hour,
    of_partitions,
    of_search,
    quote,
    run_notes,
    run_problems,
    spend_rate_notes,
    total_size,
    workload_of,
)
from kedro_cloudtrain.running.fitted_table import Column, FittedTable
from kedro_cloudtrain.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kedro_cloudtrain.backends.runpod.offers import Offers
    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.planning.environments import LockedEnvironments
    from kedro_cloudtrain.planning.inspection import Look
    from kedro_cloudtrain.planning.plan import NodePlan
    from kedro_cloudtrain.planning.planner import Planner
    from kedro_cloudtrain.planning.record import Record

# Prices and stock are asked for once a report, however many nodes it has.
_OFFERS_CACHED_S = 600


@dataclasses.dataclass(frozen=True)
class NodeReport:
    """A node's plan, what a look at its inputs has found, what its pod would cost, which inputs are nowhere, and `run.max_pods`."""

    plan: NodePlan
    look: Look
    quote: Quote = dataclasses.field(default_factory=Quote)
    missing: Sequence[str] = ()
    max_pods: int | None = None

    @property
    def problems(self) -> list[str]:
        """Why the node would fail, a sentence each."""
        return [*self.plan.problems, *self.missing, *self.look.problems, *self.quote.problems]

    @property
    def notes(self) -> list[str]:
        """What is worth knowing about the node, a sentence each."""
        tables = self.plan.sized_tables
        shape = self.look.shapes.get(tables[0]) if len(tables) == 1 else None
        of_size = self.plan.notes_of_size(total_size({name: self.look.sizes.get(name) for name in tables}), shape)
        bounded = [] if self.max_pods is None else at_once_notes(self.plan, self.look.jobs, self.max_pods)
        return [*self.plan.notes, *bounded, *machines_notes(self.plan), *of_size, *self.look.notes, *self.quote.notes]

    @property
    def where(self) -> str:
        """Where the node goes: `here` for this process, `local`, or its pod's machine, price and stock."""
        where = self.plan.where
        if where == "runpod":
            where = f"pod · {self.quote.machine}" if self.quote.candidate is not None else "pod"
        elif isinstance(self.plan, MachinePlan) and self.plan.settings.machines > 1:
            where = f"{where} · {self.plan.settings.machines} processes"
        where = where if self.plan.group is None else f"{where} · group {self.plan.group}"
        return f"{where} · kept {self.plan.keep_s:g} s" if self.plan.keep_s else where

    @property
    def size(self) -> int | None:
        """The size of its tables in bytes, as far as it is known."""
        return total_size(self.look.sizes)

    def json(self) -> dict[str, Any]:
        """Return the report as plain JSON; money in dollars, times in seconds."""
        plan, quoted = self.plan, self.quote
        return {
            "name": plan.node.name,
            "where": plan.where,
            "group": plan.group,
            "keep_s": plan.keep_s,
            "trains": plan.model_type,
            "machine": None if quoted.candidate is None else str(quoted.candidate),
            "stock": None if quoted.candidate is None else quoted.candidate.stock,
            "usd_per_hour": None if quoted.candidate is None else quoted.candidate.usd_per_hour,
            "reason": quoted.reason or None,
            "reads": plan.reads,
            "bytes": self.size,
            "timeout_s": plan.timeout_s,
            "estimate_usd": None if quoted.estimate_usd is None else [round(usd, 4) for usd in quoted.estimate_usd],
            "worst_usd": None if quoted.worst_usd is None else round(quoted.worst_usd, 4),
            "notes": self.notes,
            "problems": self.problems,
            "doubts": list(self.look.doubts),
        }


@dataclasses.dataclass(frozen=True)
class Report:
    """A pipeline before its run.

    Attributes:
        nodes: each of its nodes.
        settings: `cloudtrain.yml`.
        max_pods: how many jobs run at once.
        problems: what is wrong with the run as a whole.
        doubts: what could not be found out about the run as a whole.
        notes: what is worth knowing about it.
        record: what the run would do, by which a later run is compared with the plan; None where nobody keeps it.
    """

    nodes: Sequence[NodeReport]
    settings: Settings
    max_pods: int
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    doubts: Sequence[str] = ()
    record: Record | None = None

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, 1 where something would fail, 2 where it cannot be told."""
        if any(True for _ in self.all_problems()):
            return 1
        return 2 if any(True for _ in self.all_doubts()) else 0

    def all_doubts(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the nodes of which something could not be found out, and why; for the run, first, the names are empty."""
        yield from self._with_names(lambda node: node.look.doubts, self.doubts)

    def all_problems(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the nodes that have a problem, and the problem; for those of the whole run, first, the names are empty."""
        yield from self._with_names(lambda node: node.problems, self.problems)

    def all_notes(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the nodes that have a note, and the note; for those of the whole run, last, the names are empty."""
        yield from self._with_names(lambda node: node.notes)
        for note in self.notes:
            yield "", note

    def _with_names(self, texts_of: Callable[[NodeReport], Sequence[str]], of_run: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
        # By text, so that what several nodes have is printed once.
        names: dict[str, list[str]] = {text: [] for text in of_run}
        for node in self.nodes:
            for text in texts_of(node):
                names.setdefault(text, []).append(node.plan.node.name)
        for text, nodes in names.items():
            yield ", ".join(nodes), text

    @property
    def estimate_usd(self) -> tuple[float, float] | None:
        """The lowest and the highest probable cost of the run in dollars; None if nothing is to be paid, or nothing is known."""
        estimates = [node.quote.estimate_usd for node in self.nodes if node.quote.estimate_usd is not None]
        return (sum(low for low, _ in estimates), sum(high for _, high in estimates)) if estimates else None

    def json(self) -> dict[str, Any]:
        """Return the report as plain JSON; money in dollars, times in seconds."""
        estimate, record = self.estimate_usd, self.record
        planned = {} if record is None else {name: {"planned": node.model_dump()} for name, node in record.nodes.items()}
        return {
            "version": 1,
            "nodes": [node.json() | planned.get(node.plan.node.name, {}) for node in self.nodes],
            "run": {
                "backend": self.settings.backend,
                "max_pods": self.max_pods,
                "max_cost_usd": self.settings.run.max_cost_usd,
                "estimate_usd": None if estimate is None else [round(usd, 4) for usd in estimate],
                "notes": list(self.notes),
                "problems": list(self.problems),
                "doubts": list(self.doubts),
                **({} if record is None else {"planned": dict(record.run)}),
            },
        }

    def table(self) -> FittedTable:
        """Return the report as a table: node, where it goes, what runs there, what it reads, its limit and its dollars."""
        # What a node reads may be a long URL: in a narrow console it leaves the line first.
        names = {"node": 0, "goes to": 0, "runs": 0, "reads": 1, "limit": 0, "estimate": 0}
        table = FittedTable(*(Column(name, rank=rank) for name, rank in names.items()))
        for node in self.nodes:
            plan = node.plan
            table.add_row(
                plan.node.name,
                node.where,
                plan.model_type or plan.kind or "–",
                (plan.reads or "–") + (f"  {size(node.size)}" if node.size else ""),
                "–" if plan.timeout_s is None else f"{plan.timeout_s / 3600:.3g} h",
                usd_range(node.quote.estimate_usd),
            )
        return table

    def limits(self) -> str:
        """Return a line about the run's dollars: what it will probably cost, where that is known, and its limits."""
        limit = self.settings.run.max_cost_usd
        most = "no limit (run.max_cost_usd)" if limit is None else f"at most ${limit:.2f} (run.max_cost_usd)"
        budget = self.settings.run.budget
        shared = "" if budget is None else f", of the shared budget {budget.name}: ${budget.max_cost_usd:.2f} a {budget.per}"
        prices = most_usd_per_hour((node.quote for node in self.nodes), self.max_pods)
        hourly = f" for up to ${sum(prices):.2f} an hour" if prices else ""
        pods = f"{counted(self.max_pods, 'pod')} at once{hourly}"
        if self.estimate_usd is None:
            return f"The run: {most}{shared}, {pods}."
        return f"The run: probably {usd_range(self.estimate_usd)}, {most}{shared}, {pods}. Estimates are rough."


def usd_range(dollars: tuple[float, float] | None) -> str:
    """Format a range of dollars: `$0.01–0.05`; a dash for None."""
    return "–" if dollars is None else f"${dollars[0]:.2f}–{dollars[1]:.2f}"


def report(planner: Planner, plans: Sequence[NodePlan], max_pods: int) -> Report:
    """Check everything that can be wrong with planned nodes: their sources, and for pods the account and RunPod's offers."""
    settings = planner.settings
    missing = missing_inputs([plan.node for plan in plans], planner.catalog, planner.unmade)
    if settings.backend != "runpod":
        return Report(
            [
                NodeReport(plan, look_at_inputs(plan, planner.catalog), missing=missing.get(plan.node, ()), max_pods=max_pods)
                for plan in plans
            ],
            settings,
            max_pods,
        )
    examination = examine_runpod(settings, planner.project)
    # A volume that no pod can mount is a problem of each node's plan already.
    findings = [finding for finding in examination.problems if finding.name != "volume" or examination.data_center is not None]
    problems = [str(finding) for finding in findings if not finding.outage]
    doubts = [str(finding) for finding in findings if finding.outage]
    volume_answers = examination.volume is not None
    environments = lock_environments(plans, planner.project)
    nodes = [
        NodeReport(
            plan,
            _with_environment(look_at_inputs(plan, planner.catalog, volume_answers=volume_answers), plan.node.name, environments),
            missing=missing.get(plan.node, ()),
            max_pods=max_pods,
        )
        for plan in plans
    ]
    account_limits = None
    if examination.api is not None:
        account_limits = examination.api.limits()
        try:
            nodes = _quoted(nodes, CachedOffers(examination.api, _OFFERS_CACHED_S), examination.data_center)
        except CloudTrainError as error:
            # It is the same for each node.
            (doubts if isinstance(error, ApiError) and error.is_outage else problems).append(error.message)
    quotes = [node.quote for node in nodes]
    problems += run_problems(quotes, settings.run, examination.shared_taken_usd)
    notes = (*run_notes(quotes, settings.run, max_pods), *spend_rate_notes(quotes, account_limits, max_pods))
    return Report(nodes, settings, max_pods, problems, notes, doubts)


def _with_environment(look: Look, node: str, environments: LockedEnvironments) -> Look:
    problems = [environments.problems[node]] if node in environments.problems else []
    doubts = [environments.doubts[node]] if node in environments.doubts else []
    return dataclasses.replace(look, problems=(*look.problems, *problems), doubts=(*look.doubts, *doubts))


def _quoted(nodes: Sequence[NodeReport], offers: Offers, data_center: str | None) -> list[NodeReport]:
    quoted: list[NodeReport] = []
    groups: set[str] = set()
    for node in nodes:
        plan, group = node.plan, node.plan.group
        if not isinstance(plan, MachinePlan):
            quoted.append(node)
            continue
        price = quote(offers, plan.node.name, plan.settings, data_center, workload_of(plan, node.look.sizes, node.look.shapes))
        if group in groups:  # One machine costs once: its dollars stand with the group's first node.
            price = dataclasses.replace(price, estimate_usd=None, worst_usd=None)
        if group is not None:
            groups.add(group)
        if plan.search is not None:
            price = of_search(price, plan.search, min(plan.jobs_at_once, node.max_pods or plan.jobs_at_once))
        elif plan.partitioned is not None:
            price = of_partitions(price, node.look.jobs, min(plan.jobs_at_once, node.max_pods or plan.jobs_at_once))
        quoted.append(dataclasses.replace(node, quote=price))
    return quoted
