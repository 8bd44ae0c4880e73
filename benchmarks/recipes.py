"""The recipes against bare scripts of the same fits: CPU time and memory of whole processes, in turn, as ratios.

For each library and for a csv and a parquet table, a job folder's train.py runs as a pod would run it, and bare_recipes.py in turn with it,
each on one thread and without a GPU. The table has the smallest user and system time of each and the median of their peak memory, their
ratios, and how many bytes a cell of the table takes at the peak, beyond a process that only imports. Exits with 1 where a ratio is above
the limit.

    python benchmarks/recipes.py [--rows 1000000] [--pairs 3] [--task regression] [--limit 1.10]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kedro_cloudtrain import TrainingScriptGenerator
from kedro_cloudtrain.jobs.worker_archive import worker_archive

TARGETS = {"regression": "amount", "binary_classification": "sold"}
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 10, "nthread": 1},
    "lightgbm": {"n_estimators": 10, "num_threads": 1},
    "catboost": {"iterations": 10, "thread_count": 1},
    "keras": {"epochs": 1, "batch_size": 1024},
}
NUMBERS, COLUMNS = 27, 30
FEATURES = [*(f"f{number}" for number in range(NUMBERS)), "count", "city", "kind"]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
BARE = Path(__file__).with_name("bare_recipes.py")
# A process that only imports what a training imports: what is beyond its memory is the table's.
IMPORTS = "import sys, importlib; [importlib.import_module(name) for name in sys.argv[1:]]"


def main() -> int:
    """Run the pairs, print their table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--task", choices=TARGETS, default="regression")
    parser.add_argument("--libraries", nargs="+", choices=HYPERPARAMETERS, default=list(HYPERPARAMETERS))
    parser.add_argument("--limit", type=float, default=1.10, help="the largest ratio that does not fail")
    given = parser.parse_args()
    table = Table("recipe", "table", "bare s", "product s", "CPU ratio", "bare MB", "product MB", "memory ratio", "bytes a cell", "as bare")
    above = []
    with tempfile.TemporaryDirectory() as scratch:
        # In a process of its own: a child begins with its parent's peak.
        subprocess.run([sys.executable, "-c", WRITE, scratch, str(given.rows), str(NUMBERS)], check=True)
        for library in given.libraries:
            idle = measured([sys.executable, "-c", IMPORTS, "pandas", "sklearn.metrics", "pyarrow.parquet", library], scratch)
            for name in ("table.csv", "table.parquet"):
                pairs = [
                    (bare(scratch, library, given.task, name), product(scratch, library, given.task, name)) for _ in range(given.pairs)
                ]
                (bare_s, product_s), (bare_mb, product_mb) = (
                    [choose(pair[side][place] for pair in pairs) for side in (0, 1)] for place, choose in ((0, min), (1, statistics.median))
                )
                cpu, memory = product_s / bare_s, product_mb / bare_mb
                above += [
                    f"{library} {name} {what} {ratio:.2f}" for what, ratio in (("CPU", cpu), ("memory", memory)) if ratio > given.limit
                ]
                a_cell = (product_mb - idle[1]) * 1e6 / (given.rows * COLUMNS)
                score = ", ".join(f"{pairs[0][side][2]:.5f}" for side in (0, 1))
                table.add_row(
                    library,
                    name.partition(".")[2],
                    f"{bare_s:.2f}",
                    f"{product_s:.2f}",
                    f"{cpu:.2f}",
                    f"{bare_mb:.0f}",
                    f"{product_mb:.0f}",
                    f"{memory:.2f}",
                    f"{a_cell:.1f}",
                    score,
                )
    console = Console(width=130, markup=False)
    console.print(f"{given.rows:,} rows, {COLUMNS} columns, {given.task}, {given.pairs} pairs, one thread", highlight=False)
    console.print(table)
    for line in above:
        console.print(f"above {given.limit}: {line}", style="red", highlight=False)
    return 1 if above else 0


WRITE = """
import sys
import numpy as np
import pandas as pd

folder, rows, numbers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(0)
features = random.normal(size=(rows, numbers)).round(5)
frame = pd.DataFrame(features, columns=[f"f{number}" for number in range(numbers)])
frame["count"] = random.integers(0, 1000, rows)
frame["city"] = np.array([f"city {number}" for number in range(200)])[random.integers(0, 200, rows)]
frame["kind"] = np.array([f"kind-{number:02}" for number in range(20)])[random.integers(0, 20, rows)]
signal = features[:, 0] + features[:, 1] * features[:, 2] + frame["count"].to_numpy() / 500
frame["amount"] = (signal + random.normal(scale=0.1, size=rows)).round(5)
frame["sold"] = (signal > 1).astype("int64")
frame.to_csv(folder + "/table.csv", index=False)
frame.to_parquet(folder + "/table.parquet", index=False)
"""


def bare(scratch: str, library: str, task: str, table: str) -> tuple[float, float, float]:
    """Run the bare script, and return its CPU seconds, its peak memory in MB, and its score."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        used = measured([sys.executable, str(BARE), library, task, str(Path(scratch, table)), folder], folder)
        return (*used, score_of(Path(folder, "metrics.json"), task))


def product(scratch: str, library: str, task: str, table: str) -> tuple[float, float, float]:
    """Run the recipe in a job folder, and return its CPU seconds, its peak memory in MB, and its score."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        script = TrainingScriptGenerator().generate_training_script(
            model_id="model",
            model_type=f"{library}_{task}",
            target_column=TARGETS[task],
            feature_columns=FEATURES,
            hyperparameters=HYPERPARAMETERS[library],
            storage_config={"dataset_key": table},
            outputs=["model", "metrics"],
        )
        Path(folder, "train.py").write_text(script)
        Path(folder, "worker.zip").write_bytes(worker_archive())
        used = measured([sys.executable, "train.py"], folder, CLOUDTRAIN_VOLUME=scratch)
        return (*used, score_of(Path(folder, "outputs/metrics.json"), task))


def measured(command: list[str], folder: str, **variables: str) -> tuple[float, float]:
    """Run a command, and return the user and system time of its process in seconds and its peak memory in MB."""
    environment = {**os.environ, **ONE_THREAD, **NO_GPU, **variables}
    with Path(folder, "log.txt").open("w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read()}")
    # In kilobytes on Linux, in bytes on macOS (getrusage(2) of each).
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def score_of(file: Path, task: str) -> float:
    """Return the score in a metrics file."""
    return float(json.loads(file.read_text())["rmse" if task == "regression" else "log_loss"])


if __name__ == "__main__":
    sys.exit(main())
