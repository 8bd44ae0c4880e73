"""What a user sees of a run: a live table on a terminal, a line an event in a log, and the receipts at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

import rich
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kedro_cloudtrain.jobs.receipt import STAGES
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.wording import size, usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_cloudtrain.jobs.receipt import MachineUse, Receipt
    from kedro_cloudtrain.jobs.result import JobProgress

# Kedro's default logging shows INFO below `kedro` alone.
logger = logging.getLogger("kedro.cloudtrain")

_BAR_WIDTH = 26
# The headline, the line about what does not fit, and the cursor's.
_LINES_BESIDE = 3
# In a log, a fit is worth a line each quarter of its rounds.
_LOG_STEPS = 4
_STYLES = {
    JobState.SUCCEEDED: "green",
    JobState.REUSED: "green",
    JobState.FAILED: "red",
    JobState.LOST: "red",
    JobState.TIMED_OUT: "red",
    JobState.CANCELLED: "yellow",
}


@dataclasses.dataclass
class Row:
    """One job's line.

    Attributes:
        node: the node's name.
        kind: what is trained: the library, or the name of a template.
        reads: what the machine reads.
        state: where it stands.
        progress: how far its fit is.
        live: whether it is on a terminal, where the log need not say what the table shows.
        machine: the kind of machine that it has got.
        gpu_percent: how busy its GPU is.
        cost_usd: what its machine has cost so far, in dollars.
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

    def moved(self, job: str, state: JobState) -> None:
        """Hear that the job has come to a state."""
        self.state = state
        if state in (JobState.STARTING, JobState.SUCCEEDED, JobState.REUSED):
            what = {
                JobState.STARTING: f"started: {self.kind}, reads {self.reads}",
                JobState.REUSED: "is done already: nothing changed",
            }.get(state) or self._how_it_went()
            logger.info("%s %s  [%s]", self.node, what, job, extra={"markup": False})
        elif state.finished:
            logger.warning("%s %s  [%s]", self.node, state, job, extra={"markup": False})

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Hear how far the fit is; the log hears each quarter of it."""
        before = self.progress.step if self.progress else 0
        self.progress = progress
        quarter = max(1, progress.of // _LOG_STEPS)
        if not self.live and progress.in_rounds and progress.step // quarter > before // quarter and progress.step < progress.of:
            logger.info("%s %d/%d %s  [%s]", self.node, progress.step, progress.of, metric(progress), job, extra={"markup": False})

    def placed(self, job: str, machine: str, usd_per_hour: float) -> None:
        """Hear which machine the job has got."""
        self.machine, self.cost_usd = machine, 0.0
        logger.info("%s on %s at $%.2f/h  [%s]", self.node, machine, usd_per_hour, job, extra={"markup": False})

    def busy(self, _job: str, gpu_percent: float | None, cost_usd: float) -> None:
        """Hear how busy the GPU is, and the dollars so far."""
        self.gpu_percent, self.cost_usd = gpu_percent, cost_usd

    def used(self, _job: str, use: MachineUse) -> None:
        """Hear what a machine has cost."""
        self.gpu_percent, self.cost_usd = None, use.cost_usd

    @property
    def bill(self) -> str:
        """The machine, how busy it is and what it costs, in a few words."""
        if self.cost_usd is None:
            return ""
        busy = "" if self.gpu_percent is None else f" · GPU {self.gpu_percent:.0f} %"
        return f"{self.machine}{busy} · {usd(self.cost_usd)}"

    def cells(self) -> tuple[Text, ...]:
        """Write the line of the live table."""
        style = _STYLES.get(self.state, "")
        if self.progress is None or self.state in (JobState.WAITING, JobState.STARTING):
            said = str(self.state) if self.state is not JobState.STARTING or self.machine else f"reading {self.reads}"
            return Text(self.node), Text(self.kind, "dim"), Text(""), Text(said, style or "dim"), Text(self.bill, "dim")
        if not self.progress.in_rounds:
            return Text(self.node), Text(self.kind, "dim"), Text(""), Text(state_word(self.state), style), Text(self.bill, "dim")
        left = dt.timedelta(seconds=round(self.progress.seconds_left))
        return (
            Text(self.node),
            Text(self.kind, "dim"),
            Text(""),
            Text(state_word(self.state) if self.state.finished else f"{self.progress.step}/{self.progress.of}", style),
            Text("  ".join(filter(None, [metric(self.progress), "" if self.state.finished else f"{left} left", self.bill])), "dim"),
        )

    def _how_it_went(self) -> str:
        if self.progress is None or not self.progress.in_rounds:
            return "done"
        return f"done after {self.progress.step} of {self.progress.of} rounds {metric(self.progress)}"


def state_word(state: JobState) -> str:
    """Say a state as a user would."""
    return "done" if state is JobState.SUCCEEDED else str(state)


def metric(progress: JobProgress) -> str:
    """Write what a round measured on the validation rows: `val mlogloss 0.0412`."""
    for name, value in progress.metrics.items():
        if name.startswith("validation_") and value is not None:
            return f"val {name.removeprefix('validation_')} {value:.4g}"
    return ""


class Display:
    """The rows of a run, live where there is a terminal.

    Args:
        headline: the run in a line.
        console: where to draw; Kedro's log lines appear above the table where both use the same console.
    """

    def __init__(self, headline: str, console: Console | None = None) -> None:
        self._headline = headline
        self._console = console or rich.get_console()
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None

    def add(self, row: Row) -> None:
        """Show one more job."""
        row.live = self._live is not None
        with self._lock:
            self._rows[row.node] = row

    def row(self, node: str) -> Row:
        """Give the line of a node, which is told how its job goes on."""
        return self._rows[node]

    def __enter__(self) -> Self:
        logger.info("%s", self._headline, extra={"markup": False})
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self._live.stop()
            self._live = None

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 2))
        with self._lock:
            rows = list(self._rows.values())
        rows, rest = _that_fit(rows, self._console.height - _LINES_BESIDE)
        for row in rows:
            cells: list[Text | ProgressBar] = list(row.cells())
            if row.progress is not None and row.progress.in_rounds and row.state is not JobState.STARTING:
                done = row.progress.of if row.state is JobState.SUCCEEDED else row.progress.step
                cells[2] = ProgressBar(row.progress.of, done, width=_BAR_WIDTH)
            table.add_row(*cells)
        return Group(Text(self._headline, "bold"), table, *((Text(rest, "dim"),) if rest else ()))

    def account(self, receipts: Sequence[Receipt]) -> None:
        """Print what the run took, a line a job."""
        if receipts:
            # A file or a CI log has no width of its own: a table cut to 80 columns would lose its figures.
            console = self._console if self._console.is_terminal else Console(width=160, file=self._console.file)
            console.print(account_table(receipts))


def _that_fit(rows: Sequence[Row], height: int) -> tuple[list[Row], str]:
    """Give the rows that a terminal has lines for, those at work first, and a line about the others."""
    if len(rows) <= height:
        return list(rows), ""
    shown = [row for row in rows if row.state in (JobState.STARTING, JobState.RUNNING)][:height]
    others = Counter(state_word(row.state) for row in rows if row not in shown)
    return shown, "… " + ", ".join(f"{count} {state}" for state, count in others.items())


def account_table(receipts: Iterable[Receipt]) -> Table:
    """Lay receipts out as a table: stages in seconds, rows, bytes read there, bytes that passed through here, dollars."""
    receipts = list(receipts)
    calls = any("call" in receipt.seconds for receipt in receipts)
    shown = [stage for one in STAGES for stage in ((one, "call") if one == "fit" and calls else (one,))]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("node", no_wrap=True)
    table.add_column("where")
    table.add_column("state")
    for name in (*shown, "total", "rows", "read there", "through here", "cost"):
        table.add_column(name, justify="right")
    for receipt in receipts:
        stages = [f"{receipt.seconds[stage]:.1f}" if stage in receipt.seconds else "" for stage in shown]
        table.add_row(
            Text(receipt.node),
            receipt.where,
            Text(state_word(receipt.state), _STYLES.get(receipt.state, "")),
            *stages,
            f"{receipt.total_s:.1f}",
            "" if receipt.rows is None else f"{receipt.rows:,}",
            size(receipt.bytes_read),
            size(receipt.bytes_passed),
            "–" if receipt.cost_usd is None else usd(receipt.cost_usd),
        )
    return table
