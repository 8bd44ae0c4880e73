"""Cross-validation: each row is held out once, and the model has seen all rows, or is that of all folds together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from support.kedro_project import Project, edit, run
from support.recipe_job import FEW_ROUNDS, RECIPES, awkward_table

from kedro_cloudtrain import ModelDataset
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.prediction import predict
from kedro_cloudtrain.runs.job_view import JobView
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.models import TrainedModel, load_model

if TYPE_CHECKING:
    from pathlib import Path

    from support.recipe_job import Job

TARGETS = {"regression": "räte ($)", "binary_classification": "is it?", "multiclass_classification": "class {{ }}"}
# Keras builds a network for each fit: one task stands for all three.
CASES = [recipe for recipe in RECIPES if not recipe.startswith("keras")] + ["keras_multiclass_classification"]
# Lost in the middle of the second fold, and in the fit of all rows.
LOST = """
import os, runpy, signal, sys
sys.path.insert(0, "worker.zip")
from cloudtrain_worker.progress import Progress
record, last, done = Progress.round, int(sys.argv[1]), 0
def lose(self, metrics):
    global done
    record(self, metrics)
    done += 1
    if done >= last:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.round = lose
runpy.run_path("train.py", run_name="__main__")
"""


def numbers(rows: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(6)
    frame = pd.DataFrame({name: random.normal(size=rows) for name in "abc"})
    frame["y"] = 3 * frame["a"] - frame["b"] ** 2 + random.normal(scale=1.0, size=rows)
    frame["kind"] = np.where(frame["y"] > 0, "warm", "cold")
    return frame


@pytest.mark.no_cover
@pytest.mark.parametrize("recipe", CASES)
def test_a_recipe_holds_each_row_out_once_and_fits_all_of_them(job: Job, recipe: str) -> None:
    library, _, task = recipe.partition("_")
    target, table = TARGETS[task], awkward_table()
    frame = table.drop(columns=[name for name in TARGETS.values() if name != target])
    result = job.run_here(recipe, job.table("t.parquet", frame), target, validation={"folds": 3, "seed": 2}, early_stopping_rounds=3)
    assert result["state"] == "succeeded", result["error"]
    with_target = np.flatnonzero(table[target].notna())
    predictions = job.predictions
    assert predictions["row"].tolist() == with_target.tolist()
    assert sorted(predictions["fold"].unique()) == [1, 2, 3]
    metrics = job.output("metrics")
    assert len(metrics["folds"]) == 3
    name = "rmse" if task == "regression" else "log_loss"
    scores = [fold[name] for fold in metrics["folds"]]
    assert metrics[name] == pytest.approx(np.mean(scores))
    assert metrics[f"{name}_std"] == pytest.approx(np.std(scores))
    if task != "regression":
        assert np.sum(metrics["confusion_matrix"]) == len(with_target)
        right = (predictions["prediction"] == predictions["target"]).groupby(predictions["fold"]).mean()
        assert metrics["accuracy"] == pytest.approx(right.mean())
    assert (result["rows"]["train"], result["rows"]["validation"]) == (len(with_target), len(with_target))
    assert result["rows_per_s"] > 0
    rounds = round(np.mean([fold["rounds"] for fold in metrics["folds"]]))
    assert job.model.description["rounds"] == rounds
    assert [row["round"] for row in job.output("history")] == list(range(1, len(job.output("history")) + 1))
    assert len(job.model.predict(frame)) == len(frame)
    # A line of the progress never goes back, and counts the rounds of all fits.
    lines = [json.loads(line) for line in (job.folder / "progress.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == sorted(steps)
    most = FEW_ROUNDS[library].get("n_estimators") or FEW_ROUNDS[library].get("iterations") or FEW_ROUNDS[library]["epochs"]
    assert {line["of"] for line in lines} == {4 * most}
    assert lines[-1]["step"] == 3 * most + rounds


def by_hand(frame: pd.DataFrame, library: str) -> list[float]:
    """Return the folds' scores as one writes them with scikit-learn and the library alone."""
    features, scores = frame[["a", "b", "c"]].to_numpy(np.float32), []
    is_number = library == "xgboost"
    truth = frame["y"].to_numpy(np.float32) if is_number else (frame["kind"] == "warm").to_numpy().astype(int)
    splitter = KFold(4, shuffle=True, random_state=7) if is_number else StratifiedKFold(4, shuffle=True, random_state=7)
    for kept, held in splitter.split(features, truth):
        if is_number:
            params = {"objective": "reg:squarederror", "max_depth": 3, "n_jobs": 1, "seed": 42}
            booster = xgb.train(params, xgb.QuantileDMatrix(features[kept], truth[kept]), 20)
            scores.append(float(mean_squared_error(truth[held], booster.predict(xgb.DMatrix(features[held])))) ** 0.5)
        else:
            params = {"objective": "binary", "num_leaves": 7, "num_threads": 1, "seed": 42, "deterministic": True, "force_row_wise": True}
            booster = lgb.train({**params, "verbosity": -1}, lgb.Dataset(features[kept], truth[kept]), 20)
            scores.append(float(log_loss(truth[held], booster.predict(features[held]))))
    return scores


