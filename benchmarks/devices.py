"""Are the processes that share a fit as good as one? The same table and seeds, by one process and by two, and what the sharing costs.

    python benchmarks/devices.py [rows] [first seed] [last seed]

For each library and task: the metric of one process over some seeds of the fit, five unless others are named, and that of two over the
same. The split is the same for all.
A further seed falls outside five others' range once in three times: so the mean of the five is to lie within the range of one process.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.spec import TrainingSpec
from kedro_cloudtrain.jobs.worker_archive import worker_archive

# With sampled rows and columns, so that a seed matters.
HYPERPARAMETERS = {
    "xgboost": {"n_estimators": 300, "max_depth": 5, "learning_rate": 0.1, "subsample": 0.7, "colsample_bytree": 0.7},
    "lightgbm": {
        "n_estimators": 300,
        "num_leaves": 31,
        "learning_rate": 0.1,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "feature_fraction": 0.7,
    },
}
METRICS = {"regression": ("y", "rmse"), "binary_classification": ("yes", "log_loss"), "multiclass_classification": ("size", "log_loss")}


def table(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{number}": random.normal(size=rows) for number in range(10)})
    frame["kind"] = random.choice(list("abcdefgh"), rows)
    effect = frame["kind"].map({kind: value for value, kind in enumerate("abcdefgh")})
    signal = 3 * frame["x0"] - frame["x1"] ** 2 + np.sin(3 * frame["x2"]) * frame["x3"] + 0.4 * effect
    frame["y"] = signal + random.normal(scale=1.0, size=rows)
    frame["yes"] = np.where(frame["y"] > frame["y"].median(), "yes", "no")
    frame["size"] = pd.qcut(frame["y"], 3, labels=["small", "middle", "large"]).astype(str)
    return frame


def fit(volume: Path, library: str, task: str, seed: int, workers: int) -> tuple[float, int, float]:
    """Return the metric, the rounds, and the seconds of the stage `fit`."""
    target, metric = METRICS[task]
    features = [name for name in pd.read_parquet(volume / "t.parquet").columns if name not in ("y", "yes", "size")]
    parameters = TrainingParameters.model_validate(
        {
            "model_type": f"{library}_{task}",
            "target_column": target,
            "feature_columns": features,
            "hyperparameters": HYPERPARAMETERS[library],
            "early_stopping_rounds": 20,
            "validation": {"seed": 0},
            "seed": seed,
        }
    )
    spec = TrainingSpec(
        name="job", parameters=parameters, sources={"data": {"dataset_key": "t.parquet"}}, outputs=("metrics", "history"), workers=workers
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "train.py").write_text(TrainingScriptGenerator().render(spec))
        (folder / "worker.zip").write_bytes(worker_archive())
        environment = {**os.environ, "CLOUDTRAIN_VOLUME": str(volume)}
        done = subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        metrics, history, result = (
            json.loads((folder / name).read_text()) for name in ("outputs/metrics.json", "outputs/history.json", "result.json")
        )
    return metrics[metric], len(history), result["seconds"]["fit"]


def main() -> None:
    rows, first, last = (int(given or default) for given, default in itertools.zip_longest(sys.argv[1:4], (60_000, 1, 5)))
    print(f"{rows:,} rows, 11 features, seeds {first} to {last}, {os.cpu_count()} cores\n")
    print("| library | task | metric | one process: range | mean | two: range | mean | within | difference | s of fit |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        volume = Path(place)
        table(rows).to_parquet(volume / "t.parquet")
        for library in HYPERPARAMETERS:
            for task, (_, metric) in METRICS.items():
                alone, shared = ([fit(volume, library, task, seed, workers) for seed in range(first, last + 1)] for workers in (1, 2))
                ranges = [[value for value, _, _ in fits] for fits in (alone, shared)]
                means = [np.mean(values) for values in ranges]
                within = "better" if means[1] < min(ranges[0]) else "yes" if means[1] <= max(ranges[0]) else "no"
                shown = " | ".join(f"{min(each):.5f} to {max(each):.5f} | {np.mean(each):.5f}" for each in ranges)
                seconds = " / ".join(f"{np.median([each[2] for each in fits]):.1f}" for fits in (alone, shared))
                print(
                    f"| {library} | {task} | {metric} | {shown} | {within} | {(means[1] / means[0] - 1) * 100:+.2f} % | {seconds} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
