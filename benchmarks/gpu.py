"""The twelve recipes on a machine with an NVIDIA GPU: does each library use it, and what is it worth?

Every recipe is rendered and run as its pod would run it, once on the GPU and once on the CPU of the same machine. The table has the device
that the job proved, the seconds of its fit, how busy the GPU was, the rows a second, and the speed-up over the CPU. Then the checks of the
GPU path: what is installed, and that a GPU which is hidden ends the job. Exits with 1 where a library that should use the GPU does not.

    python benchmarks/gpu.py [--rows 1000000] [--columns 30]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from kedro_cloudtrain import TrainingScriptGenerator
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from kedro_cloudtrain.worker.gpus import find_gpu

TASKS = ("regression", "binary_classification", "multiclass_classification")
ROUNDS: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 100, "max_depth": 8},
    "lightgbm": {"n_estimators": 100},
    "catboost": {"iterations": 100, "depth": 8},
    "keras": {"epochs": 30, "batch_size": 4096},
}
ON_CPU: dict[str, dict[str, Any]] = {"xgboost": {"device": "cpu"}, "catboost": {"task_type": "CPU"}, "lightgbm": {}, "keras": {}}
USES_GPU = ("xgboost", "catboost", "keras")


def main() -> int:
    """Run the recipes and the checks, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    given = parser.parse_args()
    gpu, console = find_gpu(), Console(width=130, markup=False)
    if gpu is None:
        console.print("This machine has no NVIDIA GPU: nvidia-smi shows none.")
        return 1
    console.print(f"{gpu}; {given.rows:,} rows, {given.columns} columns", highlight=False)
    table = Table("recipe", "device", "fit s", "GPU busy", "rows/s", "CPU fit s", "speed-up")
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        write_table(Path(scratch), given.rows, given.columns)
        for library in ROUNDS:
            for task in TASKS:
                here, there = (run(Path(scratch), library, task, gpu=on_gpu) for on_gpu in (True, False))
                table.add_row(f"{library}_{task}", *cells(here, there))
                problem = here["error"]["message"] if here["error"] else "" if here["device"] == "cuda" else f"ran on {here['device']}"
                if problem and library in USES_GPU:
                    failures.append(f"{library}_{task}: {problem}")
                if there["error"]:
                    failures.append(f"{library}_{task} on the CPU: {there['error']['message']}")
        console.print(table)
        console.print("installed: " + ", ".join(installed()), highlight=False)
        for library in USES_GPU:
            hidden = run(Path(scratch), library, "regression", gpu=True, CUDA_VISIBLE_DEVICES="-1")
            refused = bool(hidden["error"]) and "hides every GPU" in hidden["error"]["message"]
            console.print(f"{library}, its GPU hidden: {'refused' if refused else hidden['state']}", highlight=False)
            failures += [] if refused else [f"{library} trained without its GPU, and said {hidden['state']}"]
    for failure in failures:
        console.print(failure, style="red", highlight=False)
    return 1 if failures else 0


def write_table(folder: Path, rows: int, columns: int) -> None:
    """Write a table whose targets depend on its features."""
    random = np.random.default_rng(0)
    features = random.normal(size=(rows, columns)).astype("float32")
    frame = pd.DataFrame(features, columns=[f"f{number}" for number in range(columns)])
    signal = features[:, 0] + features[:, 1] * features[:, 2]
    frame["regression"] = signal + random.normal(scale=0.1, size=rows)
    frame["binary_classification"] = (signal > 0).astype("int8")
    frame["multiclass_classification"] = np.digitize(signal, (-1.0, 0.0, 1.0)).astype("int8")
    frame.to_parquet(folder / "table.parquet")


def run(scratch: Path, library: str, task: str, *, gpu: bool, **variables: str) -> dict[str, Any]:
    """Run a recipe in a job folder, and return its result."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        script = TrainingScriptGenerator().generate_training_script(
            model_id=f"{library}_{task}",
            model_type=f"{library}_{task}",
            target_column=task,
            feature_columns=[f"f{number}" for number in range(columns_of(scratch))],
            hyperparameters=ROUNDS[library] | ({} if gpu else ON_CPU[library]),
            storage_config={"dataset_key": "table.parquet"},
            outputs=["model", "metrics"],
        )
        Path(folder, "train.py").write_text(script)
        Path(folder, "worker.zip").write_bytes(worker_archive())
        environment = {**os.environ, "CLOUDTRAIN_VOLUME": str(scratch), **variables}
        # As on a pod that was rented for its GPU: a library that does not open it ends the job.
        # The trees' libraries are told by a hyperparameter; XGBoost 3.2 refuses several classes on a CPU whose GPU is hidden.
        hidden = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"} if library == "keras" else {}
        environment |= {"CLOUDTRAIN_GPU": find_gpu_name()} if gpu else hidden
        done = subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        result = Path(folder, "result.json")
        if not result.is_file():
            return {"state": "failed", "error": {"message": done.stderr[-300:]}, "device": "", "device_name": "", "seconds": {}}
        return dict(json.loads(result.read_text()))


def find_gpu_name() -> str:
    """Return the GPU's name."""
    gpu = find_gpu()
    return gpu.name if gpu is not None else ""


def columns_of(scratch: Path) -> int:
    """Return how many features the table has."""
    import pyarrow.parquet as pq

    return sum(name.startswith("f") for name in pq.read_schema(scratch / "table.parquet").names)


def cells(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Return the cells of a recipe: on the GPU, and on the CPU."""
    fit_s, cpu_s = (result["seconds"].get("fit") for result in (here, there))
    busy = (here.get("gpu") or {}).get("use_percent")
    return [
        f"{here['device']} ({here['device_name']})" if not here["error"] else "failed",
        f"{fit_s:.1f}" if fit_s else "–",
        f"{busy:.0f} %" if busy is not None else "–",
        f"{here['rows_per_s']:,.0f}" if here.get("rows_per_s") else "–",
        f"{cpu_s:.1f}" if cpu_s else "–",
        f"{cpu_s / fit_s:.1f}" if fit_s and cpu_s else "–",
    ]


def installed() -> list[str]:
    """Return the libraries' distributions, as they are installed here, with the CUDA packages beside them."""
    from importlib import metadata

    names = sorted({str(distribution.metadata["Name"]) for distribution in metadata.distributions()})
    wanted = ("xgboost", "lightgbm", "catboost", "keras", "jax", "tensorflow", "torch", "nvidia-nccl", "nvidia-cuda-runtime")
    return [f"{name} {metadata.version(name)}" for name in names if name.lower().startswith(wanted)]


if __name__ == "__main__":
    sys.exit(main())
