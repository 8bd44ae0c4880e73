"""A training's parameters as YAML gives them: a column's name that YAML reads as something else is an error that names the cure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.preflight import problems_before
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator

TEXT = "{{model_type: catboost_binary_classification, target_column: {target}, feature_columns: [{feature}], validation: {{{validation}}}}}"


def parse(target: str = "price", feature: str = "area", validation: str = "") -> TrainingParameters:
    return TrainingParameters.parse(yaml.safe_load(TEXT.format(target=target, feature=feature, validation=validation)), "params:flats")


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("`target_column` is false", {"target": "no"}),
        ("`feature_columns.0` is true", {"feature": "yes"}),
        ("`feature_columns.0` is true", {"feature": "on"}),
        ("`feature_columns.0` is 2024", {"feature": "2024"}),
        ("`feature_columns.0` is 1.5", {"feature": "1.5"}),
        ("`feature_columns.0` is datetime.date(2024, 1, 31)", {"feature": "2024-01-31"}),
        ("`validation.column` is false", {"validation": "column: off"}),
        ("`validation.time_column` is 2024", {"validation": "time_column: 2024"}),
    ],
)
def test_a_name_that_yaml_reads_as_something_else_is_to_be_put_in_quotes(where: str, names: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**names)
    assert where in caught.value.message
    assert "in quotes" in caught.value.message
    assert re.search(": YAML reads (yes|no|it as a (whole number|number|date))", caught.value.message)
    assert parse(feature='"no"').feature_columns == ("no",)


@pytest.mark.parametrize(
    ("model_type", "backend", "message"),
    [
        ("keras_regression", "theano", "`backend` is 'theano'; allowed: 'jax', 'tensorflow' or 'torch'."),
        ("keras_regression", "tensorflo", "Did you mean `tensorflow`?"),
        ("xgboost_regression", "jax", "`backend` is 'jax': it is what Keras computes with, and xgboost is not Keras. Remove it"),
        ("my_own", "torch", "my_own is not Keras"),
    ],
)
def test_a_backend_is_one_of_keras(model_type: str, backend: str, message: str) -> None:
    values = {"model_type": model_type, "target_column": "y", "backend": backend}
    with pytest.raises(ConfigError) as caught:
        TrainingParameters.parse(values, "params:flats")
    assert message in caught.value.message
    allowed = {**values, "model_type": "keras_regression", "backend": "torch"}
    assert TrainingParameters.parse(allowed, "params:flats").backend == "torch"


def test_the_labels_of_class_weights_may_be_numbers_and_truths() -> None:
    values = yaml.safe_load("{model_type: a, target_column: b, hyperparameters: {class_weights: {0: 1, yes: 3}}}")
    assert TrainingParameters.parse(values, "here").hyperparameters == {"class_weights": {"0": 1, "True": 3}}


REFUSED = [
    (
        {"categorical_columns": ["shop"], "feature_columns": ["area"]},
        "`shop` is among `categorical_columns` and not among `feature_columns`",
    ),
    ({"categorical_columns": ["price"]}, "`price` is among `categorical_columns` and is target_column"),
    ({"categorical_columns": ["part"], "validation": {"column": "part"}}, "`part` is among `categorical_columns` and is validation.column"),
    (
        {"validation": {"group_column": "shop", "time_column": "day"}},
        "`validation.time_column` and `validation.group_column` exclude one another",
    ),
    ({"validation": {"folds": 5, "fraction": 0.2}}, "`validation.folds` and `validation.fraction` exclude one another"),
    ({"validation": {"folds": 1}}, "folds"),
    ({"validation": {"folds": 5, "column": "part"}}, "`validation.folds` means nothing beside `validation.column`"),
    ({"validation": {"folds": 5, "dataset": "held"}}, "`validation.folds` means nothing beside `validation.dataset`"),
    ({"validation": {"keep": "folds"}}, "`validation.keep` is about the models of `validation.folds`"),
    ({"validation": {"folds": 5, "keep": "folds", "time_column": "day"}}, "`validation.keep` means nothing beside"),
    ({"validation": {"folds": 5, "keep": "all"}}, "`validation.keep` is 'all'"),
    ({"validation": {"stratified": True}}, "`validation.stratified` is about `validation.folds`"),
    ({"validation": {"folds": 5, "stratified": True, "time_column": "day"}}, "`validation.stratified` means nothing beside"),
    ({"validation": {"folds": 2, "test_fraction": 0.6}}, "leave no rows to fit"),
    ({"validation": {"group_column": "shop", "column": "part"}}, "`validation.column` and `validation.group_column` exclude one another"),
    ({"validation": {"group_column": "shop", "dataset": "held"}}, "`validation.group_column` and `validation.dataset` exclude one another"),
    (
        {"categorical_columns": ["s"], "validation": {"group_column": "s"}},
        "`s` is among `categorical_columns` and is validation.group_column",
    ),
    ({"class_weight": "balance"}, "`class_weight` is 'balance': write balanced, or a mapping of labels to weights"),
    ({"class_weight": {"yes": -1}}, "a label takes a number from 0 on, and 'yes' has -1"),
    ({"class_weight": {"yes": "3"}}, "a label takes a number from 0 on, and 'yes' has '3'"),
    ({"class_weight": {}}, "a label takes a number from 0 on"),
    ({"class_weight": [1, 3]}, "`class_weight` is [1, 3]: write balanced, or a mapping"),
    ({"weight_column": "price"}, "`price` is weight_column and target_column"),
    ({"weight_column": "w", "feature_columns": ["w"]}, "`w` is weight_column and is among `feature_columns`"),
    ({"weight_column": "w", "categorical_columns": ["w"]}, "`w` is among `categorical_columns` and is weight_column"),
    ({"categorical_columns": ["shop", "shop"]}, "it names 'shop' twice"),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED)
def test_what_no_table_can_make_right_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingParameters.parse({"model_type": "xgboost_regression", "target_column": "price", **given}, "params:flats")
    assert sentence in caught.value.message


BEFORE = [
    (
        "xgboost_regression",
        {"metric": "rmsee"},
        "which xgboost cannot watch in a regression. Write one of rmse, mae, mape.",
    ),
    ("lightgbm_regression", {"metric": "mape"}, "which lightgbm cannot watch in a regression. Write one of rmse, mse, mae."),
    ("keras_multiclass_classification", {"metric": "roc_auc"}, "in a multiclass classification. Write one of log_loss, accuracy."),
    ("catboost_binary_classification", {"metric": "pr_auc", "weight_column": "w"}, "in a binary classification with weights."),
    ("catboost_regression", {"metric": "pinball_loss"}, "Leave it out: with another objective, its own loss is watched."),
    (
        "xgboost_regression",
        {"metric": "mae", "hyperparameters": {"eval_metric": "rmse"}},
        "`metric` cannot be used with `hyperparameters.eval_metric`, which says the same",
    ),
    (
        "lightgbm_regression",
        {"metric": "mae", "hyperparameters": {"metrics": "l2"}},
        "cannot be used with `hyperparameters.metrics`",
    ),
    ("xgboost_regression", {"class_weight": "balanced"}, "`class_weight` is for a classification, and a regression has no classes"),
    ("xgboost_binary_classification", {"class_weight": {"a": 2}, "hyperparameters": {"scale_pos_weight": 3}}, "`hyperparameters.scale_pos"),
    ("lightgbm_binary_classification", {"class_weight": "balanced", "hyperparameters": {"unbalance": True}}, "`hyperparameters.unbalance`"),
    (
        "catboost_binary_classification",
        {"class_weight": {"a": 2}, "hyperparameters": {"class_weights": [1, 2]}},
        "`hyperparameters.class_w",
    ),
    (
        "catboost_multiclass_classification",
        {"class_weight": "balanced", "hyperparameters": {"auto_class_weights": "Balanced"}},
        "`class_weight` cannot be used with `hyperparameters.auto_class_weights`, which weighs the classes a second time",
    ),
]


@pytest.mark.parametrize(("model_type", "given", "sentence"), BEFORE)
def test_what_is_wrong_for_a_task_or_a_library_is_known_before_a_machine_is_asked_for(
    model_type: str, given: dict[str, Any], sentence: str
) -> None:
    parameters = TrainingParameters.parse({"model_type": model_type, "target_column": "price", **given}, "params:flats")
    problems = problems_before(parameters, TrainingScriptGenerator())
    assert len(problems) == 1
    assert sentence in problems[0]


def test_a_script_names_the_metric_as_its_library_does() -> None:
    key = {"dataset_key": "t.csv"}
    script = TrainingScriptGenerator().generate_training_script("m", "xgboost_regression", "y", storage_config=key, metric="mae")
    assert 'HYPERPARAMETERS = {"eval_metric": "mae"}' in script
    with pytest.raises(ConfigError, match="which xgboost cannot watch in a regression"):
        TrainingScriptGenerator().generate_training_script("m", "xgboost_regression", "y", storage_config=key, metric="r2")


def test_a_template_that_makes_nothing_of_a_parameter_is_named(tmp_path: Path) -> None:
    (tmp_path / "child.py.j2").write_text('{% extends "lightgbm_binary_classification.py.j2" %}\n')
    (tmp_path / "own.py.j2").write_text("TARGET = {{ target_column | literal }}\n")
    (tmp_path / "old.py.j2").write_text('{% include "_values.py.j2" %}\n')  # it has the weights, and fits without them
    given = {"target_column": "y", "weight_column": "w", "class_weight": "balanced", "categorical_columns": ["c"], "metric": "mae"}
    for name, unused in (
        ("child", ["metric"]),
        ("own", ["categorical_columns", "weight_column", "class_weight", "metric"]),
        ("old", ["weight_column", "class_weight", "metric"]),
    ):
        parameters = TrainingParameters.parse({"model_type": name, **given}, "here")
        problems = problems_before(parameters, TrainingScriptGenerator(tmp_path))
        assert problems == [f"The template `{name}` makes no use of `{each}`: take it out, or use it in the template." for each in unused]


def test_a_class_weight_may_stand_beside_a_hyperparameter_that_weighs_nothing() -> None:
    for library, given in (("lightgbm", {"is_unbalance": False, "scale_pos_weight": 1}), ("catboost", {"auto_class_weights": "None"})):
        values = {"model_type": f"{library}_binary_classification", "target_column": "y", "class_weight": {0: 1, True: 2.5}}
        parameters = TrainingParameters.parse({**values, "hyperparameters": given}, "here")
        assert parameters.class_weight == {"0": 1, "True": 2.5}
        assert problems_before(parameters, TrainingScriptGenerator()) == []
