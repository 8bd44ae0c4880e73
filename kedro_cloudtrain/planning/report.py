"""What `kedro cloudtrain plan` finds: each node's place, price and problems, as a table or as JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from kedro_cloudtrain.backends.runpod.offers import KnownOffers
from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.planning.doctor import Examination, examine_runpod
from kedro_cloudtrain.planning.inspection import look_at_inputs
from kedro_cloudtrain.planning.quotes import Quote, quote, run_notes, run_problems, work_of
from kedro_cloudtrain.wording import size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.planning.planner import NodePlan, Planner


@dataclasses.dataclass(frozen=True)
class NodeReport:
    """One node: its plan, the sizes of its tables in bytes, and what its pod would cost."""

    plan: NodePlan
    sizes: Mapping[str, int | None]
    quote: Quote = dataclasses.field(default_factory=Quote)

    @property
    def problems(self) -> list[str]:
        """Why it would fail, a sentence each."""
        return [*self.plan.problems, *self.quote.problems]

    @property
    def where(self) -> str:
        """Where it goes: `here`, `local`, or its pod's machine, price and stock."""
        said = self.plan.where
        if said == "runpod":
            said = f"pod · {self.quote.machine}" if self.quote.candidate is not None else "pod"
        return said if self.plan.group is None else f"{said} · group {self.plan.group}"

    def json(self) -> dict[str, Any]:
        """Say it as plain JSON; money in dollars, times in seconds."""
        plan, quoted = self.plan, self.quote
        return {
            "name": plan.node.name,
            "where": plan.where,
            "group": plan.group,
            "trains": plan.parameters.model_type if plan.parameters is not None else None,
            "machine": None if quoted.candidate is None else str(quoted.candidate),
            "stock": None if quoted.candidate is None else quoted.candidate.stock,
            "usd_per_hour": None if quoted.candidate is None else quoted.candidate.usd_per_hour,
            "reason": quoted.reason or None,
            "reads": plan.reads if plan.on_machine else None,
            "bytes": _total(self.sizes),
            "timeout_s": None if plan.settings is None else plan.settings.timeout_s,
            "estimate_usd": None if quoted.estimate_usd is None else [round(usd, 4) for usd in quoted.estimate_usd],
            "worst_usd": None if quoted.worst_usd is None else round(quoted.worst_usd, 4),
            "notes": list(quoted.notes),
            "problems": self.problems,
        }


@dataclasses.dataclass(frozen=True)
class Report:
    """A pipeline, before it is run.

    Attributes:
        nodes: each of its nodes.
        settings: `cloudtrain.yml`.
        max_pods: how many jobs run at once.
        problems: what is wrong with the run as a whole, said once.
        notes: what is worth knowing of it.
    """

    nodes: Sequence[NodeReport]
    settings: Settings
    max_pods: int
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    def all_problems(self) -> Iterator[tuple[str, str]]:
        """Give each problem with its node's name, those of the whole run with an empty one; what several nodes have is said once."""
        names: dict[str, list[str]] = {problem: [] for problem in self.problems}
        for node in self.nodes:
            for problem in node.problems:
                names.setdefault(problem, []).append(node.plan.node.name)
        for problem, nodes in names.items():
            yield ", ".join(nodes), problem

    def all_notes(self) -> Iterator[tuple[str, str]]:
        """Give each note with its node's name, those of the whole run with an empty one; what several nodes have is said once."""
        names: dict[str, list[str]] = {}
        for node in self.nodes:
            for note in node.quote.notes:
                names.setdefault(note, []).append(node.plan.node.name)
        for note, nodes in names.items():
            yield ", ".join(nodes), note
        for note in self.notes:
            yield "", note

    @property
    def estimate_usd(self) -> tuple[float, float] | None:
        """Between which dollars the run will probably cost; None where nothing is to be paid, or nobody knows."""
        known = [node.quote.estimate_usd for node in self.nodes if node.quote.estimate_usd is not None]
        return (sum(low for low, _ in known), sum(high for _, high in known)) if known else None

    def json(self) -> dict[str, Any]:
        """Say it as plain JSON; money in dollars, times in seconds."""
        estimate = self.estimate_usd
        return {
            "nodes": [node.json() for node in self.nodes],
            "run": {
                "backend": self.settings.backend,
                "max_pods": self.max_pods,
                "max_cost_usd": self.settings.run.max_cost_usd,
                "estimate_usd": None if estimate is None else [round(usd, 4) for usd in estimate],
                "notes": list(self.notes),
                "problems": list(self.problems),
            },
        }

    def table(self) -> Table:
        """Lay it out as a table: node, where it goes, what runs there, what it reads, its limit and its dollars."""
        paid = self.settings.backend == "runpod"
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("node", "goes to", "runs", "reads", "limit", *(("estimate",) if paid else ())):
            table.add_column(name)
        for node in self.nodes:
            plan, total = node.plan, _total(node.sizes)
            cells = [
                Text(plan.node.name),
                Text(node.where),
                Text(plan.parameters.model_type if plan.parameters is not None else plan.kind or "–"),
                Text(plan.reads + (f"  {size(total)}" if total else "")),
                Text("–" if plan.settings is None else f"{plan.settings.timeout_s / 3600:.3g} h"),
            ]
            table.add_row(*cells, *((Text(usd_range(node.quote.estimate_usd)),) if paid else ()))
        return table

    def limits(self) -> str:
        """Say the run's dollars in a line: what it will probably cost, and its limits."""
        limit = self.settings.run.max_cost_usd
        most = "no limit (run.max_cost_usd)" if limit is None else f"at most ${limit:.2f} (run.max_cost_usd)"
        return f"The run: probably {usd_range(self.estimate_usd)}, {most}, {self.max_pods} pods at once. Estimates are rough."


