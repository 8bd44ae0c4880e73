"""The live table of more jobs than a terminal has lines for: those at work are seen."""

from __future__ import annotations

import io

from rich.console import Console

from kedro_cloudtrain.jobs.result import JobProgress, JobState
from kedro_cloudtrain.running.display import Display, Row


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
