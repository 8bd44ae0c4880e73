"""Generated projects, each with one mistake planted, or none: what `plan` and `run` are compared on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from support.kedro_project import KEDRO, Project

VOLUME = {"path": "data/volume"}
TASKS = ("regression", "binary_classification", "multiclass_classification")
TARGETS = dict(zip(TASKS, ("amount", "yes", "kind"), strict=True))
FEATURES = ["a", "b", "colour"]
ROUNDS = {"xgboost": "n_estimators", "lightgbm": "num_iterations", "catboost": "iterations"}
# Valid ones, of which a project takes a few.
MORE: dict[str, dict[str, Any]] = {
    "xgboost": {"max_depth": "3", "learning_rate": 0.3, "subsample": 0, "gamma": None, "tree_method": "approx", "max_bin": 16},
    "lightgbm": {
        "num_leaves": 7,
        "learning_rate": "0.3",
        "bagging_fraction": 1,
        "extra_trees": "true",
        "max_depth": -1,
        "boosting": "dart",
    },
    "catboost": {"depth": 2.0, "learning_rate": 0.3, "bootstrap_type": "No", "l2_leaf_reg": 0, "random_seed": 3},
}
REGISTRY = """
from kedro.pipeline import Pipeline, node

from kedro_cloudtrain import training_node
from shop.steps import choose, count, head, show


def register_pipelines():
    train = training_node({train})
    nodes = [
        train,
        node({function}, "{looked_at}", "counted", name="count"),
        node(show, "metrics", "shown", name="show"),
        node(head, "source", "first", name="head"){more}
    ]
    return {{"__default__": Pipeline(nodes)}}
"""
STEPS = """
def count(frame):
    return {"rows": len(frame)}


def choose(parameters):
    return dict(parameters)


def head(frame):
    return frame.head(2)


def show(metrics):
    return sorted(metrics)


def nested():
    def count(frame):
        return {"rows": len(frame)}

    return count
