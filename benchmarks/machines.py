"""What a fit on machines gains, and what of the table the job's own process sees: two processes of a core each, against one.

    python benchmarks/machines.py [rows] [pairs] [library ...]

The same rounds, by turns on the same cores. Two times are compared: that of the rounds after the first, by the job's progress, and that
from the table to the model, with the start of the processes. The traffic is what the job's own process sends to and receives from the
others, the model among it, without Dask's heartbeats: of the table itself it reads nothing. The metric of both is set beside the spread
of five seeds of one.

What this computer would allow at most is measured beside it: two fits of half the rows each, at once and sharing nothing but its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.spec import TrainingSpec
from kedro_cloudtrain.jobs.worker_archive import worker_archive

SEEDS = (1, 2, 3, 4, 5)
COLUMNS = 30
ROW_GROUPS = 20
ROUNDS = 30
# With sampled rows and columns, so that a seed matters.
HYPERPARAMETERS = {
    "xgboost": {"n_estimators": ROUNDS, "max_depth": 6, "learning_rate": 0.2, "subsample": 0.7, "colsample_bytree": 0.7},
    "lightgbm": {
        "n_estimators": ROUNDS,
        "num_leaves": 63,
        "learning_rate": 0.2,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "feature_fraction": 0.7,
    },
}
# Runs a job, and writes what its process has sent and received over Dask's connections to others.
COUNTING = """
import runpy, sys
sys.path.insert(0, "worker.zip")
import distributed.scheduler
from tornado.iostream import IOStream
distributed.scheduler.heartbeat_interval = lambda _: 60.0
moved = {}
def counting(move):
    def count(stream, content):
        size = move(stream, content)
        ends = stream.socket.getsockname()[1], stream.socket.getpeername()[1]
        moved[ends] = moved.get(ends, 0) + (size or 0)
        return size
    return count
for name in ("read_from_fd", "write_to_fd"):
    setattr(IOStream, name, counting(getattr(IOStream, name)))
try:
    runpy.run_path("train.py", run_name="__main__")
finally:
    own = {here for here, _ in moved}
    with open("traffic", "w") as file:
        file.write(str(sum(size for (_, there), size in moved.items() if there not in own)))
"""


@dataclass
class Fit:
    """What a job has shown.

    Attributes:
        rmse: of the validation rows.
        rounds_s: the seconds of the rounds after the first.
        work_s: the seconds from the table to the model.
        traffic: the bytes that the job's own process has moved, of its processes.
    """

    rmse: float
    rounds_s: float
    work_s: float
    traffic: int


def make_table(file: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(rows, COLUMNS - 1)), columns=[f"x{number}" for number in range(COLUMNS - 1)])
    frame["kind"] = random.choice(list("abcdefgh"), rows)
    signal = 3 * frame["x0"] - frame["x1"] ** 2 + np.sin(3 * frame["x2"]) * frame["x3"] + (frame["kind"] < "c")
    frame["y"] = signal + random.normal(size=rows)
    frame.to_parquet(file, row_group_size=max(1, rows // ROW_GROUPS))


def fit(volume: Path, library: str, seed: int, machines: int, cores: set[int], outputs: tuple[str, ...] = ("model", "metrics")) -> Fit:
    parameters = TrainingParameters.model_validate(
        {
            "model_type": f"{library}_regression",
            "target_column": "y",
            "hyperparameters": HYPERPARAMETERS[library],
            "validation": {"seed": 0},
            "seed": seed,
        }
    )
    source = {"dataset_key": "t.parquet"}
    shared = {"workers": machines, "machines": machines}
    spec = TrainingSpec(name="job", parameters=parameters, sources={"data": source}, outputs=outputs, **shared)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "train.py").write_text(TrainingScriptGenerator().render(spec))
        (folder / "worker.zip").write_bytes(worker_archive())
        environment = {**os.environ, "CLOUDTRAIN_VOLUME": str(volume)}
        done = subprocess.run(
            [sys.executable, "-c", COUNTING],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # this process has no threads
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        metrics, result = (json.loads((folder / name).read_text()) for name in ("outputs/metrics.json", "result.json"))
        lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
        at = {line["step"]: line["seconds"] for line in lines}
        work_s = result["seconds"]["read"] + result["seconds"]["fit"]
        return Fit(metrics["rmse"], at[ROUNDS] - at[1], work_s, int((folder / "traffic").read_text()))


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    libraries = sys.argv[3:] or list(HYPERPARAMETERS)
    cores = sorted(os.sched_getaffinity(0))[:2]
    print(f"{rows:,} rows, {COLUMNS} features, {ROUNDS} rounds, cores {cores}, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as place:
        volume = Path(place)
        file = volume / "t.parquet"
        make_table(file, rows)
        half = volume / "half"
        half.mkdir()
        make_table(half / "t.parquet", rows // 2)
        size = file.stat().st_size
        for library in libraries:
            alone, shared, apart = [], [], []
            for pair in range(pairs):
                alone.append(fit(volume, library, SEEDS[pair % 5], 1, {cores[pair % 2]}))
                shared.append(fit(volume, library, SEEDS[pair % 5], 2, set(cores)))
                with ProcessPoolExecutor(2) as pool:
                    apart.append(list(pool.map(partial(fit, half, library, SEEDS[pair % 5], 1), [{core} for core in cores])))
                shown = ", ".join(
                    f"{of} {getattr(alone[-1], name):.1f} / {getattr(shared[-1], name):.1f} s"
                    for name, of in (("rounds_s", "rounds"), ("work_s", "table to model"))
                )
                print(f"{library}, pair {pair + 1}: {shown}", flush=True)
            for name, of in (("rounds_s", "the rounds"), ("work_s", "table to model")):
                ratio = np.median([getattr(one, name) / getattr(two, name) for one, two in zip(alone, shared, strict=True)])
                print(f"{library}: {of}: one process takes {ratio:.2f} times as long as two")
            most = np.median([one.rounds_s / max(two.rounds_s for two in both) for one, both in zip(alone, apart, strict=True)])
            print(f"{library}: the rounds of all rows take {most:.2f} times as long as those of two halves at once, which share nothing")
            spread = [fit(volume, library, seed, 1, set(cores)).rmse for seed in SEEDS]
            both = np.mean([one.rmse for one in alone]), np.mean([two.rmse for two in shared])
            print(
                f"{library}: rmse {both[0]:.5f} by one, {both[1]:.5f} by two, {abs(both[1] - both[0]):.5f} apart; five seeds of one: "
                f"{min(spread):.5f} to {max(spread):.5f}, {max(spread) - min(spread):.5f} apart"
            )
            with_rows = fit(volume, library, 1, 2, set(cores), ("metrics", "predictions")).traffic
            shares = [traffic / size * 100 for traffic in (np.median([two.traffic for two in shared]), with_rows)]
            print(
                f"{library}: of the table's {size / 1e6:.0f} MB, {shares[0]:.2f} % pass through the job's own process, and "
                f"{shares[1]:.2f} % where the predictions of the validation rows are an output",
                flush=True,
            )


if __name__ == "__main__":
    main()
