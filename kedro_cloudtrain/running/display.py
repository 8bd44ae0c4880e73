"""What a user sees of a run: a live table on a terminal, a log line for each event elsewhere, and the receipts at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

import rich
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kedro_cloudtrain.jobs.receipt import STAGES, MachineUse, Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.rehearsed import OF_PLAY_MONEY, is_rehearsed
from kedro_cloudtrain.running.fitted_table import Column, FittedTable
from kedro_cloudtrain.runs.scores import main_score
from kedro_cloudtrain.terminal import make_plain, plain_text
from kedro_cloudtrain.wording import counted, score_text, size, usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kedro_cloudtrain.jobs.result import JobProgress

# Kedro's default logging shows INFO below `kedro` alone.
logger = logging.getLogger("kedro.cloudtrain")

_BAR_WIDTH = 26
_WIDTH_OF_A_FILE = 160
# Columns of the receipts that stay beside the node's name the longest where a console is narrow.
_MOST_WANTED = ("state", "total", "cost", "score", "where", "fit", "call", "predict", "rows", "read", "bytes read", "device", "model")
# The headline, the line that counts the jobs not shown, and the cursor's.
_LINES_BESIDE = 3
# A log gets a line for each quarter of a fit's rounds.
_LOG_STEPS = 4
STATE_STYLES = {
    JobState.SUCCEEDED: "green",
    JobState.REUSED: "green",
    JobState.FAILED: "red",
    JobState.LOST: "red",
    JobState.TIMED_OUT: "red",
    JobState.CANCELLED: "yellow",
    JobState.PRUNED: "yellow",
}


@dataclasses.dataclass
class Row:
    """A job's row in the display.

    Attributes:
        node: the node's name.
        kind: what is trained: the library, or the name of a template.
        reads: what the machine reads.
        state: the job's state.
        progress: the latest round of its fit.
        live: whether it is shown on a terminal, so that the log need not repeat its progress.
        machine: the kind of machine that it runs on.
        gpu_percent: how busy its GPU is.
        cost_usd: what its machine has cost so far, in dollars.
        has_machine: whether a machine is paid for now.
        spent_usd: what its machines that are gone have cost, in dollars.
        moved_at: when it came into its state, by the monotonic clock.
        job: the job's name; empty until it is started.
        use: what the machine is used for that is paid for now.
        uses: what the machines before it were used for.
        trials: how far a search is, instead of the rounds of a fit: `trial 12 of 40, best log_loss 0.213`.
        unit: what is counted there: `trial`, `group` or `partition`.
    """

    node: str
    kind: str
    reads: str
    state: JobState = JobState.WAITING
    progress: JobProgress | None = None
    live: bool = False
    machine: str = ""
    gpu_percent: float | None = None
    cost_usd: float | None = None
    has_machine: bool = False
    spent_usd: float = 0.0
    moved_at: float = dataclasses.field(default_factory=time.monotonic)
    job: str = ""
    use: MachineUse | None = None
    uses: list[MachineUse] = dataclasses.field(default_factory=list)
    trials: str = ""
    unit: str = "trial"
    _placed_at: float = 0.0
    _started_at: float | None = None

    def moved(self, job: str, state: JobState) -> None:
        """Record a new state, and log it."""
        if state is not self.state:
            self.moved_at = time.monotonic()
        self.state, self.job = state, job
        if state is JobState.STARTING and self._started_at is None:
            self._started_at = time.time()
        if state in (JobState.STARTING, JobState.SUCCEEDED, JobState.REUSED):
            event = {
                JobState.STARTING: f"started: {self.kind}, reads {self.reads}",
                JobState.REUSED: "is done already: nothing changed",
            }.get(state) or self._done()
            logger.info("%s %s  [%s]", self.node, event, job, extra={"markup": False})
        elif state.finished:
            logger.warning("%s %s  [%s]", self.node, state, job, extra={"markup": False})

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Record the latest round of the fit, and log each quarter of it."""
        before = self.progress.step if self.progress else 0
        self.progress = progress
        quarter = max(1, progress.of // _LOG_STEPS)
        if not self.live and progress.in_rounds and progress.step // quarter > before // quarter and progress.step < progress.of:
            done = " ".join(filter(None, [f"{progress.step}/{progress.of}", metric(progress)]))
            logger.info("%s %s  [%s]", self.node, done, job, extra={"markup": False})

    def placed(self, job: str, machine: str, usd_per_hour: float, pod: str) -> None:
        """Record the machine that the job runs on, and log it with its price."""
        self.machine, self.cost_usd, self.has_machine = machine, 0.0, True
        self.use = MachineUse(pod, machine, usd_per_hour, 0.0, 0.0, "")
        self._placed_at = time.monotonic()
        logger.info("%s on %s at $%.2f/h  [%s]", self.node, machine, usd_per_hour, job, extra={"markup": False})

    def busy(self, _job: str, gpu_percent: float | None, cost_usd: float) -> None:
        """Record how busy the GPU is, and the dollars so far."""
        self.gpu_percent, self.cost_usd = gpu_percent, cost_usd

    def used(self, _job: str, use: MachineUse) -> None:
        """Record what a machine has cost in the end."""
        self.gpu_percent, self.cost_usd = None, use.cost_usd
        self.spent_usd += use.cost_usd
        self.use = None
        self.uses.append(use)
        self.has_machine, self.moved_at = False, time.monotonic()

    @property
    def so_far_usd(self) -> float:
        """What all its machines have cost so far, in dollars."""
        return self.spent_usd + ((self.cost_usd or 0.0) if self.has_machine else 0.0)

    def receipt_so_far(self) -> Receipt | None:
        """Return what the job has taken so far; None where it is not under way."""
        if self._started_at is None or self.state not in (JobState.STARTING, JobState.RUNNING):
            return None
        uses = list(self.uses)
        if self.use is not None:
            uses.append(self.use.so_far(time.monotonic() - self._placed_at))
        total_s = time.time() - self._started_at
        return Receipt(self.node, self.job, "", self.state, total_s=total_s, machines=tuple(uses), started_at=self._started_at)

    @property
    def machine_use(self) -> str:
        """The machine, how busy it is and what it has cost: `NVIDIA L4 · GPU 87 % · $0.09`."""
        if self.cost_usd is None:
            return ""
        busy = "" if self.gpu_percent is None else f" · GPU {self.gpu_percent:.0f} %"
        return f"{self.machine}{busy} · {usd(self.cost_usd)}"

    def cells(self) -> tuple[Text, ...]:
        """Return the cells of the row in the live table; the third is left for the progress bar."""
        style = STATE_STYLES.get(self.state, "")
        if self.progress is None or self.state in (JobState.WAITING, JobState.STARTING):
            status = str(self.state) if self.state is not JobState.STARTING or self.machine else f"reading {self.reads}"
            return Text(self.node), Text(self.kind, "dim"), Text(""), Text(status, style or "dim"), Text(self.machine_use, "dim")
        if not self.progress.in_rounds:
            return Text(self.node), Text(self.kind, "dim"), Text(""), Text(state_word(self.state), style), Text(self.machine_use, "dim")
        if self.trials:
            state = Text(state_word(self.state), style) if self.state.finished else Text(self.trials)
            return Text(self.node), Text(self.kind, "dim"), Text(""), state, Text(self.machine_use, "dim")
        left = dt.timedelta(seconds=round(self.progress.seconds_left))
        return (
            Text(self.node),
            Text(self.kind, "dim"),
            Text(""),
            Text(state_word(self.state) if self.state.finished else f"{self.progress.step}/{self.progress.of}", style),
            Text("  ".join(filter(None, [metric(self.progress), "" if self.state.finished else f"{left} left", self.machine_use])), "dim"),
        )

    def _done(self) -> str:
        if self.progress is None or not self.progress.in_rounds:
            return "done"
        if self.trials:
            return f"done after {counted(self.progress.step, self.unit)}"
        units = counted(self.progress.of, plain_text(self.progress.unit))
        return " ".join(filter(None, [f"done after {self.progress.step} of {units}", metric(self.progress)]))


def state_word(state: JobState) -> str:
    """Return a state in a user's word: `done` for succeeded."""
    return "done" if state is JobState.SUCCEEDED else str(state)


def metric(progress: JobProgress) -> str:
    """Format what a round measured on the validation rows: `val mlogloss 0.0412`; empty if it measured nothing."""
    for name, value in progress.metrics.items():
        if name.startswith("validation_") and value is not None:
            return plain_text(f"val {name.removeprefix('validation_')} {value:.4g}")
    return ""


class Display:
    """The rows of a run's jobs, drawn live on a terminal.

    Args:
        headline: the run in a line.
        console: where to draw; by default the one that Kedro logs to, so that its lines appear above the table.
    """

    def __init__(self, headline: str, console: Console | None = None) -> None:
        self._headline = headline
        self._console = console or rich.get_console()
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._machines: list[Callable[[], Receipt | None]] = []

    def add_machine(self, receipt_so_far: Callable[[], Receipt | None]) -> None:
        """Add a machine that has no row, a group's: what returns its receipt so far, None once it is gone."""
        with self._lock:
            self._machines.append(receipt_so_far)

    def add(self, row: Row) -> None:
        """Add a job's row."""
        row.live = self._live is not None
        with self._lock:
            self._rows[row.node] = row

    def row(self, node: str) -> Row:
        """Return a node's row, which records the events of its job."""
        return self._rows[node]

    def so_far_usd(self) -> float:
        """Return what all jobs have cost so far, in dollars."""
        with self._lock:
            return sum(row.so_far_usd for row in self._rows.values())

    def receipts_so_far(self) -> list[Receipt]:
        """Return what each job that is under way has taken so far."""
        with self._lock:
            sources = [*(row.receipt_so_far for row in self._rows.values()), *self._machines]
        return [receipt for source in sources if (receipt := source()) is not None]

    def without_machine_s(self) -> dict[str, float]:
        """Return for how many seconds each job that has no machine has been looking for one, by node."""
        now = time.monotonic()
        with self._lock:
            return {row.node: now - row.moved_at for row in self._rows.values() if row.state is JobState.STARTING and not row.has_machine}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            logger.addFilter(make_plain)
        logger.info("%s", self._headline, extra={"markup": False})
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        logger.removeFilter(make_plain)
        if self._live is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self._live.stop()
            self._live = None

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 2))
        with self._lock:
            rows = list(self._rows.values())
        rows, others = _rows_for_height(rows, self._console.height - _LINES_BESIDE)
        for row in rows:
            cells: list[Text | ProgressBar] = list(row.cells())
            if row.progress is not None and row.progress.in_rounds and row.state is not JobState.STARTING:
                rounds = row.progress.of if row.state is JobState.SUCCEEDED else row.progress.step
                cells[2] = ProgressBar(row.progress.of, rounds, width=_BAR_WIDTH)
            table.add_row(*cells)
        return Group(Text(self._headline, "bold"), table, *((Text(others, "dim"),) if others else ()))

    def print_receipts(
        self,
        receipts: Sequence[Receipt],
        models: Mapping[str, str] | None = None,
        total_s: float | None = None,
        max_cost_usd: float | None = None,
    ) -> None:
        """Print what the jobs of the run took, a row for each, and a line for all of them.

        Args:
            receipts: the jobs' receipts.
            models: by node, where its model went.
            total_s: how long the run took, in seconds.
            max_cost_usd: the run's limit, in dollars.
        """
        if receipts:
            console = self._console
            if not console.is_terminal:
                # A file or a CI log has no width of its own; rich would take it for a terminal of 80 columns.
                columns = os.environ.get("COLUMNS", "")
                width = int(columns) if columns.isdigit() else 0
                console = Console(width=width or _WIDTH_OF_A_FILE, file=console.file)
            table = receipts_table(receipts, models)
            table.add_total(*_total(receipts, total_s, max_cost_usd))
            console.print(table, soft_wrap=True)


