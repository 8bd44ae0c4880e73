"""Live the client's whole life under faults that a seed decides, and count what must hold and has not.

    python benchmarks/simulation.py [--seeds 1000] [--first 0] [--processes 2]

The client's code is real; RunPod's API, the volume, the pods and the time are the world of `tests/simulation`. After each seed no pod may
be without an entry in the ledger, past its deadline or over a limit, no result another than without faults, no secret in a file or a
request, and the same run, without faults, has to end well. A seed that fails is printed with its journal; `--seeds 1` lives it again.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
_LONGEST_S = 3600


@click.command()
@click.option("--seeds", default=1000, help="How many seeds are lived.")
@click.option("--first", default=0, help="The first of them.")
@click.option("--processes", default=2, help="How many processes share them.")
@click.option("--part", hidden=True, is_flag=True)
def main(seeds: int, first: int, processes: int, part: bool) -> None:
    """Live seeds, and exit with 1 if what must hold has not held in one of them."""
    if part:
        live_part(range(first, first + seeds))
        return
    began, shares = time.monotonic(), [range(first + number, first + seeds, processes) for number in range(min(processes, seeds))]
    # What is drawn from sets depends on this as well.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, __file__, "--part"]
    running = [
        subprocess.Popen(
            [*command, "--first", str(share.start), "--seeds", str(len(share)), "--processes", str(share.step)],
            env={**environment, "SIMULATION_STEP": str(share.step)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    # All at once: a process whose output nobody reads waits.
    with ThreadPoolExecutor(len(running)) as threads:
        outputs = list(threads.map(lambda process: process.communicate(timeout=_LONGEST_S)[0], running))
    outcomes = [json.loads(line) for output in outputs for line in output.splitlines()]
    report(outcomes, time.monotonic() - began)
    failed = [outcome for outcome in outcomes if outcome["violations"]]
    if failed or len(outcomes) != seeds:
        raise SystemExit(1)


def live_part(seeds: range) -> None:
    """Live some seeds, and print a line of JSON for each."""
    sys.path.insert(0, str(ROOT / "tests"))
    from simulation.world import live

    step = int(os.environ.get("SIMULATION_STEP", "1"))
    for number in range(len(seeds)):
        outcome = live(seeds.start + number * step)
        fields = {name: getattr(outcome, name) for name in ("seed", "faults", "events", "violations", "pods", "seconds")}
        print(json.dumps({**fields, "journal": outcome.journal if outcome.violations else []}), flush=True)


def report(outcomes: list[dict], took_s: float) -> None:
    """Print what was lived, and each seed that failed."""
    faults: collections.Counter[str] = collections.Counter()
    events: collections.Counter[str] = collections.Counter()
    for outcome in outcomes:
        faults.update(outcome["faults"])
        events.update(kind for event in outcome["events"] for kind in ("killed", "interrupted", "asleep", "full", "holds") if kind in event)
    hours = sum(outcome["seconds"] for outcome in outcomes) / 3600
    print(f"{len(outcomes)} seeds, {sum(outcome['pods'] for outcome in outcomes)} pods, {hours:.0f} simulated hours in {took_s:.0f} s")
    names = {"killed": "clients killed", "interrupted": "clients interrupted", "asleep": "computers asleep", "full": "disks full"}
    for kind, count in [*sorted(faults.items()), *((names.get(kind, "files broken"), count) for kind, count in sorted(events.items()))]:
        print(f"  {count:6}  {kind}")
    failed = [outcome for outcome in outcomes if outcome["violations"]]
    for outcome in failed:
        print(f"\nseed {outcome['seed']}: python benchmarks/simulation.py --first {outcome['seed']} --seeds 1")
        print(*outcome["violations"], *outcome["events"], *outcome["journal"], sep="\n  ")
    print(f"violations: {sum(len(outcome['violations']) for outcome in failed)} in {len(failed)} seeds")


if __name__ == "__main__":
    main()
