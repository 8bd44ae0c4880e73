"""What stands in a script: the values as they were given, and nothing that a value can run."""

from __future__ import annotations

import ast
import builtins
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.recipe_job import LIBRARIES, TASKS

from kedro_cloudtrain.errors import ConfigError, SourceError, TemplateError
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator, literal
from kedro_cloudtrain.jobs.spec import TrainingSpec
from kedro_cloudtrain.storage.sources import BOTH_MESSAGE, NEITHER_MESSAGE

GOLDEN = Path(__file__).with_name("golden")
RECIPES = [f"{library}_{task}" for library in LIBRARIES for task in TASKS]
SECRETS = {"storage_endpoint": "http://minio.internal:9000", "storage_access_key": "AKIASECRET", "storage_secret_key": "s3cr3t/value"}
KEY = {"volume_id": "vol_123", "dataset_key": "datasets/user_123/data.csv", **SECRETS}

ATTACKS = [
    "\"; __import__('os').abort() #",
    "'; __import__('os').abort() #",
    '"""\n__import__("os").abort()\n"""',
    "'''\n__import__('os').abort()\n'''",
    "\n__import__('os').abort()\n",
    "\r\n__import__('os').abort()",
    "\\",
    "\\'; __import__('os').abort() #",
    "{{ 7 * 7 }}",
    "{% for i in range(3) %}boom{% endfor %}{# gone #}",
    "{{ cycler.__init__.__globals__.os.abort() }}",
    "{__import__('os').abort()}",
    "%(x)s {0} ${HOME} `id`",
    "\u202e\u2066 # evil \u2069\u2066",
    "\u2028__import__('os').abort()\u2029\x85\x0b\x0c",
    "\x00\x1b[2J",
    "日本語 😀 é",
    "# coding: latin-1",
]


def script(**more: Any) -> str:
    values: dict[str, Any] = {
        "model_id": "model_123",
        "model_type": "xgboost_regression",
        "target_column": "price",
        "feature_columns": ["sqft", "bedrooms"],
        "hyperparameters": {"n_estimators": 100},
        "storage_config": KEY,
    }
    return TrainingScriptGenerator().generate_training_script(**{**values, **more})


def constants(text: str) -> dict[str, Any]:
    """Give the values that a script's first lines assign, without running it."""
    found = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name) and statement.targets[0].id.isupper():
            found[statement.targets[0].id] = ast.literal_eval(statement.value)
    return found


def shape(text: str) -> str:
    """Give a script's code without its constants: what runs."""
    tree = ast.parse(text)
    tree.body = [each for each in tree.body if not (isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name))]
    return ast.dump(tree)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("recipe", ["xgboost_regression", "keras_multiclass_classification"])
