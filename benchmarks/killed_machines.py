"""Lose machines at random rounds: each fit must resume from its checkpoint and end with the predictions of an undisturbed fit.

    python benchmarks/killed_machines.py [--rounds 20] [--cost]

Each library's script is killed (SIGKILL) right after a randomly drawn round, and run again in the folder that it has left. `--cost` fits a
larger table instead, with a checkpoint each second and with none, to measure what a checkpoint costs at the default interval of 60 s.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/templates")]

from support.recipe_job import Job  # noqa: E402
from test_lost_machines import EQUAL, EVERY, PAUSE_S, table  # noqa: E402

ROUNDS = {"xgboost": "n_estimators", "lightgbm": "n_estimators", "catboost": "iterations", "keras": "epochs"}
FEW = {"xgboost": 200, "lightgbm": 200, "catboost": 40, "keras": 40}
MANY = {"xgboost": 9000, "lightgbm": 12_000, "catboost": 7000, "keras": 90}


def fit(scratch: Path, library: str, after: int | None) -> tuple[np.ndarray, Any, bool]:
    """Fit, on a machine that is lost after some rounds; return predictions, history, and whether the fit resumed from a checkpoint."""
    job = Job(scratch / f"{library}-{after}", scratch / "volume", pytest.MonkeyPatch())
    hyperparameters = {**EQUAL[library], ROUNDS[library]: FEW[library]}
    script = job.write(f"{library}_regression", job.table("y.csv", table()), "y", hyperparameters=hyperparameters, seed=3)
    if after is not None:
        job.lose(after, PAUSE_S.get(library, 0.0), **EVERY)
    job.run_again(script, **EVERY)
    return job.predictions.filter(like="predict").to_numpy(), job.output("history"), "resumes from" in job.log


def kill_machines(scratch: Path, count: int) -> None:
    """Lose each library's machine `count` times, and count the equal results."""
    draw = random.Random(1)
    for library in EQUAL:
        expected, expected_history, _ = fit(scratch, library, None)
        rounds = draw.sample(range(1, FEW[library]), count)
        with ThreadPoolExecutor(2) as pool:
            fits = list(pool.map(lambda after, library=library: fit(scratch, library, after), sorted(rounds)))
        equal = sum(np.array_equal(predictions, expected) and history == expected_history for predictions, history, _ in fits)
        resumed = sum(has_resumed for *_, has_resumed in fits)
        print(
            f"{library}: lost after {len(fits)} random rounds, {equal} of {len(fits)} equal, {resumed} resumed from a checkpoint",
            flush=True,
        )


def measure_cost(scratch: Path) -> None:
    """Fit with a checkpoint each second and with none, alternating."""
    random_numbers = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{number}": random_numbers.normal(size=20_000) for number in range(20)})
    frame["y"] = 3 * frame["x0"] + frame["x1"] ** 2 + random_numbers.normal(size=len(frame))
    for library, hyperparameters in EQUAL.items():
        seconds = {}
        for name, every_s in (("none", "1000000"), ("each second", "1")):
            job = Job(scratch / f"{library}-{name}", scratch / "volume", pytest.MonkeyPatch())
            larger = {**hyperparameters, ROUNDS[library]: MANY[library]}
            script = job.write(f"{library}_regression", job.table("large.parquet", frame), "y", hyperparameters=larger)
            seconds[name] = job.run_again(script, CLOUDTRAIN_CHECKPOINT_EVERY_S=every_s)["seconds"]["fit"]
        none_s, with_s = seconds["none"], seconds["each second"]
        checkpoint_s = (with_s - none_s) / max(1.0, none_s)
        print(
            f"{library}: fit {none_s:.1f} s, {with_s:.1f} s with a checkpoint each second: {checkpoint_s * 1000:.0f} ms for each, "
            f"{checkpoint_s / 60:.3%} at the default interval",
            flush=True,
        )


def main() -> None:
    """Run the chosen measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cost", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure_cost(Path(scratch)) if args.cost else kill_machines(Path(scratch), args.rounds)


if __name__ == "__main__":
    main()
