"""The Keras recipes on TensorFlow, in a process that has it: what it fits, JAX predicts the same by, and the other way about."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.environments import make_environment
from support.recipe_job import TASKS, Job

# Runs the scripts, and predicts with a model that JAX has fitted.
pytestmark = pytest.mark.no_cover  # other tests go through the same lines
SCRIPT = """
import runpy, sys
*scripts, model, table, predicted = sys.argv[1:]
for script in scripts:
    runpy.run_path(script, run_name="__main__")
import keras, numpy, pandas
from cloudtrain_worker import load_model
assert keras.backend.backend() == "tensorflow"
numpy.save(predicted, load_model(model).predict(pandas.read_parquet(table)))
"""
FEW = {"epochs": 2, "hidden_units": [4], "batch_size": 32}


def frame(rows: int = 90) -> pd.DataFrame:
    random = np.random.default_rng(6)
    table = pd.DataFrame({"a": random.normal(size=rows), "b": random.normal(size=rows), "c": random.choice(["x", "y", None], rows)})
    table.loc[::7, "b"] = np.nan
    table["regression"] = 3 * table["a"] + random.normal(scale=0.5, size=rows)
    table["binary_classification"] = np.where(table["a"] > 0, "yes", "no")
    table["multiclass_classification"] = pd.qcut(table["a"], 3, labels=["low", "mid", "high"]).astype(object)
    return table


def test_tensorflow_fits_each_recipe_and_either_backend_predicts_by_the_others_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = frame()
    jobs = {task: Job(tmp_path / task, tmp_path / "volume", monkeypatch) for task in TASKS}
    scripts = []
    for task, job in jobs.items():
        key = job.table(f"{task}.parquet", table[["a", "b", "c", task]])
        scripts.append(job.write(f"keras_{task}", key, task, hyperparameters=FEW, backend="tensorflow"))
    fitted_here = Job(tmp_path / "jax", tmp_path / "volume", monkeypatch)
    assert fitted_here.run_here("keras_regression", "regression.parquet", "regression", hyperparameters=FEW)["versions"]["jax"]

    # In this environment itself Keras would import it with every model that it saves, whatever it computes with.
    name = "tensorflow-cpu" if platform.machine() == "x86_64" else "tensorflow"  # which has no CUDA elsewhere
    here = [f"{each}=={importlib.metadata.version(each)}" for each in ("keras", "numpy")]
    python = make_environment(tmp_path / "environment", f"{name}>=2.18", *here)
    predicted = tmp_path / "predicted.npy"
    arguments = [*scripts, fitted_here.folder / "outputs/model", tmp_path / "volume/regression.parquet", predicted]
    environment = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "PYTHONDONTWRITEBYTECODE")}
    environment |= {"CLOUDTRAIN_VOLUME": str(tmp_path / "volume")}
    done = subprocess.run([python, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    np.testing.assert_allclose(np.load(predicted), fitted_here.model.predict(table), rtol=1e-5, atol=1e-5)
    for task, job in jobs.items():
        assert job.result["state"] == "succeeded"
        assert job.result["versions"]["tensorflow"][:2] == "2."
        assert len(job.output("history")) == FEW["epochs"]
        theirs = job.predictions
        held = table.iloc[theirs["row"]]
        if task == "regression":
            np.testing.assert_allclose(job.model.predict(held), theirs["prediction"], rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_allclose(job.model.predict_proba(held), theirs.filter(like="probability"), atol=1e-5)