def test_no_value_runs(attack: str, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(os, "abort", lambda: ran.append(attack))
    hyperparameters = {attack: attack, "nested": {"a" + attack: [attack, {"b": attack}]}, "n": 1.5, "none": None, "yes": True}
    asked: dict[str, Any] = {
        "model_id": attack,
        "target_column": attack,
        "feature_columns": ["f" + attack, *(f"{attack}{number}" for number in range(30))],
        "hyperparameters": hyperparameters,
        "validation": {"column": "v" + attack},
        "load_args": {"sep": attack},
    }
    text = script(model_type=recipe, **asked)

    compile(text, "train.py", "exec")
    found = constants(text)
    assert found["MODEL_ID"] == attack
    assert found["TARGET_COLUMN"] == attack
    assert found["FEATURE_COLUMNS"] == asked["feature_columns"]
    assert found["HYPERPARAMETERS"] == hyperparameters
    assert list(found["HYPERPARAMETERS"]) == list(hyperparameters)
    assert found["VALIDATION"] == asked["validation"]
    assert found["LOAD_ARGS"] == asked["load_args"]
    # The code is that of harmless values; the constants alone, run, do nothing.
    assert shape(text) == shape(script(model_type=recipe, **{**asked, "model_id": "m", "target_column": "t"}))
    assignments = [each for each in ast.parse(text).body if isinstance(each, ast.Assign)]
    exec(compile(ast.Module(assignments, []), "train.py", "exec"), {"__builtins__": {}})  # noqa: S102
    assert not ran
    # Nothing that a terminal or an editor would reorder or hide.
    assert all(character.isprintable() or character == "\n" for character in text)


def test_a_dataset_key_and_url_are_only_text() -> None:
    key = "a'; __import__('os').abort() #/{{ 7*7 }} é.csv"
    assert constants(script(storage_config={"dataset_key": key}))["DATASET_KEY"] == key
    with pytest.raises(SourceError, match="control character"):
        script(storage_config={"dataset_key": "a\u202evsc.csv"})
    url = "https://example.org/'+__import__('os').abort()+'/{{7*7}}.csv"
    assert constants(script(storage_config=None, dataset_url=url))["DATASET_URL"] == url


def test_long_values_stand_a_line_an_item_and_come_back() -> None:
    value = {"grid": [[1, 2.5, None, True]] * 12, "text": "x" * 120, "inner": {f"key {i}": [i] * 30 for i in range(4)}, "empty": {}}
    written = literal(value, 4)
    assert ast.literal_eval(written) == value
    assert len(written.splitlines()) > 10
    assert literal(()) == "[]"
    assert ast.literal_eval(literal((1, "a"))) == [1, "a"]
    assert eval(literal(float("inf")), vars(builtins)) == float("inf")  # noqa: S307
    assert literal(float("nan")) == 'float("nan")'
    with pytest.raises(TemplateError, match="object"):
        literal({"a": [object()]})


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_reads_a_key_or_a_url(recipe: str) -> None:
    by_key = script(model_type=recipe)
    compile(by_key, "train.py", "exec")
    assert "datasets/user_123/data.csv" in by_key
    assert "http" not in by_key
    assert not [secret for secret in [*SECRETS, *SECRETS.values(), "vol_123"] if secret in by_key]
    url = "https://example.org/data.csv?version=3"
    by_url = script(model_type=recipe, storage_config=None, dataset_url=url)
    compile(by_url, "train.py", "exec")
    assert url in by_url
    assert "dataset_key" not in by_url.lower()
    beside = script(model_type=recipe, storage_config={**SECRETS, "dataset_key": "  "}, dataset_url=url)
    assert beside == by_url


def test_a_presigned_url_leaves_its_secret_out() -> None:
    text = script(storage_config=None, dataset_url="https://bucket.example.org/a.csv?v=1&X-Amz-Signature=abc123&X-Amz-Credential=me")
    assert "abc123" not in text
    assert constants(text)["DATASET_URL"] == "https://bucket.example.org/a.csv?v=1"


@pytest.mark.parametrize(
    ("config", "url", "message"),
    [
        (KEY, "https://example.org/a.csv", BOTH_MESSAGE),
        (None, None, NEITHER_MESSAGE),
        ({}, "", NEITHER_MESSAGE),
        ({"dataset_key": ""}, None, NEITHER_MESSAGE),
        ({"dataset_key": "  \t"}, "  ", NEITHER_MESSAGE),
        (SECRETS, None, NEITHER_MESSAGE),
    ],
)
def test_exactly_one_source_is_wanted(config: Any, url: Any, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        script(storage_config=config, dataset_url=url)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"feature_columns": []}, ["feature_columns"]),
        ({"feature_columns": ["a", "a"]}, ["'a'", "twice"]),
        ({"feature_columns": ["price"]}, ["`price`", "target"]),
        ({"target_column": ""}, ["target_column"]),
        ({"validation": {"fractoin": 0.3}}, ["fractoin", "fraction"]),
        ({"validation": {"fraction": 0.7, "test_fraction": 0.4}}, ["test_fraction"]),
        ({"early_stopping_rounds": 0}, ["early_stopping_rounds"]),
        ({"outputs": ["modell"]}, ["outputs"]),
        ({"sead": 3}, ["sead"]),
        ({"hyperparameters": {"a": object()}}, ["object"]),
        ({"model_id": ""}, ["name"]),
    ],
)
def test_wrong_values_are_named(more: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        script(**more)
    for word in words:
        assert word in str(caught.value)


def test_a_projects_template_wins_over_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "xgboost_regression.py.j2").write_text("print({{ model_id | literal }})\n")
    (tmp_path / "mine.py.j2").write_text('{% include "_values.py.j2" %}\n')
    own = TrainingScriptGenerator(tmp_path)
    asked: dict[str, Any] = {"target_column": "y", "storage_config": KEY}
    assert own.generate_training_script("m'1", "xgboost_regression", **asked) == 'print("m\'1")\n'
    assert "DATASET_KEY = 'datasets/user_123/data.csv'" in own.generate_training_script("m", "mine", **asked)
    assert "lightgbm" in own.generate_training_script("m", "lightgbm_regression", **asked)
    assert own.model_types == sorted([*RECIPES, "mine"])
    assert not own.is_shipped("xgboost_regression")
    assert own.is_shipped("lightgbm_regression")
    shipped = TrainingScriptGenerator(Path(__file__).parents[2] / "templates")
    assert shipped.is_shipped("xgboost_regression")
    assert shipped.model_types == sorted(RECIPES)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("print({{ modle_id | literal }})", ["modle_id", "mine.py.j2"]),
        ("{% if %}", ["mine.py.j2", "line 1"]),
        ("\n{{ model_id | litteral }}", ["litteral", "mine.py.j2"]),
        ('{% include "_gone.py.j2" %}', ["_gone.py.j2", "mine.py.j2"]),
        ("x = 1\ny = = 2\n", ["mine.py.j2", "line 2", "y = = 2"]),
        ("{{ model_id }} is = not Python", ["mine.py.j2"]),
        ("x = '\x00'", ["mine.py.j2"]),
        ("{{ model_id.no_such }}", ["no_such", "mine.py.j2"]),
        ("{{ model_id + 1 }}", ["mine.py.j2"]),
    ],
)
def test_a_template_that_gives_no_script_is_named(tmp_path: Path, template: str, words: list[str]) -> None:
    (tmp_path / "mine.py.j2").write_text(template)
    with pytest.raises(TemplateError) as caught:
        TrainingScriptGenerator(tmp_path).generate_training_script("m", "mine", "y", storage_config=KEY)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_an_unknown_model_type_names_the_nearest() -> None:
    with pytest.raises(TemplateError, match="xgboost_regresion") as caught:
        script(model_type="xgboost_regresion")
    assert "xgboost_regression" in str(caught.value)
    assert "templates/" in str(caught.value)
    for path in ("../conf/secret", "_values", "/etc/passwd"):
        with pytest.raises(TemplateError):
            script(model_type=path)


