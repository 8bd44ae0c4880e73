"""What a user sees of a run: the live table of more jobs than a terminal has lines for, and the receipts in consoles of any width."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from kedro_cloudtrain.jobs.receipt import MachineUse, Receipt
from kedro_cloudtrain.jobs.result import JobProgress, JobState
from kedro_cloudtrain.running.display import Display, Row

GOLDEN = Path(__file__).with_name("golden")
L4 = (MachineUse("pod1", "NVIDIA L4", 0.43, 1985.3, 0.237, "done"),)
LOST = (MachineUse("pod3", "NVIDIA L4", 0.43, 123.0, 0.015, "failed"),)
CPU = (MachineUse("pod2", "cpu5c", 0.14, 52.0, 0.002, "done"),)
# A local training, a pod's with large figures, a reused one, a failed one and a function with a namespace's long name.
RECEIPTS = [
    Receipt(
        node="train_species",
        job="train_species-0123456789ab",
        where="local",
        state=JobState.SUCCEEDED,
        seconds={"render": 0.01, "start": 1.2, "read": 0.3, "fit": 12.31, "save": 0.2},
        total_s=14.1,
        rows=344,
        rows_per_s=8_383.4,
        bytes_read=15_241,
        bytes_passed=8_123,
        scores={"accuracy": 0.9853, "macro_f1": 0.98217, "log_loss": 0.0412},
    ),
    Receipt(
        node="train_flights_delay",
        job="train_flights_delay-0123456789ab",
        where="runpod",
        state=JobState.SUCCEEDED,
        seconds={"render": 0.02, "start": 41.3, "environment": 95.0, "read": 12.4, "fit": 1834.2, "save": 2.2},
        total_s=1985.3,
        rows=5_819_079,
        rows_per_s=951_765.0,
        bytes_read=1_234_567_890,
        bytes_passed=90_123,
        machines=L4,
        scores={"rmse": 39.13, "r2": 0.061},
    ),
    Receipt("train_mass", "train_mass-0123456789ab", "local", JobState.REUSED, total_s=0.1, rows=344),
    Receipt(
        node="train_prices",
        job="train_prices-0123456789ab",
        where="runpod",
        state=JobState.FAILED,
        seconds={"render": 0.01, "start": 38.9, "environment": 80.1, "read": 3.3},
        total_s=123.4,
        rows=12_000,
        bytes_read=88_000_000,
        bytes_passed=45_000,
        machines=LOST,
    ),
    Receipt(
        node="data_processing.preprocess_shuttles_node",
        job="data_processing-preprocess_shuttles_node-0123456789ab",
        where="runpod",
        state=JobState.SUCCEEDED,
        seconds={"render": 0.01, "start": 38.9, "environment": 1.1, "read": 3.3, "call": 7.5, "save": 0.4},
        total_s=52.0,
        bytes_read=12_000_000,
        bytes_passed=450_000,
        machines=CPU,
    ),
]

MODELS = {"train_species": "data/06_models/species", "train_flights_delay": "s3://a-bucket-of-models/flights/delay_model"}


def drawn(jobs: int, at_work: int, done: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=height, color_system=None)
    display = Display("the headline", console)
    for number in range(jobs):
        display.add(Row(f"train_{number}", "xgboost", "a.csv"))
        if number < done:
            display.row(f"train_{number}").state = JobState.SUCCEEDED
        elif number < done + at_work:
            display.row(f"train_{number}").state = JobState.RUNNING
            display.row(f"train_{number}").progressed("job", JobProgress(step=number, of=100, seconds=1.0))
    with console.capture() as captured:
        console.print(display._draw())
    return captured.get().splitlines()


def receipts(*, color_system: str | None = None, **options: object) -> str:
    stream = io.StringIO()
    Display("the headline", Console(file=stream, color_system=color_system, **options)).print_receipts(RECEIPTS, MODELS, 1990.2, 5.0)
    return stream.getvalue()


def test_a_few_jobs_are_all_shown() -> None:
    lines = drawn(jobs=6, at_work=2, done=1, height=24)
    assert len(lines) == 7
    assert "train_5" in lines[-1]


def test_of_many_those_at_work_are_shown_and_the_others_counted() -> None:
    lines = drawn(jobs=60, at_work=8, done=20, height=24)
    assert [line.split()[0] for line in lines[1:-1]] == [f"train_{number}" for number in range(20, 28)]
    assert lines[-1].strip() == "… 20 done, 32 waiting"


def test_more_at_work_than_there_are_lines_are_cut() -> None:
    lines = drawn(jobs=60, at_work=50, done=0, height=24)
    assert len(lines) <= 23
    assert lines[-1].strip() == "… 29 running, 10 waiting"


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_receipts_are_the_golden_ones(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = receipts()
    golden = GOLDEN / f"receipt_{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    accept = f"UPDATE_GOLDEN=1 pytest tests/running/{Path(__file__).name}"
    assert golden.is_file(), f"{golden} does not exist. Write it with: {accept}"
    assert text == golden.read_text(encoding="utf-8"), (
        f"The receipts in {width} columns have changed. If that is intended: {accept}, read the difference with git diff, and commit it."
    )
    assert max(map(cell_len, text.splitlines())) <= width


def test_a_file_is_160_columns_wide_unless_the_environment_has_another_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    in_a_file = receipts()
    assert 120 < max(map(len, in_a_file.splitlines())) <= 160
    monkeypatch.setenv("COLUMNS", "160")
    assert receipts() == in_a_file
    monkeypatch.setenv("COLUMNS", "0")
    assert receipts() == in_a_file
    # A terminal knows its own width.
    assert max(map(len, receipts(force_terminal=True, width=80).splitlines())) <= 80


def test_on_a_terminal_what_stands_below_a_row_is_dimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = receipts(force_terminal=True, width=80, color_system="standard")
    assert "\x1b[2m  start 1.2 · read 0.3" in text
    assert "\x1b[31mfailed\x1b[0m" in text


def test_a_run_without_jobs_prints_no_receipts() -> None:
    stream = io.StringIO()
    Display("the headline", Console(file=stream)).print_receipts([])
    assert stream.getvalue() == ""
