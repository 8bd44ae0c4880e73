"""What stands in a script: the values as they were given, and nothing that a value can run."""

from __future__ import annotations

import ast
import builtins
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.recipe_job import RECIPES

from kedro_cloudtrain.errors import ConfigError, SourceError, TemplateError
from kedro_cloudtrain.jobs.literals import literal
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.spec import TrainingSpec
from kedro_cloudtrain.storage.sources import BOTH_MESSAGE, NEITHER_MESSAGE
from kedro_cloudtrain.worker.inputs import input_location

SHIPPED = Path(__file__).parents[2] / "templates"
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
    """Return the values that a script's first lines assign, without running it."""
    values = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name) and statement.targets[0].id.isupper():
            values[statement.targets[0].id] = ast.literal_eval(statement.value)
    return values


def shape(text: str) -> str:
    """Return a script's code without its constants: what runs."""
    tree = ast.parse(text)
    tree.body = [statement for statement in tree.body if not isinstance(statement, ast.Assign)]
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
    assigned = constants(text)
    assert assigned["TARGET_COLUMN"] == attack
    assert assigned["FEATURE_COLUMNS"] == asked["feature_columns"]
    assert assigned["HYPERPARAMETERS"] == hyperparameters
    assert list(assigned["HYPERPARAMETERS"]) == list(hyperparameters)
    assert assigned["VALIDATION"] == asked["validation"]
    assert assigned["LOAD_ARGS"] == asked["load_args"]
    # The code is that of harmless values; the constants alone, run, do nothing.
    assert shape(text) == shape(script(model_type=recipe, **{**asked, "model_id": "m", "target_column": "t"}))
    assignments = [statement for statement in ast.parse(text).body if isinstance(statement, ast.Assign)]
    exec(compile(ast.Module(assignments, []), "train.py", "exec"), {"__builtins__": {}})  # noqa: S102
    assert not ran
    # It holds nothing that a terminal or an editor would reorder or hide.
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


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", '""'),
        ("plain", '"plain"'),
        ("it's", '"it\'s"'),
        ('"', "'\"'"),
        ('a "word"', "'a \"word\"'"),
        ("'\"", '"\'\\""'),
        ("''\"", '"\'\'\\""'),
        ('\'""', "'\\'\"\"'"),
        ("\\", '"\\\\"'),
        ("\\\"'", '"\\\\\\"\'"'),
        ("\\'", '"\\\\\'"'),
        ("\n\t\x00", '"\\n\\t\\x00"'),
        ("\u2028\ud800", '"\\u2028\\ud800"'),
    ],
)
def test_text_is_quoted_as_a_formatter_quotes_it(text: str, written: str) -> None:
    assert literal(text) == written
    assert ast.literal_eval(written) == text


def test_any_mix_of_quotes_and_backslashes_comes_back() -> None:
    for length in range(6):
        for letters in itertools.product("\"'\\n", repeat=length):
            text = "".join(letters)
            assert ast.literal_eval(literal(text)) == text
            assert ast.literal_eval(literal({text: [text]})) == {text: [text]}


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ({"dataset_key": "a/b.csv", "file_format": "csv"}, False),
        ({"dataset_key": "a/b.csv.gz", "file_format": "csv"}, False),
        ({"dataset_key": "a/b.pq", "file_format": "parquet"}, False),
        ({"dataset_key": "a/b.txt", "file_format": "csv"}, True),
        ({"dataset_key": "a/b.csv", "file_format": "tsv"}, True),
        ({"dataset_key": "a.csv/b", "file_format": "csv"}, True),
        ({"dataset_key": "a/b.csv?x=1", "file_format": "csv"}, True),
        ({"dataset_url": "https://example.org/a.csv?download=b.tsv#c.tsv", "file_format": "csv"}, False),
        ({"dataset_url": "https://example.org/a?file=b.csv", "file_format": "csv"}, True),
        ({"dataset_file": "inputs/a.parquet", "file_format": "parquet"}, False),
    ],
)
def test_a_format_is_written_only_where_the_worker_would_not_infer_it(tmp_path: Path, source: dict[str, str], kept: bool) -> None:
    spec = TrainingSpec.model_validate(
        {"name": "n", "parameters": {"model_type": "xgboost_regression", "target_column": "y"}, "sources": {"data": source}}
    )
    text = TrainingScriptGenerator().render(spec)
    assert ("FILE_FORMAT" in constants(text)) == kept
    assert ("file_format=FILE_FORMAT" in text) == kept
    read = {name.removeprefix("dataset_"): source.get(name) for name in ("dataset_key", "dataset_url", "dataset_file")}
    location = input_location(tmp_path / "jobs/n", **read, file_format=constants(text).get("FILE_FORMAT"), load_args=None)
    assert location.format == source["file_format"]


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
    assert 'DATASET_KEY = "datasets/user_123/data.csv"' in own.generate_training_script("m", "mine", **asked)
    assert "lightgbm" in own.generate_training_script("m", "lightgbm_regression", **asked)
    assert own.model_types == sorted([*RECIPES, "mine"])
    assert not own.is_shipped("xgboost_regression")
    assert own.is_shipped("lightgbm_regression")
    shipped_text = own.generate_training_script("m", "lightgbm_regression", **asked)
    (tmp_path / "_lightgbm.py.j2").write_text("# Trains a {{ task }}.\ndict(\n{% block objective %}{% endblock %})\n")
    own = TrainingScriptGenerator(tmp_path)
    assert own.generate_training_script("m", "lightgbm_regression", **asked).startswith("# Trains a regression.\n")
    assert not own.is_shipped("lightgbm_regression")
    assert own.model_types == sorted([*RECIPES, "mine"]), "a base is not a model type"
    (tmp_path / "_lightgbm.py.j2").unlink()
    (tmp_path / "lightgbm_regression.py.j2").write_text((SHIPPED / "lightgbm_regression.py.j2").read_text())
    own = TrainingScriptGenerator(tmp_path)
    assert own.generate_training_script("m", "lightgbm_regression", **asked) == shipped_text, "a copied recipe finds the shipped base"
    shipped = TrainingScriptGenerator(SHIPPED)
    assert shipped.is_shipped("xgboost_regression")
    assert shipped.model_types == sorted(RECIPES)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("print({{ modle_id | literal }})", ["modle_id", "mine.py.j2"]),
        ("{% if %}", ["mine.py.j2", "line 1"]),
        ("\n{{ model_id | litteral }}", ["litteral", "mine.py.j2"]),
        ('{% include "_gone.py.j2" %}', ["_gone.py.j2", "mine.py.j2"]),
        ('{% extends "_gone.py.j2" %}', ["_gone.py.j2", "mine.py.j2"]),
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


def test_the_seed_of_the_split_is_the_jobs_seed_unless_named() -> None:
    assert constants(script(seed=5))["VALIDATION"] == {"fraction": 0.2, "seed": 5}
    assert constants(script())["VALIDATION"] == {"fraction": 0.2, "seed": 42}
    assert constants(script(seed=5, validation={"seed": 6, "test_fraction": 0.1}))["VALIDATION"]["seed"] == 6
    assert constants(script(validation={"time_column": "t"}))["VALIDATION"] == {"fraction": 0.2, "time_column": "t"}
    assert json.loads(json.dumps(constants(script())["SEED"])) == 42
