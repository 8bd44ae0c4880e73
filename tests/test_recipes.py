"""Each recipe, as a machine runs it: a rendered script, a child process, a real library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.archive import worker_archive
from kedro_cloudtrain.jobs import OUTPUT_KINDS, JobSpec
from kedro_cloudtrain.scripts import TrainingScriptGenerator
from kedro_cloudtrain.worker.models import TrainedModel, load_model

LIBRARIES = ["xgboost", "lightgbm", "catboost", "keras"]
SMALL = {
    "xgboost": {"n_estimators": 25},
    "lightgbm": {"n_estimators": 25, "min_data_in_leaf": 3},
    "catboost": {"iterations": 25, "learning_rate": 0.2},
    "keras": {"epochs": 12, "hidden_units": [16], "learning_rate": 0.02, "batch_size": 32},
}
ROWS = 240


def awkward(seed: int = 0) -> pd.DataFrame:
    """A table with everything at once that tables do to those who read them."""
    random = np.random.default_rng(seed)
    signal = random.normal(size=ROWS)
    frame = pd.DataFrame(
        {
            'a "b" [c] <d>, {e}: 1': signal,
            "größe, ✓": np.where(random.random(ROWS) < 0.2, np.nan, random.normal(size=ROWS)),
            "text 'x'": pd.Series(np.where(signal > 0, "hoch", "tief")).where(random.random(ROWS) > 0.1),
            "flag": signal > 0.3,
            "maybe": pd.Series(random.random(ROWS) > 0.5).astype(object).where(random.random(ROWS) > 0.1),
            "when": pd.date_range("2024-01-01", periods=ROWS, freq="h"),
            "iso": pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d"),
            "constant": 1.0,
            "nothing": np.nan,
            "infinite": np.where(random.random(ROWS) < 0.1, np.inf, signal),
        }
    )
    frame["value"] = signal * 3 + 10 + random.normal(size=ROWS) * 0.1
    frame["yes"] = pd.Series(np.where(signal + random.normal(size=ROWS) * 0.2 > 0, "yes", "no"))
    frame["grade"] = np.select([signal < -0.5, signal < 0.5], [3.0, 5.0], 9.0)
    frame.loc[:4, ["value", "yes", "grade"]] = None
    return frame


TARGETS = {"regression": "value", "binary_classification": "yes", "multiclass_classification": "grade"}


class Job:
    """A job's folder, run by hand."""

    def __init__(self, folder: Path, spec: JobSpec, **environment: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.py").write_text(TrainingScriptGenerator().render(spec))
        (folder / "worker.zip").write_bytes(worker_archive())
        self.done = subprocess.run(
            [sys.executable, "train.py"],
            cwd=folder,
            env={**os.environ, "CLOUDTRAIN_VOLUME": str(folder.parent), **environment},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        self.result: dict[str, Any] = json.loads((folder / "result.json").read_text())

    def output(self, kind: str) -> Any:
        path = self.folder / self.result["outputs"][kind]["path"]
        return pd.read_parquet(path) if kind == "predictions" else json.loads(path.read_text())

    @property
    def model(self) -> TrainedModel:
        return load_model(self.folder / "outputs/model")


def spec(library: str, task: str, **more: Any) -> JobSpec:
    said = {
        "name": f"{library}_{task}",
        "model_type": f"{library}_{task}",
        "target_column": TARGETS[task],
        "dataset_key": "table.parquet",
        "hyperparameters": SMALL[library],
        "validation": {"fraction": 0.25, "test_fraction": 0.2, "seed": 1},
        "early_stopping_rounds": 8,
        "outputs": OUTPUT_KINDS,
    }
    return JobSpec.model_validate({**said, **more})


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("task", list(TARGETS))
def test_a_recipe_learns_from_an_awkward_table(library: str, task: str, tmp_path: Path) -> None:
    frame = awkward()
    target = TARGETS[task]
    features = [name for name in frame.columns if name not in TARGETS.values()]
    frame[[*features, target]].to_parquet(tmp_path / "table.parquet")
    job = Job(tmp_path / "job", spec(library, task))
    assert job.done.returncode == 0, job.done.stderr
    assert job.result["state"] == "succeeded"
    assert job.result["rows"] == {"read": ROWS, "train": 129, "validation": 59, "test": 47}
    assert {"read", "fit", "save"} <= set(job.result["seconds"])
    assert f"{library} " in job.done.stdout
    assert "cpu" in job.done.stdout or "cuda" in job.done.stdout

    metrics = job.output("metrics")
    names = {
        "regression": {"rmse", "mse", "mae", "r2", "mape"},
        "binary_classification": {"accuracy", "roc_auc", "pr_auc", "log_loss", "f1", "precision", "recall"},
        "multiclass_classification": {"accuracy", "macro_f1", "log_loss"},
    }[task]
    assert names | {f"test_{name}" for name in names} <= set(metrics)
    if task == "regression":
        assert metrics["r2"] > 0.7
    else:
        assert metrics["accuracy"] > 0.75
        assert np.sum(metrics["confusion_matrix"]) == 59
        assert np.sum(metrics["test_confusion_matrix"]) == 47

    history = pd.DataFrame(job.output("history"))
    assert history["round"].tolist() == list(range(1, len(history) + 1))
    watched = next(name for name in history if name.startswith("validation_"))
    assert any(name.startswith("train_") for name in history)
    lines = (job.folder / "progress.jsonl").read_text().splitlines()
    assert len(lines) == len(history)
    assert json.loads(lines[-1])["metrics"][watched] == history[watched].iloc[-1]

    importance = pd.DataFrame(job.output("importance"))
    assert set(importance["feature"]) == set(features)
    assert importance["importance"].iloc[0] > 0

    predictions = job.output("predictions")
    loaded = job.model
    again = loaded.predict(frame.loc[predictions["row"]])
    if task == "regression":
        np.testing.assert_allclose(again, predictions["prediction"], rtol=1e-4)
        assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean((predictions["prediction"] - predictions["target"]) ** 2)), rel=1e-3)
    else:
        assert again.tolist() == predictions["prediction"].tolist()
        assert metrics["accuracy"] == pytest.approx((predictions["prediction"] == predictions["target"]).mean())
        proba = loaded.predict_proba(frame.loc[predictions["row"]])
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        assert proba.columns.tolist() == loaded.classes
        assert loaded.classes == (["no", "yes"] if task == "binary_classification" else [3, 5, 9])
    strange = frame.head(3).assign(**{"text 'x'": "never seen", "nothing": "words", "flag": None})
    assert len(loaded.predict(strange)) == 3
    with pytest.raises(ValueError, match="no column `flag`"):
        loaded.predict(frame.drop(columns="flag"))
    files = [file.name for file in (job.folder / "outputs/model").iterdir()]
    assert "model.json" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_same_seed_gives_the_same_predictions_and_the_best_round_is_scored(library: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"x": random.normal(size=150), "c": random.choice(list("abc"), 150), "label": random.integers(0, 2, 150) > 0})
    frame.to_csv(tmp_path / "table.csv", index=False)
    asked = {
        "dataset_key": "table.csv",
        "target_column": "label",
        "validation": {"fraction": 0.3},
        "early_stopping_rounds": 5,
        "outputs": ["model", "metrics", "history", "predictions"],
    }
    jobs = [Job(tmp_path / f"job{number}", spec(library, "binary_classification", **asked)) for number in range(2)]
    first, second = (job.output("predictions") for job in jobs)
    pd.testing.assert_frame_equal(first, second)
    # Noise cannot be learned: the loss is best early, and that round is what is scored.
    history = pd.DataFrame(jobs[0].output("history"))
    watched = {"xgboost": "validation_logloss", "lightgbm": "validation_binary_logloss", "catboost": "validation_Logloss"}
    loss = history[watched.get(library, "validation_loss")]
    assert loss.idxmin() < len(loss) - 1
    assert jobs[0].output("metrics")["log_loss"] == pytest.approx(loss.min(), rel=1e-3)
    assert jobs[0].model.classes == [False, True]
    assert "importance" not in jobs[0].result["outputs"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_column_of_integers_and_classes_that_begin_anywhere(library: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"only": np.arange(90) % 30, "k": np.arange(90) % 30 // 10 * 4 + 7})
    frame.to_csv(tmp_path / "table.csv", index=False)
    asked = {
        "dataset_key": "table.csv",
        "target_column": "k",
        "early_stopping_rounds": None,
        "validation": {},
        "hyperparameters": {**SMALL[library], **({"epochs": 60} if library == "keras" else {})},
        "outputs": ["model"],
    }
    job = Job(tmp_path / "job", spec(library, "multiclass_classification", **asked))
    assert job.done.returncode == 0, job.done.stderr
    assert list(job.result["outputs"]) == ["model"]
    assert set(job.model.predict(frame).tolist()) <= {7, 11, 15}
    assert (job.model.predict(frame) == frame["k"]).mean() > 0.6


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"hyperparameters": {"n_estimator": 3}},
            "`hyperparameters.n_estimator` is not a hyperparameter of xgboost. Did you mean `n_estimators`",
        ),
        ({"target_column": "valu"}, "no column `valu`. Closest: value"),
        ({"feature_columns": ["flagg"]}, "no column `flagg`. Closest: flag"),
        ({"target_column": "text"}, "a regression wants numbers"),
        ({"model_type": "xgboost_binary_classification", "target_column": "three"}, "Take multiclass_classification"),
        ({"model_type": "xgboost_multiclass_classification", "target_column": "one"}, "one class only"),
        ({"target_column": "empty"}, "No row of"),
        ({"validation": {"column": "text"}}, "It may say train, validation or test"),
        ({"validation": {"time_column": "text"}}, "which is no time"),
        ({"dataset_key": "other.csv"}, "is not there"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_without_a_traceback(said: dict[str, Any], message: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"flag": [True, False] * 20, "text": list("ab") * 20, "value": np.arange(40.0), "one": 1, "empty": np.nan})
    frame["three"] = np.arange(40) % 3
    frame.to_csv(tmp_path / "table.csv", index=False)
    asked = {"dataset_key": "table.csv", "feature_columns": ["flag"], "validation": {}, **said}
    job = Job(tmp_path / "job", spec("xgboost", "regression", **asked))
    assert job.done.returncode == 1
    assert job.result["state"] == "failed"
    assert job.result["error"]["input_error"]
    assert message in job.result["error"]["message"]
    assert message in job.done.stderr
    assert "Traceback" not in job.done.stderr