@pytest.mark.parametrize(
    ("recipe", "target", "hyperparameters", "score"),
    [
        ("xgboost_regression", "y", {"n_estimators": 20, "max_depth": 3, "n_jobs": 1}, "rmse"),
        ("lightgbm_binary_classification", "kind", {"n_estimators": 20, "num_leaves": 7, "num_threads": 1}, "log_loss"),
    ],
)
def test_the_scores_are_those_of_scikit_learns_folds(
    job: Job, recipe: str, target: str, hyperparameters: dict[str, Any], score: str
) -> None:
    key, columns = job.table("t.csv", numbers()), ("a", "b", "c")
    asked = {"hyperparameters": hyperparameters, "feature_columns": columns, "validation": {"folds": 4, "seed": 7}}
    job.run_here(recipe, key, target, **asked)
    scores = [fold[score] for fold in job.output("metrics")["folds"]]
    assert scores == pytest.approx(by_hand(numbers(), recipe.partition("_")[0]), rel=1e-6)


def test_test_rows_are_in_no_fold_and_are_judged_by_the_model_of_all_others(job: Job) -> None:
    key = job.table("t.csv", numbers())
    result = job.run_here("xgboost_regression", key, "y", feature_columns=("a", "b", "c"), validation={"folds": 3, "test_fraction": 0.25})
    assert result["rows"] == {"read": 240, "train": 180, "validation": 180, "test": 60}
    assert len(job.predictions) == 180
    assert job.output("metrics")["test_rmse"] > 0


