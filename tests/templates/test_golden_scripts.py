"""The scripts that the shipped templates give, word by word: twelve recipes, a function's, a prediction's and a group's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.recipe_job import EVERYTHING, RECIPES

from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.sharing import SHARED_BY_PROCESSES
from kedro_cloudtrain.jobs.spec import FunctionSpec, PredictionSpec, TrainingSpec
from kedro_cloudtrain.worker.watched_metric import _METRICS as METRICS

GOLDEN = Path(__file__).with_name("golden")
HOW = f"UPDATE_GOLDEN=1 pytest tests/templates/{Path(__file__).name}"

SPECS: dict[str, dict[str, Any]] = {
    "xgboost_regression": {
        "dataset_key": "datasets/houses.csv",
        "file_format": "csv",
        "target_column": "price",
        "feature_columns": ["sqft", "bedrooms"],
        "hyperparameters": {"n_estimators": 300, "max_depth": 4},
        "early_stopping_rounds": 30,
    },
    "xgboost_binary_classification": {
        "dataset_key": "datasets/loans.txt",
        "file_format": "csv",
        "load_args": {"sep": ";"},
        "target_column": "defaulted?",
        "hyperparameters": {"max_depth": 6, "scale_pos_weight": 4.5},
        "validation": {"fraction": 0.25, "test_fraction": 0.25},
        "outputs": EVERYTHING,
    },
    "xgboost_multiclass_classification": {
        "dataset_url": "https://example.org/flowers.parquet",
        "target_column": "species",
        "feature_columns": [f"{part} {side} (mm)" for part in ("sepal", "petal", "stem", "leaf") for side in ("length", "width")],
        "validation": {"column": "part"},
    },
    "lightgbm_regression": {
        "dataset_file": "inputs/trips.parquet",
        "file_format": "parquet",
        "target_column": "minutes",
        "hyperparameters": {"monotone_constraints": {"distance": 1}, "num_leaves": 63},
        "validation": {"time_column": "picked up", "fraction": 0.1},
        "seed": 1,
    },
    "lightgbm_binary_classification": {
        "dataset_key": "datasets/clicks.jsonl",
        "target_column": "clicked",
        "early_stopping_rounds": 50,
        "outputs": ["metrics"],
    },
    "lightgbm_multiclass_classification": {
        "dataset_url": "https://example.org/penguins.tsv",
        "file_format": "tsv",
        "load_args": {"na_values": ["-"]},
        "target_column": "species",
        "validation": {"time_column": "year", "fraction": 0.3, "test_fraction": 0.1},
        "outputs": EVERYTHING,
    },
    "catboost_regression": {
        "dataset_key": 'datasets/it\'s a "house".xlsx',
        "load_args": {"sheet_name": "2026"},
        "target_column": "price",
        "early_stopping_rounds": 20,
    },
    "catboost_binary_classification": {
        "dataset_file": "inputs/customers.parquet",
        "target_column": "left us",
        "hyperparameters": {"iterations": 50, "learning_rate": 0.1},
        "validation": {"dataset": "held_out"},
        "validation_source": {"dataset_key": "datasets/held_out.parquet", "file_format": "parquet"},
        "seed": 7,
    },
    "catboost_multiclass_classification": {
        "dataset_url": "https://example.org/digits",
        "file_format": "csv",
        "target_column": "digit",
        "validation": {"dataset": "held_out"},
        "validation_source": {"dataset_url": "https://example.org/held-out", "file_format": "csv", "load_args": {"header": None}},
    },
    "keras_regression": {
        "dataset_key": "datasets/penguins.csv",
        "target_column": "body_mass_g",
        "hyperparameters": {"hidden_units": [128, 64], "dropout": 0.1},
        "validation": {"column": "part"},
    },
    "keras_binary_classification": {
        "dataset_key": "datasets/heart.csv",
        "target_column": "ill",
        "hyperparameters": {"epochs": 40, "batch_normalization": True},
        "early_stopping_rounds": 5,
    },
    "keras_multiclass_classification": {
        "dataset_url": "https://example.org/wine.csv",
        "target_column": "quality",
        "backend": "tensorflow",
        "outputs": EVERYTHING,
    },
}
# A cross-validation, with what changes it.
FOLDED: dict[str, dict[str, Any]] = {
    "xgboost_regression": {"validation": {"folds": 5}, "early_stopping_rounds": 30},
    "lightgbm_multiclass_classification": {"validation": {"folds": 3, "stratified": False}, "class_weight": "balanced"},
    "catboost_binary_classification": {"validation": {"folds": 5, "group_column": "customer", "test_fraction": 0.2}},
    "keras_regression": {"validation": {"folds": 4, "time_column": "year"}, "weight_column": "rooms", "early_stopping_rounds": 5},
}
# A fit that the GPUs of a machine share.
SHARED: dict[str, dict[str, Any]] = {
    "xgboost_regression": {"early_stopping_rounds": 30, "hyperparameters": {"n_estimators": 300}},
    "lightgbm_binary_classification": {"weight_column": "hours", "early_stopping_rounds": 50},
}
# A fit that machines share, each of which reads its own part of the table.
ON_MACHINES: dict[str, dict[str, Any]] = {
    "xgboost_binary_classification": {"class_weight": "balanced", "early_stopping_rounds": 30},
    "lightgbm_regression": {"hyperparameters": {"n_estimators": 300}},
}
# A table in pieces, with what changes it.
IN_PIECES: dict[str, dict[str, Any]] = {
    "xgboost_binary_classification": {"early_stopping_rounds": 30, "class_weight": "balanced"},
    "lightgbm_regression": {"weight_column": "rooms", "categorical_columns": ["shop"], "metric": "mae"},
    "keras_regression": {"early_stopping_rounds": 5},
}
FUNCTION = FunctionSpec(
    name="score",
    function="shop.pipelines.scoring.nodes:score",
    arguments=("sales", "customers", "model", "rates", "params:score"),
    inputs={
        "sales": {"dataset_key": "datasets/sales.parquet", "file_format": "parquet"},
        "customers": {"dataset_url": "https://example.org/customers", "file_format": "csv", "load_args": {"sep": ";"}},
        "model": {"dataset_file": "inputs/model-0123456789abcdef.pickle", "file_format": "pickle"},
    },
    parameters={"params:score": {"threshold": 0.5, "columns": ["age", "city", "first purchase", "last purchase", "visits"], "deep": {}}},
    returns=("scores", "report"),
    saves={"scores": {"dataset_key": "datasets/scores.parquet", "file_format": "parquet"}},
    entries={
        "rates": {"type": "pandas.CSVDataset", "filepath": "s3://shop/rates.csv", "versioned": True},
        "report": {"type": "json.JSONDataset", "filepath": "s3://shop/report.json", "credentials": "shop"},
    },
    load_versions={"rates": "2026-01-31T12.00.00.000Z"},
)
PLAIN_FUNCTION = FunctionSpec(
    name="count", function="shop.nodes:count", arguments={"limit": "params:limit"}, parameters={"params:limit": 3}
)


PREDICTION = PredictionSpec(
    name="score",
    predicts_by="delay_model",
    library="xgboost",
    sources={"data": {"dataset_key": "datasets/flights.parquet", "file_format": "parquet"}},
    files={"model": "inputs/0123456789abcdef.json"},
    keep=("carrier", "date"),
    save={"dataset_key": "datasets/scores.parquet", "file_format": "parquet", "versioned": True},
)
PLAIN_PREDICTION = PredictionSpec(
    name="score",
    predicts_by="delay_model",
    library="keras",
    sources={"data": {"dataset_url": "https://example.org/flights", "file_format": "csv", "load_args": {"sep": ";"}}},
    files={"model": "inputs/0123456789abcdef.json"},
)


def training_spec(recipe: str, fields: dict[str, Any]) -> TrainingSpec:
    fields = dict(fields)
    data = {name: fields.pop(name) for name in ("dataset_key", "dataset_url", "dataset_file", "file_format", "load_args") if name in fields}
    validation = fields.pop("validation_source", None)
    return TrainingSpec.model_validate(
        {
            "name": "train",
            "sources": {"data": data, **({"validation": validation} if validation is not None else {})},
            **{name: fields.pop(name) for name in ("outputs", "workers", "machines") if name in fields},
            "parameters": {"model_type": recipe, **fields},
        }
    )


def scripts() -> dict[str, str]:
    generator = TrainingScriptGenerator()
    recipes = {recipe: training_spec(recipe, fields) for recipe, fields in SPECS.items()}
    jobs = {f"segment-{number}-0123456789ab": {"CLOUDTRAIN_CHECKPOINT_EVERY_S": "60.0"} for number in (1, 2)}
    return {
        **{recipe: generator.render(spec) for recipe, spec in recipes.items()},
        **{
            f"{recipe}_folds": generator.render(training_spec(recipe, {"dataset_key": "t.csv", "target_column": "y", **fields}))
            for recipe, fields in FOLDED.items()
        },
        **{
            f"{recipe}_shared": generator.render(
                training_spec(recipe, {"dataset_key": "t.csv", "target_column": "y", "workers": 4, **fields})
            )
            for recipe, fields in SHARED.items()
        },
        **{
            f"{recipe}_on_machines": generator.render(
                training_spec(recipe, {"dataset_key": "t.csv", "target_column": "y", "workers": 4, "machines": 4, **fields})
            )
            for recipe, fields in ON_MACHINES.items()
        },
        **{
            f"{recipe}_in_pieces": generator.render(
                training_spec(recipe, {"dataset_key": "t.csv", "target_column": "y", "in_pieces": True, **fields})
            )
            for recipe, fields in IN_PIECES.items()
        },
        "function": generator.render_function(FUNCTION),
        "function_shared": generator.render_function(PLAIN_FUNCTION.model_copy(update={"machines": 4})),
        "function_of_parameters": generator.render_function(PLAIN_FUNCTION),
        "predict": generator.render_prediction(PREDICTION),
        "predict_on_machines": generator.render_prediction(PREDICTION.model_copy(update={"workers": 4})),
        "predict_by_url": generator.render_prediction(PLAIN_PREDICTION),
        "group": generator.render_group("segments", "2026-01-31T12.00.00.000Z", jobs),
        "group_kept": generator.render_group("segments", "2026-01-31T12.00.00.000Z", jobs, keep_s=60.0),
    }


SCRIPTS = scripts()


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / f"{name}.py"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(SCRIPTS[name], encoding="utf-8")
    assert golden.is_file(), f"{golden} is not there. Write it with: {HOW}"
    assert SCRIPTS[name] == golden.read_text(encoding="utf-8"), (
        f"The script of {name} has changed. If that is meant, accept it with: {HOW}\nThen read the difference with git diff, and commit it."
    )


def test_every_recipe_has_a_golden_script_and_every_golden_script_its_template() -> None:
    assert sorted(SPECS) == sorted(RECIPES)
    assert {file.stem for file in GOLDEN.glob("*.py")} == set(SCRIPTS)


def scripts_with_parameters() -> dict[str, str]:
    """Return scripts of every recipe with the parameters that most trainings leave out."""
    written = {}
    held = {"validation": {"dataset": "held_out"}, "validation_source": {"dataset_key": "datasets/held_out.parquet"}}
    for recipe in SPECS:
        library, _, task = recipe.partition("_")
        weights = [{"weight_column": "exposure"}]
        weights += [{"class_weight": "balanced"}, {"class_weight": {"a": 2}, **held}] if task != "regression" else []
        metrics = [{"metric": name, "early_stopping_rounds": 5} for name in METRICS[library][task]]
        folded = [{**each, "validation": {"folds": 5}} for each in (weights[0], metrics[0])]
        pieces = [] if library == "catboost" else [{**each, "in_pieces": True} for each in ({}, *weights, metrics[0])]
        for number, more in enumerate(
            [
                *folded,
                *pieces,
                *weights,
                {"categorical_columns": ["shop"]},
                {"validation": {"folds": 5}},
                *metrics,
                {**weights[0], **metrics[-1]},
            ]
        ):
            fields = {"dataset_key": "t.csv", "target_column": "y", **more}
            shared = library in SHARED_BY_PROCESSES and not more.get("in_pieces")
            for workers, machines in ((1, 1), (4, 1), (4, 4)) if shared else ((1, 1),):
                spec = training_spec(recipe, {**fields, "workers": workers, "machines": machines})
                written[f"{recipe}_{number}_{workers}_{machines}"] = TrainingScriptGenerator().render(spec)
    return written


@pytest.mark.parametrize("command", [("check", "--select", "E,F,I"), ("format", "--diff")])
def test_every_script_is_as_ruff_would_write_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    for name, text in {**SCRIPTS, **scripts_with_parameters()}.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    arguments = [*command, "--isolated", "--no-cache", "--line-length", "100", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "ruff", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
