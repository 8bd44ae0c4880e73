"""What a look at a table finds of its rows is what the machine finds that reads all of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset
from kedro_datasets.partitions import IncrementalDataset, PartitionedDataset
from kedro_datasets.pickle import PickleDataset

from kedro_cloudtrain import CloudDataset, TrainingScriptGenerator, training_node
from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.planning.inspection import Look, look_at_inputs
from kedro_cloudtrain.planning.planner import Planner
from kedro_cloudtrain.worker.kinds import kind_of
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import first_look, read_head, read_table

ROWS = range(300)
DAYS = pd.date_range("2024-01-01", periods=300)
COLUMNS: dict[str, list[Any]] = {
    "whole numbers": [*ROWS],
    "numbers": [n + 0.5 for n in ROWS],
    "numbers and gaps": [None if n % 5 == 0 else n for n in ROWS],
    "numbers and blanks": [" " if n % 5 == 0 else n for n in ROWS],
    "numbers after blanks": ["  " if n < 250 else n for n in ROWS],
    "blanks": [" " for _ in ROWS],
    "gaps": [None for _ in ROWS],
    "numbers and a text": ["unknown" if n == 150 else n for n in ROWS],
    "numbers with zeros before": [f"{n:05d}" for n in ROWS],
    "numbers with zeros before, and a text": ["A7" if n == 10 else f"{n:05d}" for n in ROWS],
    "texts": [f"colour {n % 3}" for n in ROWS],
    "texts and blanks": [" " if n % 4 == 0 else "red" for n in ROWS],
    "days": [f"{day:%Y-%m-%d}" for day in DAYS],
    "days and gaps": [None if day.day == 1 else f"{day:%Y-%m-%d}" for day in DAYS],
    "days and blanks": [" " if day.day == 1 else f"{day:%Y-%m-%d}" for day in DAYS],
    "times": [f"{day:%Y-%m-%dT%H:%M:%S}" for day in DAYS],
    "truths": [n % 2 == 0 for n in ROWS],
    "truths and gaps": [None if n % 5 == 0 else n % 2 == 0 for n in ROWS],
    "truths and blanks": [" " if n % 5 == 0 else n % 2 == 0 for n in ROWS],
    "truths in words": ["yes" if n % 2 else "no" for n in ROWS],
    "large numbers": [2**62 + n for n in ROWS],
    "infinite numbers": ["inf" if n == 3 else n for n in ROWS],
}
TYPED = {
    "Int64": pd.array([None if n % 5 == 0 else n for n in ROWS], dtype="Int64"),
    "boolean": pd.array([None if n % 5 == 0 else n % 2 == 0 for n in ROWS], dtype="boolean"),
    "category": pd.Categorical([f"colour {n % 3}" for n in ROWS]),
    "timestamp": DAYS,
    "timestamp of a zone": DAYS.tz_localize("Europe/Berlin"),
    "time span": pd.to_timedelta([*ROWS], unit="h"),
    "date": [day.date() for day in DAYS],
}


def kinds(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): kind_of(values) for name, values in frame.items()}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "xlsx", "parquet"])
@pytest.mark.parametrize("load_args", [{}, {"dtype": {"numbers and blanks": "str"}}, {"na_values": ["unknown"]}], ids=str)
def test_the_first_rows_are_of_the_kinds_of_the_whole(kind: str, load_args: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind}"
    match kind:
        case "csv" | "tsv":
            pd.DataFrame(COLUMNS).to_csv(path, index=False, sep="," if kind == "csv" else "\t")
        case "jsonl":
            pd.DataFrame(COLUMNS).to_json(path, orient="records", lines=True)
            load_args = {name: value for name, value in load_args.items() if name != "na_values"}
        case "xlsx":
            pd.DataFrame(COLUMNS).to_excel(path, index=False)
        case _:
            pd.DataFrame(TYPED).to_parquet(path)
            load_args = {}
    location = Location(str(path), load_args=load_args)
    whole = kinds(read_table(location).frame)
    assert kinds(read_head(location, rows=200)) == whole
    rows = first_look(location, rows=200)[2]
    assert rows is None or kinds(rows) == whole


def test_the_rows_of_a_table_that_pandas_alone_reads_are_of_its_kinds(tmp_path: Path) -> None:
    pd.DataFrame(COLUMNS).to_csv(tmp_path / "t.csv", index=False)
    head = read_head(Location(str(tmp_path / "t.csv")), rows=200, by_pandas=True)
    assert kinds(head) | {"numbers after blanks": ""} == kinds(pd.read_csv(tmp_path / "t.csv")) | {"numbers after blanks": ""}


def look(folder: Path, dataset: Any, **parameters: Any) -> Look:
    asked = {"model_type": "lightgbm_regression", "target_column": "y", **parameters}
    catalog = DataCatalog({"table": dataset, "params:price": MemoryDataset(asked)})
    planner = Planner(catalog, make_settings({"volume": {"path": str(folder / "volume")}}), TrainingScriptGenerator(), folder)
    (plan,) = planner.plan([training_node("table", "params:price", model="model", name="train")])
    assert not plan.problems
    return look_at_inputs(plan, catalog)


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    made = pd.DataFrame({"a": random.normal(size=300), "y": random.normal(size=300), "day": DAYS.astype(str)})
    return made.assign(part=["train", "val", "Test "] * 100, word=["a", "b", "c"] * 100, yes=["yes", "no"] * 150)


def table(folder: Path, frame: pd.DataFrame, kind: str) -> Any:
    """Return a table as a machine reads it itself, or as it is sent."""
    path = folder / "volume/t.csv"
    path.parent.mkdir(exist_ok=True)
    if kind in ("parquet", "sent parquet"):
        path = path.with_suffix(".parquet")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    match kind:
        case "sent parquet":
            return ParquetDataset(filepath=str(path))
        case "sent":
            return CSVDataset(filepath=str(path))
        case "pickled":
            with (folder / "t.pkl").open("wb") as file:
                pickle.dump(frame, file)
            return PickleDataset(filepath=str(folder / "t.pkl"))
    return CloudDataset(dataset_key=path.name, volume={"path": str(path.parent)})


KINDS = ["text", "parquet", "sent", "sent parquet", "pickled"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"validation": {"column": "word"}}, "The split column `word` has the value 'a'. Use train, validation or test."),
        ({"validation": {"column": "day"}}, "The split column `day` has the value '2024-01-01'"),
        ({"validation": {"time_column": "word"}}, "The time column `word` holds 'a', which is not a time."),
        ({"validation": {"time_column": "gap"}}, "The time column `gap` has rows without a value"),
        ({"target_column": "word"}, "The target `word` holds text (such as 'a')"),
        ({"target_column": "late"}, "The target `late` holds text (such as 'oops')"),
        ({"model_type": "lightgbm_binary_classification", "target_column": "word"}, "has 3 classes ('a', 'b', 'c')"),
        ({"feature_columns": ["a", "word"], "hyperparameters": {"mc": {"word": 1}}}, "names `word`, which is a category"),
        ({"feature_columns": ["a", "word"], "hyperparameters": {"mc": [1, -1]}}, "names `word`, which is a category"),
    ],
)
def test_values_that_no_other_row_can_mend_are_problems(
    kind: str, parameters: dict[str, Any], words: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame = frame.assign(gap=frame["day"].where(frame.index % 7 > 0), late=frame["y"].astype(str).where(frame.index != 150, "oops"))
    (problem,) = look(tmp_path, table(tmp_path, frame, kind), **parameters).problems
    assert words in problem
    assert "`price` in parameters.yml" in problem


@pytest.mark.parametrize("kind", ["text", "sent", "pickled"])  # of parquet, a sample is looked at
@pytest.mark.parametrize("parameters", [{}, {"validation": {"folds": 3}}, {"model_type": "xgboost_binary_classification"}])
def test_a_table_whose_rows_all_lack_the_target_is_a_problem(
    kind: str, parameters: dict[str, Any], frame: pd.DataFrame, tmp_path: Path
) -> None:
    lacking = frame[:60].assign(y=None)
    (problem,) = look(tmp_path, table(tmp_path, lacking, kind), **parameters).problems
    assert "No row has a `y`. Fix target_column in `price` in parameters.yml, or the data." in problem


@pytest.mark.parametrize("kind", ["text", "sent", "pickled"])  # of parquet, a sample is looked at
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"validation": {"folds": 5, "group_column": "word"}}, "the group column `word` has 3 groups"),
        ({"validation": {"folds": 99}}, "there are 60 rows to hold out"),
        ({"validation": {"folds": 60, "time_column": "day"}}, "there are 60 rows to hold out"),
        (
            {"model_type": "lightgbm_binary_classification", "target_column": "yes", "validation": {"folds": 31}},
            "the most frequent class of the target has 30 rows",
        ),
    ],
)
def test_a_table_that_is_too_small_for_its_folds_is_a_problem(
    kind: str, parameters: dict[str, Any], words: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    (problem,) = look(tmp_path, table(tmp_path, frame[:60], kind), **parameters).problems
    assert words in problem
    assert "`price` in parameters.yml" in problem
    fits = {**parameters, "validation": {**parameters["validation"], "folds": 3}}
    assert not look(tmp_path, table(tmp_path, frame[:60], kind), **fits).problems


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"validation": {"column": "part"}},
        {"validation": {"time_column": "day"}},
        {"validation": {"time_column": "a"}},
        {"feature_columns": ["a", "word"], "hyperparameters": {"mc": {"a": 1}}},
        {"feature_columns": ["day", "word"], "hyperparameters": {"mc": [1, 0]}},
        {"validation": {"time_column": "gap"}, "target_column": "y"},
        {"model_type": "lightgbm_binary_classification", "target_column": "yes"},
    ],
)
def test_values_that_the_machine_takes_are_none(kind: str, parameters: dict[str, Any], frame: pd.DataFrame, tmp_path: Path) -> None:
    # A row without a target is dropped before the split.
    gaps = frame.index % 7 > 0
    frame = frame.assign(gap=frame["day"].where(gaps), y=frame["y"].where(gaps))
    assert look(tmp_path, table(tmp_path, frame, kind), **parameters).problems == ()


def test_numbers_and_blanks_are_numbers_where_the_machine_reads_them(frame: pd.DataFrame, tmp_path: Path) -> None:
    blank = frame["y"].astype(object).where(frame.index % 7 > 0, " ")
    findings = look(tmp_path, table(tmp_path, frame.assign(y=blank, a=blank), "text"))
    assert findings.problems == ()
    assert not any("`a`" in note for note in findings.notes)
    (problem,) = look(tmp_path, table(tmp_path, frame.assign(y=blank), "sent")).problems
    assert "holds text (such as ' ')" in problem


def test_a_table_that_is_none_is_a_problem(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"y": [1, 2]}')
    (problem,) = look(tmp_path, JSONDataset(filepath=str(tmp_path / "t.json"))).problems
    assert problem.startswith("`table` loads a dict, but a table is a pandas DataFrame.")
    (tmp_path / "t.pkl").write_bytes(pickle.dumps([1]))
    (problem,) = look(tmp_path, PickleDataset(filepath=str(tmp_path / "t.pkl"))).problems
    assert problem.startswith("`table` loads a list, but a table is a pandas DataFrame.")
    (tmp_path / "t.pkl").write_bytes(b"none")
    (problem,) = look(tmp_path, PickleDataset(filepath=str(tmp_path / "t.pkl"))).problems
    assert "cannot be loaded" in problem
    frame.to_parquet(tmp_path / "t.parquet")
    (problem,) = look(tmp_path, ParquetDataset(filepath=str(tmp_path / "t.parquet"), load_args={"columns": ["zz"]})).problems
    assert "cannot be loaded" in problem
    cloud = CloudDataset(dataset_key="t.parquet", volume={"path": str(tmp_path)}, load_args={"columns": ["y", "zz"]})
    (problem,) = look(tmp_path, cloud).problems
    assert "has no column `zz`" in problem
    (problem,) = look(tmp_path, CSVDataset(filepath=str(tmp_path / "t.csv"), load_args={"usecols": ["zz"]})).problems
    assert "does not exist" in problem
    frame.to_csv(tmp_path / "t.csv")
    (problem,) = look(tmp_path, CSVDataset(filepath=str(tmp_path / "t.csv"), load_args={"usecols": ["zz"]})).problems
    assert "cannot be loaded: Usecols do not match columns" in problem


def test_a_class_that_the_target_does_not_have_is_a_problem_where_all_are_known(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"model_type": "catboost_binary_classification", "target_column": "yes"}
    for weights, words in (({"maybe": 2}, "names 'maybe', which is not a class"), ({False: 2}, "YAML reads no")):
        (problem,) = look(tmp_path, table(tmp_path, frame, "text"), **asked, hyperparameters={"class_weights": weights}).problems
        assert words in problem
    assert look(tmp_path, table(tmp_path, frame, "text"), **asked, hyperparameters={"class_weights": {"no": 2}}).problems == ()
    several = {"model_type": "catboost_multiclass_classification", "target_column": "word", "hyperparameters": {"class_weights": {"d": 2}}}
    (problem,) = look(tmp_path, table(tmp_path, frame, "text"), **several).problems
    assert "names 'd'" in problem
    monkeypatch.setattr("kedro_cloudtrain.planning.inspection._SMALL_BYTES", 0)
    assert look(tmp_path, table(tmp_path, frame, "text"), **several).problems == ()  # A later row may be of this class.


def test_partitions_that_are_all_confirmed_are_loaded_as_none(tmp_path: Path) -> None:
    from kedro.pipeline import node

    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.csv").write_text("x\n1\n")

    def problems(dataset: Any) -> tuple[str, ...]:
        catalog = DataCatalog({"parts": dataset})
        planner = Planner(catalog, make_settings({"volume": {"path": str(tmp_path)}}), TrainingScriptGenerator(), tmp_path)
        (plan,) = planner.plan([node(sorted, "parts", "names", name="names")])
        return look_at_inputs(plan, catalog).problems

    entry = {"path": str(tmp_path / "parts"), "dataset": "pandas.CSVDataset", "filename_suffix": ".csv"}
    first = IncrementalDataset(**entry)
    assert problems(first) == ()
    assert first.load()
    first.confirm()
    assert IncrementalDataset(**entry).load() == {}
    assert problems(IncrementalDataset(**entry)) == ()
    (problem,) = problems(PartitionedDataset(**entry | {"filename_suffix": ".tsv"}))
    assert "cannot be loaded: No partitions found" in problem
    (problem,) = problems(PartitionedDataset(**entry | {"path": str(tmp_path / "none")}))
    assert "does not exist" in problem


@pytest.mark.parametrize("load_args", [{}, {"sep": ";"}, {"index_col": "y"}, {"usecols": ["a", "y"]}, {"dtype": {"a": "str"}}], ids=str)
def test_two_columns_of_one_name_are_a_note_of_the_plan_and_of_the_machine(load_args: dict[str, Any], tmp_path: Path) -> None:
    mark = load_args.get("sep", ",")
    header = {"a.csv": "a,a,y", "b.csv": "a,a.1,y"}
    for file, names in header.items():
        (tmp_path / file).write_text("\n".join([names, *(f"{n},{n + 1},{n}" for n in range(40))]).replace(",", mark) + "\n")
    sentence = "2 columns are named `a`, and are read as `a`, `a.1`: give each a name of its own."
    assert read_table(Location(str(tmp_path / "a.csv"), load_args=load_args)).notes == (sentence,)
    assert read_table(Location(str(tmp_path / "b.csv"), load_args=load_args)).notes == ()
    if load_args in ({}, {"sep": ";"}):
        for file, notes in (("a.csv", (f"`table`: {sentence}",)), ("b.csv", ())):
            cloud = CloudDataset(dataset_key=file, volume={"path": str(tmp_path)}, load_args=load_args)
            assert look(tmp_path, cloud, feature_columns=["a"]).notes == notes
