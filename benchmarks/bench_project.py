"""The Kedro project that the benchmarks run, with a single XGBoost node."""

from pathlib import Path

import numpy as np
import pandas as pd


def make_table(file: Path, rows: int, columns: int) -> Path:
    """Write a table with the given numbers of rows and columns; the last column is `target`."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{number}": random.normal(size=rows).round(5) for number in range(columns - 1)})
    frame["target"] = (frame["x0"] * 3 + frame["x1"] ** 2 + random.normal(size=rows)).round(5)
    frame.to_csv(file, index=False) if file.suffix == ".csv" else frame.to_parquet(file, index=False)
    return file


def make_project(folder: Path, key: str, rounds: int) -> Path:
    """Write the project, and return its folder."""
    files = {
        "pyproject.toml": (
            '[tool.kedro]\npackage_name = "bench"\nproject_name = "bench"\nkedro_init_version = "1.0.0"\nsource_dir = "src"\n'
        ),
        "src/bench/__init__.py": "",
        "src/bench/settings.py": "",
        "src/bench/pipeline_registry.py": (
            "from kedro.pipeline import Pipeline\nfrom kedro_cloudtrain import training_node\n\n\ndef register_pipelines():\n"
            '    return {"__default__": Pipeline([training_node("table", "params:model", model="model", metrics="metrics", '
            'history="history", name="train")])}\n'
        ),
        "conf/base/catalog.yml": (
            f"table: {{type: kedro_cloudtrain.CloudDataset, dataset_key: {key}, volume: {{path: data/volume}}}}\n"
            "model: {type: kedro_cloudtrain.ModelDataset, filepath: model}\n"
            "metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: metrics.json}\n"
            "history: {type: kedro_cloudtrain.TrainingHistoryDataset, filepath: history.json}\n"
        ),
        "conf/base/parameters.yml": (
            "model: {model_type: xgboost_regression, target_column: target, validation: {fraction: 0.2, seed: 42}, "
            f"hyperparameters: {{n_estimators: {rounds}, max_depth: 6}}}}\n"
        ),
        "conf/local/.gitkeep": "",
        ".telemetry": "consent: false\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "data/volume").mkdir(parents=True)
    return folder