@pytest.mark.parametrize("library", ["xgboost", "keras"])
def test_a_lost_machine_costs_no_fold_that_was_done(job: Job, another_job: Job, library: str) -> None:
    hyperparameters = {"xgboost": {"n_estimators": 10, "max_depth": 3, "n_jobs": 1}, "keras": {"epochs": 3, "hidden_units": [4]}}[library]
    asked = {"hyperparameters": hyperparameters, "feature_columns": ("a", "b"), "validation": {"folds": 3}, "seed": 3}
    recipe, every = f"{library}_regression", {"CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS": "2"}
    another_job.run_here(recipe, another_job.table("t.csv", numbers()), "y", **asked)
    script = job.write(recipe, job.table("t.csv", numbers()), "y", **asked)
    of_a_fit = 10 if library == "xgboost" else 3
    # In the second fold, then in the fit of all rows.
    for rounds in (of_a_fit + of_a_fit // 2 + 1, 2 * of_a_fit + 2):
        job._process(["-c", LOST, str(rounds)], job.folder, every)
        assert job.exit_code == -9, job.log
    job.run_again(script, **every)
    assert job.exit_code == 0, job.log
    assert "3 of 3 folds were done before" in job.log
    assert "fold 1 of 3" not in job.log
    assert not (job.folder / "checkpoint").exists()
    assert job.output("metrics") == another_job.output("metrics")
    assert job.output("history") == another_job.output("history")
    pd.testing.assert_frame_equal(job.predictions, another_job.predictions)
    frame = numbers()
    np.testing.assert_array_equal(job.model.predict(frame), another_job.model.predict(frame))


def test_a_kept_fold_that_is_broken_is_done_again(job: Job, another_job: Job) -> None:
    asked = {"feature_columns": ("a", "b"), "validation": {"folds": 2}}
    another_job.run_here("xgboost_regression", another_job.table("t.csv", numbers()), "y", **asked)
    script = job.write("xgboost_regression", job.table("t.csv", numbers()), "y", **asked)
    job._process(["-c", LOST, "9"], job.folder, {})
    (kept,) = (job.folder / "checkpoint/folds").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    job.run_again(script)
    assert "fold 1 of 2" in job.log
    assert job.output("metrics") == another_job.output("metrics")


def test_a_project_has_the_folds_in_its_catalog_its_records_and_its_page(project: Project) -> None:
    edit(project, "conf/base/parameters.yml", "{fraction: 0.2, seed: 7}", "{folds: 3, seed: 7}")
    registry = (project.path / "src/shop/pipeline_registry.py").read_text()
    project.write("src/shop/pipeline_registry.py", registry.replace("tags=[", 'predictions="held_out", tags=[', 1))
    catalog = (project.path / "conf/base/catalog.yml").read_text()
    project.write("conf/base/catalog.yml", f"{catalog}held_out: {{type: pandas.CSVDataset, filepath: data/held_out.csv}}\n")
    planned = project.kedro("cloudtrain", "plan")
    assert planned.returncode == 0, planned.stdout
    output = run(project, "--tags=gpu")
    assert "done after 48 of 48 rounds" in output
    metrics = json.loads((project.path / "data/08_reporting/mass.json").read_text())
    assert [fold["rows"] for fold in metrics["folds"]] == [114, 114, 114]
    assert metrics["rmse_std"] > 0
    assert len(pd.read_csv(project.path / "data/held_out.csv")) == 342
    (record,) = (project.path / ".cloudtrain/runs").glob("*.json")
    assert json.loads(record.read_text())["nodes"][0]["scores"]["rmse"] == metrics["rmse"]
    # The page's curve is the mean of the folds, and not the rounds of four fits behind one another.
    (job,) = project.jobs
    curve = JobView.of(JobFolder(job)).curve
    assert curve is not None
    assert list(curve.rounds) == list(range(1, 13))
    assert set(curve.metrics) == {"train_rmse", "validation_rmse"}
    # The same again, by Kedro's own runner.
    assert project.kedro("run", "--tags=gpu").returncode == 0
    again = json.loads((project.path / "data/08_reporting/mass.json").read_text())
    assert again["rmse"] == pytest.approx(metrics["rmse"])
    # A template of one's own that holds out nothing in turn is named before anything runs.
    project.write("templates/xgboost_regression.py.j2", "print('{{ target_column }}')\n")
    refused = project.kedro("cloudtrain", "plan")
    assert refused.returncode == 1
    assert "makes no use of `validation.folds`" in " ".join(refused.stdout.split())


# ------------------------------------------------------------------ the folds' models are kept

KEPT = {"folds": 3, "keep": "folds", "seed": 2}


def mean_of(folder: Path, frame: pd.DataFrame) -> Any:
    """Return the mean of what the folds' own models predict: numbers, or probabilities."""
    models = [TrainedModel(folder / f"fold-{number}") for number in (1, 2, 3)]
    each = [model.predict(frame) if model.task == "regression" else model.predict_proba(frame).to_numpy() for model in models]
    return np.mean(each, axis=0)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "recipe", ["xgboost_regression", "lightgbm_binary_classification", "catboost_multiclass_classification", "keras_binary_classification"]
)
def test_the_model_is_the_mean_of_the_folds(job: Job, recipe: str, tmp_path: Path) -> None:
    library, _, task = recipe.partition("_")
    target, table = TARGETS[task], awkward_table()
    frame = table.drop(columns=[name for name in TARGETS.values() if name != target])
    result = job.run_here(recipe, job.table("t.parquet", frame), target, validation={**KEPT, "test_fraction": 0.2})
    assert result["state"] == "succeeded", result["error"]
    dataset = ModelDataset(filepath=str(tmp_path / "model"))
    dataset.save(job.model)
    model = dataset.load()
    assert (model.library, model.task, model.target) == (library, task, target)
    expected = mean_of(job.model.folder, frame)
    predictions = model.predict(frame) if task == "regression" else model.predict_proba(frame).to_numpy()
    np.testing.assert_allclose(predictions, expected, rtol=1e-5)
    if task != "regression":
        assert list(model.predict(frame)) == [model.classes[index] for index in expected.argmax(axis=1)]
    if library == "lightgbm":  # a prediction node's job takes it as any other model
        np.testing.assert_array_equal(predict(frame, model)["prediction"], model.predict(frame))
    # No fold's model has a row that it is judged by, and no fit is on all rows.
    held = job.predictions
    assert sorted(held["fold"].unique()) == [1, 2, 3]
    first = held[held["fold"] == 1]
    np.testing.assert_array_equal(TrainedModel(job.model.folder / "fold-1").predict(frame.iloc[first["row"]]), first["prediction"])
    metrics = job.output("metrics")
    assert len(metrics["folds"]) == 3
    assert ("test_rmse" if task == "regression" else "test_log_loss") in metrics
    importance = {row["feature"]: row["importance"] for row in job.output("importance")}
    assert sorted(importance) == sorted(model.feature_columns)
    assert list(importance.values()) == sorted(importance.values(), reverse=True)
    lines = [json.loads(line) for line in (job.folder / "progress.jsonl").read_text().splitlines()]
    most = FEW_ROUNDS[library].get("n_estimators") or FEW_ROUNDS[library].get("iterations") or FEW_ROUNDS[library]["epochs"]
    assert {line["of"] for line in lines} == {3 * most}
    assert result["rows_per_s"] > 0