def usd_range(dollars: tuple[float, float] | None) -> str:
    """Write a range of dollars: `$0.01–0.05`; a dash where there is none."""
    return "–" if dollars is None else f"${dollars[0]:.2f}–{dollars[1]:.2f}"


def report(planner: Planner, plans: Sequence[NodePlan], max_pods: int) -> Report:
    """Look at everything that can be wrong with planned nodes: their sources, and for pods the account and the catalogue."""
    settings = planner.settings
    if settings.backend != "runpod":
        nodes = [NodeReport(plan, look_at_inputs(plan, planner.catalog)) for plan in plans]
        return Report(nodes, settings, max_pods)
    seen = examine_runpod(settings, planner.project)
    # Of a volume that no pod can mount each node's plan speaks, as a run does.
    problems = [str(finding) for finding in seen.problems if finding.what != "volume" or seen.data_center is not None]
    nodes = [NodeReport(plan, look_at_inputs(plan, planner.catalog, volume_answers=seen.volume is not None)) for plan in plans]
    if seen.api is not None:
        try:
            nodes = _quoted(nodes, seen)
        except CloudTrainError as error:
            problems.append(error.message)  # The same for each node: said once.
    quotes = [node.quote for node in nodes]
    problems += run_problems(quotes, settings.run)
    return Report(nodes, settings, max_pods, problems, run_notes(quotes, settings.run, max_pods))


def _quoted(nodes: Sequence[NodeReport], seen: Examination) -> list[NodeReport]:
    if seen.api is None:
        return list(nodes)
    catalogue = KnownOffers(seen.api, known_s=600)
    quoted, groups = [_with_quote(node, catalogue, seen.data_center) for node in nodes], set()
    for number, node in enumerate(quoted):
        if node.plan.group in groups:  # One machine, one bill: it stands with the first node.
            quoted[number] = dataclasses.replace(node, quote=dataclasses.replace(node.quote, estimate_usd=None, worst_usd=None))
        groups |= {node.plan.group} - {None}
    return quoted


def _with_quote(node: NodeReport, catalogue: KnownOffers, data_center: str | None) -> NodeReport:
    plan = node.plan
    if plan.settings is None:
        return node
    quoted = quote(catalogue, plan.node.name, plan.settings, data_center, work_of(plan, node.sizes))
    return dataclasses.replace(node, quote=quoted)


def _total(sizes: Mapping[str, int | None]) -> int | None:
    known = [count for count in sizes.values() if count is not None]
    return sum(known) if known else None
