"""What a user writes in a YAML file: true is not a number in any of its settings, and a setting that is missing comes with an example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from kedro_cloudtrain.config import Settings, make_settings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.search_space import Dimension
from kedro_cloudtrain.settings_model import SettingsModel
from kedro_cloudtrain.wording import problems_of

# A dimension is written as {int: [3, 10]}, which its own validator reads.
MODELS = [model for model in SettingsModel.__subclasses__() if model is not Dimension]


def types_of(schema: dict[str, Any]) -> set[str]:
    """Return the JSON types that a property takes by itself, not within a list or a mapping."""
    options = schema.get("anyOf", [schema])
    return {option["type"] for option in options if "type" in option}


def fields_of(*types: str) -> Iterator[Any]:
    for model in MODELS:
        for name, schema in model.model_json_schema()["properties"].items():
            if types_of(schema) & set(types):
                yield pytest.param(model, name, id=f"{model.__name__}.{name}")


def messages(model: type[SettingsModel], values: dict[str, Any]) -> dict[tuple[str | int, ...], str]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return dict(problems_of(error, model))
    return {}


@pytest.mark.parametrize(("model", "name"), list(fields_of("integer", "number")))
def test_a_truth_is_no_number(model: type[SettingsModel], name: str) -> None:
    noun = "a whole number" if "integer" in types_of(model.model_json_schema()["properties"][name]) else "a number"
    for value, word in ((True, "true"), (False, "false")):
        assert messages(model, {name: value})[name,] == f"`{name}` is {word}: write {noun}."
    # What `${oc.env:NAME}` puts in, and what is none at all.
    assert (name,) not in messages(model, {name: "32" if noun == "a whole number" else "0.5"})
    assert messages(model, {name: "many"})[name,] == f"`{name}` is 'many': write {noun}."


@pytest.mark.parametrize(("model", "name"), list(fields_of("boolean")))
def test_a_truth_is_one_where_it_belongs(model: type[SettingsModel], name: str) -> None:
    assert (name,) not in messages(model, {name: True})
    assert messages(model, {name: "perhaps"})[name,] == f"`{name}` is 'perhaps': write true or false."


def test_the_tables_above_have_the_settings_of_every_file() -> None:
    names = {each.id for each in fields_of("integer", "number", "boolean")}
    assert {"NodeSettings.gpu_count", "RunSettings.max_pods", "BudgetSettings.max_cost_usd", "NotifySettings.waiting_s"} <= names
    assert {"Search.n_trials", "Validation.folds", "Partitioned.min_rows", "TrainingParameters.seed", "NodeSettings.cache"} <= names


@pytest.mark.parametrize("model", MODELS)
def test_a_setting_that_is_missing_comes_with_an_example_that_is_right(model: type[SettingsModel]) -> None:
    for name, field in model.model_fields.items():
        if field.is_required():
            sentence = messages(model, {})[name,]
            assert sentence == f"`{name}` is missing: add it, for example `{name}: {(field.examples or [''])[0]}`."
            written = yaml.safe_load(sentence.split("`")[3])
            assert (name,) not in messages(model, written), sentence


def test_the_place_of_what_is_missing_or_wrong_is_all_of_its_path() -> None:
    wrong = {"run": {"budget": {}}, "nodes": {"train": {"retries": True}}}
    assert messages(Settings, wrong) == {
        ("run", "budget", "name"): "`run.budget.name` is missing: add it, for example `name: team`.",
        ("run", "budget", "max_cost_usd"): "`run.budget.max_cost_usd` is missing: add it, for example `max_cost_usd: 200`.",
        ("nodes", "train", "retries"): "`nodes.train.retries` is true: write a whole number.",
    }
    searched = {"model_type": "xgboost_regression", "target_column": "price", "search": {"n_trials": None}}
    assert messages(TrainingParameters, searched) == {
        ("search", "space"): "`search.space` is missing: add it, for example `space: {max_depth: {int: [3, 10]}}`.",
        ("search", "n_trials"): "`search.n_trials` is null: write a whole number.",
    }
    assert make_settings({"run": {"max_pods": "3"}}).run.max_pods == 3