def test_rows_can_be_held_out_by_a_column_by_time_and_by_another_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0), "part": ["train"] * 40 + ["val"] * 12 + ["test"] * 8})
    frame["t"] = pd.date_range("2026-01-01", periods=60)[::-1]
    frame.to_csv(tmp_path / "table.csv", index=False)
    frame.head(15).to_csv(tmp_path / "held.csv", index=False)
    base = {"dataset_key": "table.csv", "target_column": "y", "feature_columns": ["x"], "outputs": ["predictions"]}
    by_column = Job(tmp_path / "a", spec("lightgbm", "regression", **base, validation={"column": "part"}))
    assert by_column.output("predictions")["row"].tolist() == list(range(40, 52))
    by_time = Job(tmp_path / "b", spec("lightgbm", "regression", **base, validation={"time_column": "t", "fraction": 0.25}))
    assert sorted(by_time.output("predictions")["row"]) == list(range(15))
    table = {"validation": {}, "validation_source": {"dataset_key": "held.csv", "file_format": "csv"}}
    by_table = Job(tmp_path / "c", spec("lightgbm", "regression", **base, **table))
    assert by_table.result["rows"] == {"read": 75, "train": 60, "validation": 15, "test": 0}


def test_an_exception_in_the_fit_is_written_with_its_traceback_and_stage(tmp_path: Path) -> None:
    pd.DataFrame({"x": np.arange(40.0), "value": np.arange(40.0)}).to_csv(tmp_path / "table.csv", index=False)
    asked = {"dataset_key": "table.csv", "hyperparameters": {"max_depth": -3}}
    job = Job(tmp_path / "job", spec("xgboost", "regression", **asked))
    assert job.done.returncode == 1
    error = job.result["error"]
    assert (error["type"], error["stage"], error["input_error"]) == ("XGBoostError", "fit", False)
    assert "train.py" in error["traceback"]
    assert not job.result["outputs"]