"""


@dataclass
class Draft:
    """A project before it is written: its files as data, which a mistake changes.

    Attributes:
        random: makes the project's choices.
        library: which is trained.
        task: what the model learns.
        catalog: catalog.yml.
        parameters: the block in parameters.yml.
        settings: cloudtrain.yml.
        files: other files, by path.
        names: what the pipeline's code is made with.
        spoil: changes what is on disk, once it is written.
    """

    random: random.Random
    library: str
    task: str
    catalog: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    spoil: Callable[[Path], None] = lambda _: None

    @property
    def hyperparameters(self) -> dict[str, Any]:
        given: dict[str, Any] = self.parameters["hyperparameters"]
        return given

    @property
    def table(self) -> dict[str, Any]:
        entry: dict[str, Any] = self.catalog["table"]
        return entry

    @property
    def table_path(self) -> str:
        return f"data/volume/{self.table['dataset_key']}" if "dataset_key" in self.table else str(self.table["filepath"])

    def write(self, project: Project) -> None:
        """Write the project anew; what an earlier one has left in the folder is removed."""
        for folder in ("conf", "data", "templates", "src"):
            shutil.rmtree(project.path / folder, ignore_errors=True)
        project.write("src/shop/__init__.py", "")
        project.write("src/shop/steps.py", STEPS)
        project.write("src/shop/settings.py", 'CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}\n')
        project.write("src/shop/pipeline_registry.py", REGISTRY.format(**self.names))
        project.write("conf/local/.gitkeep", "")
        for name, value in (("catalog", self.catalog), ("parameters", {"model": self.parameters}), ("cloudtrain", self.settings)):
            project.write(f"conf/base/{name}.yml", yaml.safe_dump(value, sort_keys=False))
        project.write("requirements.txt", "pandas\n")
        for file, text in self.files.items():
            project.write(file, text)
        _write_table(project.path / self.table_path)
        _write_table(project.path / "data/source.csv")
        self.spoil(project.path)


def draft(seed: int) -> Draft:
    """Return a project without a mistake."""
    choose = random.Random(seed)  # noqa: S311  # a choice, not a secret
    library = choose.choice(["xgboost", "lightgbm", "lightgbm", "catboost"])
    made = Draft(choose, library, choose.choice(TASKS))
    names = sorted(choose.sample(sorted(MORE[library]), 2))
    made.parameters = {
        "model_type": f"{library}_{made.task}",
        "target_column": TARGETS[made.task],
        "feature_columns": FEATURES,
        "hyperparameters": {ROUNDS[library]: 3, **{name: MORE[library][name] for name in names}},
        "validation": choose.choice([{"fraction": 0.25, "seed": 1}, {"fraction": 0.25, "test_fraction": 0.25}, {"time_column": "day"}]),
        "seed": seed,
    }
    kind = choose.choice(["csv", "tsv", "parquet", "jsonl", "sent"])
    made.catalog = {
        "table": {"type": "pandas.CSVDataset", "filepath": "data/01_raw/table.csv"}
        if kind == "sent"
        else {"type": "kedro_cloudtrain.CloudDataset", "dataset_key": f"datasets/table.{kind}", "volume": VOLUME},
        "source": {"type": "pandas.CSVDataset", "filepath": "data/source.csv"},
        "fitted": {"type": "kedro_cloudtrain.ModelDataset", "filepath": "data/06_models/fitted"},
        "metrics": {"type": "kedro_cloudtrain.MetricsDataset", "filepath": "data/08_reporting/metrics.json"},
        "predictions": {"type": "pandas.CSVDataset", "filepath": "data/07_model_output/predictions.csv"},
        "first": {"type": "kedro_cloudtrain.CloudDataset", "dataset_key": "datasets/first.csv", "volume": VOLUME},
    }
    made.settings = {"backend": "local", "volume": VOLUME, "nodes": {"count": {}, "tr*n": {"timeout_s": 100}}}
    made.names = {
        "train": '"table", "params:model", model="fitted", metrics="metrics", predictions="predictions", name="train"',
        "function": "count",
        "looked_at": "table",
        "more": "",
    }
    return made


def _write_table(path: Path, rows: int = 60) -> None:
    choose = np.random.default_rng(0)
    frame = pd.DataFrame({"a": choose.normal(size=rows), "b": choose.normal(size=rows), "colour": choose.choice(["red", "blue"], rows)})
    frame["amount"] = frame["a"] * 3 + frame["b"]
    frame["yes"] = np.where(frame["a"] > 0, "yes", "no")
    frame["flag"] = frame["a"] > 0
    frame["kind"] = choose.choice(["x", "y", "z"], rows)
    frame["code"], frame["share"] = choose.integers(0, 5, rows), choose.random(rows)
    frame["day"] = pd.date_range("2024-01-01", periods=rows).astype(str)
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".parquet":
            frame.to_parquet(path)
        case ".xlsx":
            frame.to_excel(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def _file_in_place_of(folder: str) -> Callable[[Path], None]:
    def spoil(project: Path) -> None:
        (project / folder).parent.mkdir(parents=True, exist_ok=True)
        (project / folder).write_text("a file")

    return spoil


def _cloud_table(made: Draft, **more: Any) -> None:
    made.catalog["table"] = {"type": "kedro_cloudtrain.CloudDataset", "dataset_key": "datasets/table.csv", "volume": VOLUME, **more}


def _train_as(made: Draft, task: str, target: str) -> None:
    made.parameters |= {"model_type": f"{made.library}_{task}", "target_column": target}
    made.parameters.pop("feature_columns")


def _rounds(made: Draft) -> str:
    return ROUNDS[made.library]


def _misspelt_word(made: Draft) -> None:
    words = {"xgboost": ("objective", "reg:squarederor"), "lightgbm": ("boosting", "gbbt"), "catboost": ("boosting_type", "Plane")}
    name, word = words[made.library]
    made.hyperparameters[name] = word


def _missing_library(made: Draft) -> None:
    made.files["src/shop/settings.py"] = (
        "import importlib.util as imports\n"
        "found = imports.find_spec\n"
        f"imports.find_spec = lambda name, *more: None if name == {made.library!r} else found(name, *more)\n"
        'CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}\n'
    )


def _wrong_content(made: Draft) -> None:
    _cloud_table(made, file_format="parquet")


def _no_rows(made: Draft) -> None:
    _cloud_table(made)
    header = "a,b,colour,amount,yes,flag,kind,code,share,day\n"
    made.spoil = lambda project: (project / "data/volume/datasets/table.csv").write_text(header) and None


def _own_template(made: Draft, body: str) -> None:
    made.files["templates/own.py.j2"] = body
    made.parameters["model_type"] = "own"


def _constrained(made: Draft, column: str, *, named: bool) -> None:
    made.library, made.task = "lightgbm", "regression"
    _train_as(made, "regression", "amount")
    if named:
        made.parameters["feature_columns"] = FEATURES
    made.parameters["hyperparameters"] = {"num_iterations": 3, "monotone_constraints": {column: 1}}


def _parameters_of_a_node(made: Draft) -> None:
    made.names["train"] = made.names["train"].replace("params:model", "chosen")
    made.names["more"] = ', node(choose, "params:model", "chosen", name="choose")'


def _written_by_other_means(made: Draft) -> None:
    made.files["src/shop/steps.py"] = STEPS + (
        "\n\ndef write(frame):\n    frame.to_csv('data/other.csv', index=False)\n    return True\n\n\n"
        "def after(done, frame):\n    return len(frame)\n"
    )
    made.names["more"] = (
        ', node(__import__("shop.steps").steps.write, "source", "written", name="write")'
        ', node(__import__("shop.steps").steps.after, ["written", "other"], "length", name="after")'
    )
    made.catalog["other"] = {"type": "pandas.CSVDataset", "filepath": "data/other.csv"}


def _transcoded(made: Draft) -> None:
    entry = {"type": "pandas.CSVDataset", "filepath": "data/02_intermediate/clean.csv"}
    made.catalog |= {"clean@one": entry, "clean@two": entry}
    made.names |= {"more": ', node(head, "source", "clean@one", name="clean")', "looked_at": "clean@two"}


def _validated_by_a_table(made: Draft) -> None:
    made.catalog["held"] = dict(made.table)
    made.parameters["validation"] = {}
    made.names["train"] = made.names["train"].replace('"params:model"', '"params:model", validation="held"')


def _sheet(made: Draft) -> None:
    _cloud_table(made, dataset_key="datasets/table.xlsx")


def _counting(made: Draft, statement: str, late: str) -> None:
    """Let the function on a machine do something first, and give its package another file."""
    body = "def count(frame):\n"
    steps = f"from importlib import import_module as load\n{STEPS.replace(body, f'{body}    {statement}' + chr(10), 1)}"
    made.files |= {"src/shop/steps.py": steps.replace("import_module(", "load("), "src/shop/late.py": late}


def _other_objective(made: Draft) -> None:
    name = "loss_function" if made.library == "catboost" else "objective"
    own = {"xgboost": ("binary:logistic", "reg:gamma"), "lightgbm": ("binary", "l1"), "catboost": ("Logloss", "MAE")}[made.library]
    made.hyperparameters[name] = own[0 if made.task == "regression" else 1]


def _weighted(made: Draft, task: str, weights: Any) -> None:
    made.library, made.task = "catboost", task
    _train_as(made, task, TARGETS[task])
    made.parameters["hyperparameters"] = {"iterations": 3, "class_weights": weights}


def _partitions(made: Draft, kind: str, suffix: str = ".csv", confirmed: str = "") -> None:
    entry = {"path": "data/parts", "dataset": "pandas.CSVDataset", "filename_suffix": suffix}
    made.catalog["parts"] = {"type": f"partitions.{kind}", **entry}
    made.files["data/parts/one.csv"] = "x\n1\n"
    made.files |= {"data/parts/CHECKPOINT": confirmed} if confirmed else {}
    made.names["more"] = ', node(show, "parts", "names_of_parts", name="parts")'


def _blanks(made: Draft) -> None:
    _cloud_table(made)
    _train_as(made, "regression", "amount")

    def spoil(project: Path) -> None:
        path = project / "data/volume/datasets/table.csv"
        frame = pd.read_csv(path).astype({"amount": object, "b": object})
        frame.loc[::7, ["amount", "b"]] = " "
        frame.to_csv(path, index=False)

    made.spoil = spoil


def _pickled_table(made: Draft) -> None:
    made.catalog["table"] = {"type": "pickle.PickleDataset", "filepath": "data/01_raw/table.pkl"}
    made.spoil = lambda project: pd.read_csv(project / "data/source.csv").to_pickle(project / "data/01_raw/table.pkl")


# What a plan passes and a run can do, by what is unusual.
UNUSUAL: dict[str, Callable[[Draft], Any]] = {
    "nothing": lambda made: None,
    "weights, groups, codes and a metric": lambda made: (
        _train_as(made, "binary_classification", "yes"),
        made.parameters.update(
            weight_column="share",
            class_weight={"yes": 2},
            categorical_columns=["code"],
            validation={"group_column": "kind", "fraction": 0.3},
            metric="roc_auc",
            early_stopping_rounds=2,
        ),
    ),
    "transcoded tables": _transcoded,
    "parameters of another node": _parameters_of_a_node,
    "a table of validation rows": _validated_by_a_table,
    "a file that a node writes by other means": _written_by_other_means,
    "outputs that no entry names": lambda made: [made.catalog.pop(name) for name in ("metrics", "predictions", "first")],
    "versions of what keeps them": lambda made: made.catalog["predictions"].update(versioned=True),
    "an entry by a pattern": lambda made: made.catalog.update(
        {"pred{rest}": {"type": "pandas.CSVDataset", "filepath": "data/pred{rest}.csv"}, "forecast": made.catalog.pop("predictions")}
    ),
    "a dataset of another kind for metrics": lambda made: made.catalog.update(
        metrics={"type": "json.JSONDataset", "filepath": "data/08_reporting/metrics.json"}
    ),
    "a pickled model": lambda made: made.catalog.update(fitted={"type": "pickle.PickleDataset", "filepath": "data/06_models/fitted.pkl"}),
    "a tag that no node has yet": lambda made: made.settings["nodes"].update({"tag:gpu": {}}),
    "a group": lambda made: made.settings.update(nodes={"count": {"group": "g"}, "train": {"group": "g"}}),
    "a template of the project's own": lambda made: (
        _own_template(made, '{% extends "lightgbm_regression.py.j2" %}\n') or _as_lightgbm(made)
    ),
    "constraints by name": lambda made: _constrained(made, "a", named=False),
    "a spreadsheet": _sheet,
    "partitions that are all confirmed": lambda made: _partitions(made, "IncrementalDataset", confirmed="one"),
    "numbers and blanks": _blanks,
    "a pickled table": _pickled_table,
    "a section without settings": lambda made: (made.settings.update(defaults=None), made.settings["nodes"].update({"tr*n": None})),
    "a boolean as the target of a regression": lambda made: _train_as(made, "regression", "flag"),
    "two classes of several": lambda made: _train_as(made, "multiclass_classification", "yes"),
    "a template of code beside an import by a computed name": lambda made: _counting(made, "import_module('json')", "class {{ name }}:\n"),
}


def _as_lightgbm(made: Draft) -> None:
    made.parameters |= {"target_column": "amount", "hyperparameters": {"num_iterations": 3}}


# What a plan refuses and a run as well, by what is wrong.
MISTAKES: dict[str, Callable[[Draft], Any]] = {
    "a misspelt hyperparameter": lambda made: made.hyperparameters.update(max_dept=3),
    "a hyperparameter of another type": lambda made: made.hyperparameters.update({_rounds(made): "many"}),
    "a hyperparameter that is null": lambda made: made.hyperparameters.update({_rounds(made): None}),
    "a hyperparameter out of range": lambda made: made.hyperparameters.update(subsample=1.5),
    "a hyperparameter below its range": lambda made: made.hyperparameters.update(max_bin=0),
    "a misspelt word": _misspelt_word,
    "a hyperparameter twice": lambda made: made.hyperparameters.update({"learning_rate": 0.1, "eta": 0.1}),
    "a constraint of another column": lambda made: _constrained(made, "aa", named=True),
    "a constraint of no column": lambda made: _constrained(made, "aa", named=False),
    "a misspelt model type": lambda made: made.parameters.update(model_type=made.parameters["model_type"] + "s"),
    "a model type of no library": lambda made: made.parameters.update(model_type="torch_regression"),
    "a misspelt parameter": lambda made: made.parameters.update(early_stoping_rounds=3),
    "no target": lambda made: made.parameters.pop("target_column"),
    "a number of rounds below 1": lambda made: made.parameters.update(early_stopping_rounds=0),
    "a seed below 0": lambda made: made.parameters.update(seed=-1),
    "two ways to validate": lambda made: made.parameters.update(validation={"column": "kind", "time_column": "day"}),
    "a validation of everything": lambda made: made.parameters.update(validation={"fraction": 1.0}),
    "a validation table that is not an input": lambda made: made.parameters.update(validation={"dataset": "other"}),
    "a misspelt target": lambda made: made.parameters.update(target_column="amont"),
    "a misspelt feature": lambda made: made.parameters.update(feature_columns=["a", "color"]),
    "a missing time column": lambda made: made.parameters.update(validation={"time_column": "date"}),
    "the target among the features": lambda made: made.parameters.update(feature_columns=["a", TARGETS[made.task]]),
    "a text as the target of a regression": lambda made: _train_as(made, "regression", "kind"),
    "a date as the target of a regression": lambda made: _train_as(made, "regression", "day"),
    "three classes of two": lambda made: _train_as(made, "binary_classification", "kind"),
    "numbers as two classes": lambda made: _train_as(made, "binary_classification", "amount"),
    "a library that is not installed": _missing_library,
    "an unknown format": lambda made: _cloud_table(made, file_format="csvv"),
    "a key and a URL": lambda made: _cloud_table(made, dataset_url="http://127.0.0.1:9/table.csv"),
    "a key without a volume": lambda made: (_cloud_table(made), made.table.pop("volume")),
    "a key that leads out of the volume": lambda made: made.catalog["first"].update(dataset_key="../first.csv"),
    "a URL of another scheme": lambda made: made.catalog.update(
        source={"type": "kedro_cloudtrain.CloudDataset", "dataset_url": "ftp://x/a.csv"}
    ),
    "a volume of a misspelt kind": lambda made: made.catalog["first"].update(volume={"pth": "data/volume"}),
    "versions of a URL": lambda made: made.catalog.update(
        source={"type": "kedro_cloudtrain.CloudDataset", "dataset_url": "https://example.org/a.csv", "versioned": True}
    ),
    "versions of a table that has none": lambda made: (_cloud_table(made), made.table.update(versioned=True)),
    "a misspelt type": lambda made: made.catalog["predictions"].update(type="pandas.CSVDatset"),
    "a misspelt type of ours": lambda made: made.catalog["fitted"].update(type="kedro_cloudtrain.ModleDataset"),
    "a misspelt argument": lambda made: made.catalog["source"].update(load_arg={}),
    "an argument that is missing": lambda made: made.catalog["fitted"].pop("filepath"),
    "an entry without a type": lambda made: made.catalog["source"].pop("type"),
    "credentials that are nowhere": lambda made: made.catalog["source"].update(credentials="nobody"),
    "a table that is not there": lambda made: setattr(made, "spoil", lambda project: (project / made.table_path).unlink()),
    "a sent table that is not there": lambda made: (
        made.catalog.update(table={"type": "pandas.CSVDataset", "filepath": "data/01_raw/none.csv"}),
        setattr(made, "spoil", lambda project: (project / made.table_path).unlink()),
    ),
    "an ordinary table that is not there": lambda made: made.catalog["source"].update(filepath="data/sauce.csv"),
    "a table of another format": _wrong_content,
    "a table without rows": _no_rows,
    "an argument that the reader does not take": lambda made: _cloud_table(made, load_args={"separator": ";"}),
    "an input that is nowhere": lambda made: made.names.update(looked_at="tabel"),
    "parameters that are nowhere": lambda made: made.names.update(train=made.names["train"].replace("params:model", "params:modle")),
    "a model in a table": lambda made: made.catalog["fitted"].update(type="pandas.CSVDataset"),
    "metrics as a model": lambda made: made.catalog["metrics"].update(type="kedro_cloudtrain.ModelDataset"),
    "an output at a URL": lambda made: made.catalog.update(
        predictions={"type": "kedro_cloudtrain.CloudDataset", "dataset_url": "http://127.0.0.1:9/predictions.csv"}
    ),
    "an output without a writer": lambda made: made.catalog["first"].update(dataset_key="datasets/first.xls"),
    "an output below a file": lambda made: setattr(made, "spoil", _file_in_place_of("data/08_reporting")),
    "an output in a folder's place": lambda made: setattr(
        made, "spoil", lambda project: (project / "data/08_reporting/metrics.json").mkdir(parents=True)
    ),
    "a pickle in a folder's place": lambda made: (
        made.catalog.update(counted={"type": "pickle.PickleDataset", "filepath": "data/08_reporting/counted.pkl"}),
        setattr(made, "spoil", lambda project: (project / "data/08_reporting/counted.pkl").mkdir(parents=True)),
    ),
    "parts of other names": lambda made: made.parameters.update(validation={"column": "kind"}),
    "a time column of texts": lambda made: made.parameters.update(validation={"time_column": "colour"}),
    "an objective of another task": _other_objective,
    "a metric that is misspelt": lambda made: made.hyperparameters.update(
        {"xgboost": {"eval_metric": "rmsee"}, "lightgbm": {"metric": "l3"}, "catboost": {"eval_metric": "Maee"}}[made.library]
    ),
    "weights of classes in a regression": lambda made: _weighted(made, "regression", [1, 2]),
    "weights of a class that is none": lambda made: _weighted(made, "binary_classification", {False: 1, "yes": 3}),
    "weights below 0": lambda made: _weighted(made, "binary_classification", [1, -3]),
    "a categorical column that is not there": lambda made: (
        made.parameters.pop("feature_columns"),
        made.parameters.update(categorical_columns=["shop"]),
    ),
    "a categorical column that is not a feature": lambda made: made.parameters.update(categorical_columns=["day"]),
    "a categorical column of decimals": lambda made: made.parameters.update(categorical_columns=["a"]),
    "a weight column that is not there": lambda made: made.parameters.update(weight_column="weight"),
    "a weight column of text": lambda made: made.parameters.update(weight_column="day"),
    "a weight below 0": lambda made: made.parameters.update(weight_column="a", feature_columns=["b", "colour"]),
    "a weight that is a feature": lambda made: made.parameters.update(weight_column="a"),
    "groups beside a time column": lambda made: made.parameters.update(validation={"group_column": "kind", "time_column": "day"}),
    "a group column that is not there": lambda made: made.parameters.update(validation={"group_column": "kindd"}),
    "a group column of two groups for three parts": lambda made: made.parameters.update(
        validation={"group_column": "colour", "test_fraction": 0.2}
    ),
    "weights of classes of a regression": lambda made: (
        _train_as(made, "regression", "amount"),
        made.parameters.update(class_weight="balanced"),
    ),
    "a class weight of no class": lambda made: (
        _train_as(made, "binary_classification", "yes"),
        made.parameters.update(class_weight={"yess": 3}),
    ),
    "classes weighed twice": lambda made: (
        _train_as(made, "binary_classification", "yes"),
        made.parameters.update(class_weight="balanced"),
        made.hyperparameters.update(scale_pos_weight=3),
    ),
    "a metric to watch that is none": lambda made: made.parameters.update(metric="rmsee"),
    "a metric to watch twice": lambda made: (
        _train_as(made, "regression", "amount"),
        made.parameters.update(metric="mae"),
        made.hyperparameters.update(
            {"xgboost": {"eval_metric": "rmse"}, "lightgbm": {"metric": "l2"}, "catboost": {"eval_metric": "R2"}}[made.library]
        ),
    ),
    "a constraint of a category": lambda made: _constrained(made, "colour", named=True),
    "a table that is a dict": lambda made: (
        made.catalog.update(table={"type": "json.JSONDataset", "filepath": "data/01_raw/table.json"}),
        setattr(made, "spoil", lambda project: (project / "data/01_raw/table.json").write_text("{}") and None),
    ),
    "a sent table without a column": lambda made: made.catalog.update(
        table={"type": "pandas.ParquetDataset", "filepath": "data/01_raw/table.parquet", "load_args": {"columns": ["zz"]}}
    ),
    "a folder without partitions": lambda made: _partitions(made, "PartitionedDataset", suffix=".tsv"),
    "a misspelt setting": lambda made: made.settings.update(defaults={"timeout": 3}),
    "a deadline below 0": lambda made: made.settings.update(defaults={"timeout_s": -3}),
    "a backend of another name": lambda made: made.settings.update(backend="aws"),
    "a misspelt node": lambda made: made.settings["nodes"].update(cuont={}),
    "a node that is nowhere": lambda made: made.settings["nodes"].update({"zzz": {}}),
    "a requirement that is none": lambda made: made.settings.update(defaults={"requirements": ["polars=>1"]}),
    "a project's requirement that is none": lambda made: made.files.update({"requirements.txt": "pandas>>2\n"}),
    "a group of two deadlines": lambda made: made.settings.update(
        nodes={"count": {"group": "g", "timeout_s": 50}, "train": {"group": "g", "timeout_s": 60}}
    ),
    "a volume that is a file": lambda made: (
        made.settings.update(volume={"path": "data/other"}),
        made.catalog.update(table={"type": "pandas.CSVDataset", "filepath": "data/01_raw/table.csv"}),
        setattr(made, "spoil", _file_in_place_of("data/other")),
    ),
    "a function without a name": lambda made: made.names.update(function="lambda frame: {'rows': len(frame)}"),
    "a function within another": lambda made: made.names.update(function="__import__('shop.steps').steps.nested()"),
    "a template with an unknown name": lambda made: _own_template(made, "print({{ nothing }})\n"),
    "a template that is not Python": lambda made: _own_template(made, "print(\n"),
    "a late import of what is not Python": lambda made: _counting(made, "from shop import late", "def (:\n"),
}
if KEDRO >= (1, 6):
    MISTAKES |= {
        "a validator that is nowhere": lambda made: made.catalog["source"].update(validator="shop.checks.nowhere"),
        "a validator of a misspelt name": lambda made: made.catalog["metrics"].update(validator="shop.steps.shwo"),
    }
# Those of a kind that another one stands for already: a run of the tests with fewer projects leaves them out.
VARIANTS = {
    "a hyperparameter that is null",
    "a hyperparameter below its range",
    "a model type of no library",
    "a number of rounds below 1",
    "a seed below 0",
    "a validation of everything",
    "a missing time column",
    "a date as the target of a regression",
    "numbers as two classes",
    "a key without a volume",
    "a key that leads out of the volume",
    "a misspelt type of ours",
    "an argument that is missing",
    "an entry without a type",
    "a sent table that is not there",
    "a volume of a misspelt kind",
    "a deadline below 0",
    "a backend of another name",
    "a node that is nowhere",
    "a template that is not Python",
}
