"""Times what a person waits for: the list of 5,000 runs, and the page of a run of 200 nodes.

    python benchmarks/runs.py

The page is opened in a headless Chromium (`apt-get install chromium chromium-driver`); beside it stands the time of a page that has plotly
and one figure alone, which no page of ours can be quicker than.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kedro_cloudtrain.runs.job_view import Curve, JobView
from kedro_cloudtrain.runs.ledger import RunLedger
from kedro_cloudtrain.runs.page import write_page
from kedro_cloudtrain.runs.record import MachineRecord, NodeRecord, RunRecord, RunState

RUNS, NODES, TRIES = 5_000, 200, 5
START = 1_790_000_000.0


def run(number: int, nodes: int) -> RunRecord:
    """Return a run of many nodes on pods."""
    records = [
        NodeRecord(
            node=f"segments.station_{place:03d}.train",
            kind="training",
            model="xgboost_regression",
            where="runpod",
            state="succeeded",
            job=f"train_{place}-0123456789ab",
            started_at=START + 20 * place,
            finished_at=START + 20 * place + 100,
            total_s=100.0,
            seconds={"start": 30.0, "read": 9.0, "fit": 60.0, "save": 1.0},
            machines=[
                MachineRecord(pod=f"p{number}-{place}", machine="NVIDIA L4", usd_per_hour=0.43, seconds=95.0, cost_usd=0.011, ended="done")
            ],
            scores={"rmse": 1 + place / 1000, "r2": 0.5},
        )
        for place in range(nodes)
    ]
    moment = time.strftime("%Y-%m-%dT%H.%M.%S", time.gmtime(START + 60 * number))
    return RunRecord(
        id=f"{moment}.{number % 1000:03d}Z", state=RunState.SUCCEEDED, started_at=START, finished_at=START + 400, nodes=records
    )


def view() -> JobView:
    """Return what a job's folder shows."""
    steps = tuple(range(0, 300, 2))
    curve = Curve(steps, {f"{part}_rmse": tuple(round(0.99**step, 5) for step in steps) for part in ("train", "validation")}, 240)
    return JobView(
        "import xgboost\n" * 60, '{"a": 1}\n' * 20, "round\n" * 60, curve, None, tuple((f"f{place}", 1.0) for place in range(15))
    )


def median_s(call: Callable[[], object]) -> float:
    """Return the median of some calls, in seconds."""
    times = []
    for _ in range(TRIES):
        began_at = time.perf_counter()
        call()
        times.append(time.perf_counter() - began_at)
    return statistics.median(times)


def opened_s(page: Path) -> float:
    """Return how long a browser takes from the page's address to its load event and first figures, in seconds: the median."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver")))) as browser:
        times = []
        for _ in range(TRIES):
            browser.get(page.as_uri())
            times.append(browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000)
    return statistics.median(times)


def main() -> None:
    """Print the times."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ledger = RunLedger(folder)
        for number in range(RUNS):
            ledger.write(run(number, 6))
        latest_s, all_s = median_s(lambda: list(zip(range(20), ledger.records(), strict=False))), median_s(lambda: list(ledger.records()))
        print(f"{RUNS:,} runs of 6 nodes: the latest 20 in {latest_s:.3f} s, all in {all_s:.2f} s")
        big, small = folder / "big.html", folder / "small.html"
        runs = [run(number, NODES) for number in range(31)]
        views = {node.job: view() for node in runs[0].nodes}
        rendered_s = median_s(lambda: write_page(big, runs[30], runs[:30], views))
        print(f"{NODES} nodes: rendered in {rendered_s:.2f} s, {big.stat().st_size / 1e6:.1f} MB", end="; ")
        write_page(small, run(0, 1))
        if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
            print("not opened: apt-get install chromium chromium-driver")
            return
        times = opened_s(big), opened_s(small)
        print(f"opened in {times[0]:.2f} s, {times[0] / times[1]:.2f} times a page of one node ({times[1]:.2f} s)")


if __name__ == "__main__":
    main()