SPECS: dict[str, dict[str, Any]] = {
    "xgboost_regression": {
        "name": "price",
        "parameters": {
            "target_column": "price",
            "feature_columns": ["sqft", "bedrooms"],
            "hyperparameters": {"n_estimators": 300, "max_depth": 4},
            "early_stopping_rounds": 30,
        },
        "sources": {"data": {"dataset_key": "datasets/houses.csv"}},
    },
    "lightgbm_multiclass_classification": {
        "name": "species",
        "parameters": {
            "target_column": "species",
            "validation": {"time_column": "year", "fraction": 0.3, "test_fraction": 0.1},
        },
        "sources": {
            "data": {"dataset_url": "https://example.org/penguins.tsv", "file_format": "tsv", "load_args": {"na_values": ["-"]}},
        },
        "outputs": ["model", "metrics", "history", "importance", "predictions"],
    },
    "catboost_binary_classification": {
        "name": "churn",
        "parameters": {
            "target_column": "left us",
            "hyperparameters": {"iterations": 50, "learning_rate": 0.1},
            "validation": {"dataset": "held_out"},
            "seed": 7,
        },
        "sources": {
            "data": {"dataset_file": "inputs/customers.parquet"},
            "validation": {"dataset_key": "datasets/held_out.parquet", "file_format": "parquet"},
        },
    },
    "keras_regression": {
        "name": "mass",
        "parameters": {
            "target_column": "body_mass_g",
            "hyperparameters": {"hidden_units": [128, 64], "dropout": 0.1},
            "validation": {"column": "part"},
        },
        "sources": {"data": {"dataset_key": "datasets/penguins.csv"}},
    },
}


@pytest.mark.parametrize("recipe", SPECS)
def test_the_script_is_the_golden_one(recipe: str) -> None:
    spec = {**SPECS[recipe], "parameters": {"model_type": recipe, **SPECS[recipe]["parameters"]}}
    text = TrainingScriptGenerator().render(TrainingSpec.model_validate(spec))
    golden = GOLDEN / f"{recipe}.py"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert golden.is_file(), f"{golden} is not there. Write it with: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"
    assert text == golden.read_text(encoding="utf-8"), (
        f"The script of {recipe} has changed. Where that is meant: UPDATE_GOLDEN=1 pytest tests/templates/{Path(__file__).name}, "
        "read the difference with git diff, and commit it."
    )


def test_the_seed_of_the_split_is_the_jobs_seed_unless_named() -> None:
    assert constants(script(seed=5))["VALIDATION"] == {"fraction": 0.2, "seed": 5}
    assert constants(script())["VALIDATION"] == {"fraction": 0.2, "seed": 42}
    assert constants(script(seed=5, validation={"seed": 6, "test_fraction": 0.1}))["VALIDATION"]["seed"] == 6
    assert constants(script(validation={"time_column": "t"}))["VALIDATION"] == {"fraction": 0.2, "time_column": "t"}
    assert json.loads(json.dumps(constants(script())["SEED"])) == 42