def test_a_lost_machine_costs_no_model_of_a_fold_and_a_broken_folder_is_none(job: Job, another_job: Job) -> None:
    asked = {"hyperparameters": {"n_estimators": 10, "max_depth": 3, "n_jobs": 1}, "feature_columns": ("a", "b"), "validation": KEPT}
    another_job.run_here("xgboost_regression", another_job.table("t.csv", numbers()), "y", **asked)
    script = job.write("xgboost_regression", job.table("t.csv", numbers()), "y", **asked)
    job._process(["-c", LOST, "16"], job.folder, {})
    assert job.exit_code == -9, job.log
    # As if the machine had been lost while it wrote the first fold's model.
    assert (job.folder / "checkpoint/folds/model-1/importance.json").is_file()
    job.run_again(script)
    assert job.exit_code == 0, job.log
    assert "1 of 3 folds were done before" in job.log
    assert "fold 1 of 3" not in job.log
    for kind in ("metrics", "history", "importance"):
        assert job.output(kind) == another_job.output(kind)
    frame, folder = numbers(), job.model.folder
    np.testing.assert_array_equal(job.model.predict(frame), another_job.model.predict(frame))
    about = json.loads((folder / "model.json").read_text())
    for folds, part in ((["../fold-1"], "does not describe a model"), ([], "does not describe"), (["fold-9"], "does not describe")):
        (folder / "model.json").write_text(json.dumps({**about, "folds": folds}))
        with pytest.raises(InputError, match=part):
            load_model(folder)