def _rows_for_height(rows: Sequence[Row], height: int) -> tuple[list[Row], str]:
    """Choose the rows that a terminal has lines for, and count the others: if there are too many, only running jobs are shown."""
    if len(rows) <= height:
        return list(rows), ""
    shown = [row for row in rows if row.state in (JobState.STARTING, JobState.RUNNING)][:height]
    others = Counter(state_word(row.state) for row in rows if row not in shown)
    return shown, "… " + ", ".join(f"{count} {state}" for state, count in others.items())


def receipts_table(receipts: Iterable[Receipt], models: Mapping[str, str] | None = None) -> FittedTable:
    """Return receipts as a table.

    Its columns are the seconds of each stage, rows, the rows of a fit in a second, the bytes that the machine read and those that passed
    through the client, dollars, the main score, the GPUs if there were any, and where each model went.
    """
    receipts, models = list(receipts), models or {}
    others = [stage for stage in ("call", "predict") if any(stage in receipt.seconds for receipt in receipts)]
    stages = [name for stage in STAGES for name in ((stage, *others) if stage == "fit" else (stage,))]
    stages += ["idle"] if any("idle" in receipt.seconds for receipt in receipts) else []
    ranks = {name: rank for rank, name in enumerate(_MOST_WANTED)}
    figures = (*stages, "total", "rows", "rows/s", "bytes read", "via client", "cost")
    devices = ("device",) if any("driver" in receipt.device for receipt in receipts) else ()
    names = ("node", "where", "state", *figures, "score", *devices, "model")
    columns = [Column(name, right=name in figures, rank=ranks.get(name, len(ranks) - 1)) for name in names]
    table = FittedTable(*columns)
    for receipt in receipts:
        score = main_score(receipt.scores)
        table.add_row(
            receipt.node,
            receipt.where,
            Text(state_word(receipt.state), STATE_STYLES.get(receipt.state, "")),
            *(f"{receipt.seconds[stage]:.1f}" if stage in receipt.seconds else "" for stage in stages),
            f"{receipt.total_s:.1f}",
            "" if receipt.rows is None else f"{receipt.rows:,}",
            "" if receipt.rows_per_s is None else f"{receipt.rows_per_s:,.0f}",
            size(receipt.bytes_read),
            size(receipt.bytes_passed),
            "–" if receipt.cost_usd is None else usd(receipt.cost_usd),
            "" if score is None else f"{plain_text(score[0])} {score_text(score[1])}",
            *(plain_text(receipt.device) for _ in devices),
            plain_text(models.get(receipt.node, "")),
        )
    return table


def _total(receipts: Sequence[Receipt], total_s: float | None, max_cost_usd: float | None) -> list[str]:
    """Return what all jobs of a run took together: how many, the run's seconds, the bytes, and the dollars against the limit."""
    parts = [counted(len(receipts), "job") + ("" if total_s is None else f" in {total_s:.1f} s")]
    read, passed = (sum(receipt.bytes_read or 0 for receipt in receipts), sum(receipt.bytes_passed for receipt in receipts))
    parts += [f"{size(count)} {what}" for count, what in ((read, "read by machines"), (passed, "via client")) if count]
    if any(receipt.machines for receipt in receipts):
        cost = usd(sum(receipt.cost_usd or 0.0 for receipt in receipts))
        limit = "" if max_cost_usd is None else f" of at most {usd(max_cost_usd)}"
        parts.append(f"{cost}{limit}{OF_PLAY_MONEY if is_rehearsed() else ''}")
    return parts
