"""The Keras recipes on TensorFlow, in a process that has it: what it fits, JAX predicts the same by, and the other way about."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
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


def uv(*arguments: str | Path, text: str) -> str:
    done = subprocess.run([sys.executable, "-m", "uv", "-q", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def add_tensorflow(folder: Path) -> None:
    """Install TensorFlow, and what it needs and this environment lacks, into a folder.

    In this environment itself Keras would import it with every model that it saves, whatever it computes with.
    """
    here = {name: importlib.metadata.version(name) for name in ("keras", "numpy")}
    name = "tensorflow-cpu" if platform.machine() == "x86_64" else "tensorflow"  # which has no CUDA elsewhere
    wanted = "\n".join([f"{name}>=2.18", *(f"{name}=={release}" for name, release in here.items())])
    lines = uv("pip", "compile", "--no-header", "--no-annotate", "-", text=wanted).splitlines()
    installed = {each.metadata["Name"].lower().replace("_", "-") for each in importlib.metadata.distributions()}
    missing = [line for line in lines if Requirement(line).name not in installed]
    uv("pip", "install", "--no-deps", "--target", folder, "-r", "-", text="\n".join(missing))


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

    add_tensorflow(tmp_path / "packages")
    predicted = tmp_path / "predicted.npy"
    arguments = [*scripts, fitted_here.folder / "outputs/model", tmp_path / "volume/regression.parquet", predicted]
    environment = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "PYTHONDONTWRITEBYTECODE")}
    environment |= {"PYTHONPATH": str(tmp_path / "packages"), "CLOUDTRAIN_VOLUME": str(tmp_path / "volume")}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)
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
