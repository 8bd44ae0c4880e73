"""A partitioned training in a plan: its groups, what is wrong with them, and what its node and its settings have against them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.partitions import PartitionedDataset
from kedro_datasets.pickle import PickleDataset
from support.http_server import Server

from kedro_cloudtrain import CloudDataset, ModelDataset, ModelsDataset, prediction_node, training_node
from kedro_cloudtrain.backends.runpod.offers import Candidate
from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.planning import partitions
from kedro_cloudtrain.planning.inspection import Look, look_at_inputs
from kedro_cloudtrain.planning.plan import NodePlan
from kedro_cloudtrain.planning.planner import Planner
from kedro_cloudtrain.planning.quotes import Quote, of_partitions
from kedro_cloudtrain.planning.target import SampledTarget
from kedro_cloudtrain.running.partitions import partitions_of
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import make_source

TABLE = pd.DataFrame({"city": ["Bern", "Chur", "Genf"] * 8, "x": range(24), "price": range(24)})
BY_CITY = {"group_column": "city", "max_pods": 2}


def planned(
    folder: Path, data: Any, partitioned: Any = BY_CITY, *, settings: Any = None, outputs: Any = None, **parameters: Any
) -> tuple[NodePlan, Look]:
    volume = {"path": str(folder / "volume")}
    asked = {"model_type": "lightgbm_regression", "target_column": "price", "partitioned": partitioned, **parameters}
    entries = {
        "params:price": MemoryDataset(asked),
        "one": ModelDataset(filepath=str(folder / "one")),
        "many": ModelsDataset(filepath=str(folder / "many")),
    }
    catalog = DataCatalog({"table": data, "validation": data, **entries})
    planner = Planner(catalog, make_settings({"volume": volume, **(settings or {})}), TrainingScriptGenerator(), folder)
    node = training_node("table", "params:price", **(outputs or {"model": "many", "leaderboard": "board"}), name="train")
    (plan,) = planner.plan([node])
    return plan, look_at_inputs(plan, catalog)


def key(folder: Path) -> CloudDataset:
    (folder / "volume").mkdir(exist_ok=True)
    TABLE.to_parquet(folder / "volume/a.parquet", index=False)
    return CloudDataset(dataset_key="a.parquet", volume={"path": str(folder / "volume")})


def files(folder: Path) -> PartitionedDataset:
    (folder / "parts").mkdir(exist_ok=True)
    for name, rows in TABLE.groupby("city"):
        rows.drop(columns="city").to_csv(folder / f"parts/{name}.csv", index=False)
    return PartitionedDataset(path=str(folder / "parts"), dataset={"type": CSVDataset}, filename_suffix=".csv")


def sent(folder: Path) -> CSVDataset:
    TABLE.to_csv(folder / "a.csv", index=False)
    return CSVDataset(filepath=str(folder / "a.csv"))


KINDS = {"key": (key, BY_CITY, "group"), "sent": (sent, BY_CITY, "group"), "files": (files, {"max_pods": 2}, "partition")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_has_the_groups_of_any_data(tmp_path: Path, kind: str) -> None:
    make, partitioned, noun = KINDS[kind]
    plan, look = planned(tmp_path, make(tmp_path), partitioned)
    assert (plan.problems, look.problems, look.doubts) == ((), (), ())
    assert plan.notes == [f"trains a model for each {'value of `city`' if noun == 'group' else noun}, at most 2 at once"]
    assert f"3 {noun}s of 8 rows" in look.notes
    assert look.jobs == 3


@pytest.mark.parametrize(
    ("kind", "partitioned", "part"),
    [
        ("key", {"group_column": "town"}, "`table` has no column `town`."),
        ("sent", {"group_column": "citi"}, "`table` has no column `citi`. Closest: city."),
        ("key", {"group_column": "city", "min_rows": 9}, "no group has 9 rows (min_rows); the largest has 8"),
        ("sent", {"group_column": "city", "groups": ["Bern", "Basel"], "min_rows": 2}, "names the group 'Basel'"),
        ("key", {"group_column": "city", "groups": ["Bern", "Chhur"]}, "names the group 'Chhur', which is not in the data. Did you mean"),
        ("files", {"group_column": "city"}, "`table` is a dict, and group_column"),
        ("sent", {}, "`table` is a DataFrame, and `partitioned` of `price` in parameters.yml has no group_column"),
        ("files", {"groups": ["Basel"]}, "names the partition 'Basel', which is not in the data"),
    ],
)
def test_data_that_cannot_be_divided_is_refused_before_the_run(tmp_path: Path, kind: str, partitioned: Any, part: str) -> None:
    plan, look = planned(tmp_path, KINDS[kind][0](tmp_path), partitioned)
    assert plan.problems == ()
    assert part in "\n".join(look.problems)


def test_partitions_of_other_columns_are_refused_before_the_run(tmp_path: Path) -> None:
    data = files(tmp_path)
    TABLE[["price"]].to_csv(tmp_path / "parts/Chur.csv", index=False)
    _, look = planned(tmp_path, data, {})
    (problem,) = look.problems
    assert problem == (
        "The partition `Chur` has no column `x`, which `Bern` has: give it one, or name columns that all partitions have in "
        "feature_columns."
    )


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"partitioned": None}, "The node saves a `leaderboard`, and its parameters have no `partitioned`"),
        ({"settings": {"nodes": {"train": {"group": "small"}}}}, "its trainings have machines of their own, and `group: small`"),
        ({"settings": {"run": {"detach": True}}}, "`run.detach` leaves jobs running, and `partitioned` needs its client"),
        ({"outputs": {"model": "one"}}, "its output `one` is a ModelDataset, and a partitioned node makes a dict of models"),
        ({"outputs": {"model": "many"}, "partitioned": None}, "its output `many` is a ModelsDataset, and the node makes one model"),
        ({"outputs": {"model": "m", "validation": "validation"}}, "The node has a table of validation rows, and `partitioned`"),
        ({"outputs": {"model": "m", "trials": "t"}}, "The node saves `trials`, and its parameters have no `search`"),
        ({"search": {"space": {"max_depth": {"int": [2, 3]}}, "n_trials": 2}}, "`partitioned` and `search` exclude one another"),
        ({"feature_columns": ["x", "city"]}, "`city` is `partitioned.group_column` and among `feature_columns`"),
        ({"weight_column": "city"}, "`city` is `partitioned.group_column` and weight_column"),
        ({"validation": {"group_column": "city"}}, "`city` is `partitioned.group_column` and validation.group_column"),
        ({"partitioned": {"group_column": "prediction"}}, "a column `prediction` is in the node's own tables"),
        ({"partitioned": {"groups": [1]}}, "`partitioned.groups` has 1, and the names of partitions are text"),
        ({"partitioned": {"groups": ["a", "a"]}}, "it names 'a' twice"),
        ({"partitioned": {"groups": []}}, "name at least one group"),
        ({"partitioned": {"groups": [1.5]}}, "a group is text, a whole number, true or false, and not 1.5"),
    ],
)
def test_what_a_node_and_its_settings_have_against_groups_is_planned(tmp_path: Path, given: Any, part: str) -> None:
    plan, _ = planned(tmp_path, sent(tmp_path), **given)
    assert part in "\n".join(plan.problems)


@pytest.mark.parametrize(("reads", "count"), [("{{ source.load_args | default({}) | literal }}", 0), ("{}", 1)])
def test_a_template_of_the_projects_own_reads_the_rows_of_a_group(tmp_path: Path, reads: str, count: int) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/mine.py.j2").write_text(f"LOAD_ARGS = {reads}\n")
    catalog = DataCatalog(
        {"table": key(tmp_path), "params:price": MemoryDataset({"model_type": "mine", "target_column": "price", "partitioned": BY_CITY})}
    )
    generator = TrainingScriptGenerator(tmp_path / "templates")
    planner = Planner(catalog, make_settings({"volume": {"path": str(tmp_path / "volume")}}), generator, tmp_path)
    (plan,) = planner.plan([training_node("table", "params:price", model="models", name="train")])
    assert [problem.partition(", by which")[0] for problem in plan.problems] == count * [
        "The template `mine` makes no use of the source's `load_args`"
    ]


def test_a_prediction_node_takes_one_model(tmp_path: Path) -> None:
    catalog = DataCatalog(
        {
            "table": sent(tmp_path),
            "params:price": MemoryDataset({"model_type": "lightgbm_regression", "target_column": "price", "partitioned": BY_CITY}),
        }
    )
    planner = Planner(catalog, make_settings({"volume": {"path": str(tmp_path / "volume")}}), TrainingScriptGenerator(), tmp_path)
    plans = planner.plan(
        [
            training_node("table", "params:price", model="models", name="train"),
            prediction_node("table", "models", predictions="scores", name="predict"),
        ]
    )
    assert "its model `models` is a dict of models, of the partitioned node train" in "\n".join(plans[1].problems)


def test_a_large_text_behind_a_url_is_not_read_for_its_groups(tmp_path: Path) -> None:
    with Server({"a.csv": TABLE.to_csv(index=False).encode()}) as server:
        source, volume = make_source(server.url("a.csv")), DirectoryVolume(tmp_path)

        def groups_of(size_bytes: int, **partitioned: Any) -> list[str]:
            parameters = TrainingParameters.parse(
                {"model_type": "lightgbm_regression", "target_column": "price", "partitioned": {"group_column": "city", **partitioned}}, ""
            )
            return [partition.name for partition in partitions_of(parameters, source, volume, "`price`", size_bytes).chosen]

        assert groups_of(1000) == ["Bern", "Chur", "Genf"]
        read = len(server.requests)
        with pytest.raises(ConfigError, match=r"To find the groups of `city`, all of .* would be read on this computer: name them in"):
            groups_of(10**9)
        assert groups_of(10**9, groups=["Chur"]) == ["Chur"]
        assert len(server.requests) == read


def test_the_machines_of_the_groups_start_once() -> None:
    # A start of 120 to 360 s at $0.36 an hour, and a fit of at most 100 s.
    price = Quote(Candidate("GPU", None, 1, 0.36, "HIGH", 24.0), "", (0.012, 0.046), 0.5)
    many = of_partitions(price, 60, 2)
    assert many.estimate_usd == pytest.approx((0.024, 0.072 + 60 * 0.01))
    assert many.notes == ("its 60 trainings cost at most $30.00 in the worst case",)
    assert of_partitions(Quote(), 60, 2) == Quote()


@pytest.mark.parametrize(
    ("jobs", "note"),
    [
        (None, "the number of its groups is not known yet: the estimate is for one, at most $0.50 in the worst case"),
        (1, "its 1 training costs at most $0.50 in the worst case"),
        (60, "its 60 trainings cost at most $30.00 in the worst case"),
    ],
)
def test_what_the_trainings_cost_together_is_told_where_their_number_is_known(jobs: int | None, note: str) -> None:
    candidate = Candidate("NVIDIA L4", None, 1, 0.43, "HIGH", 24.0)
    price = of_partitions(Quote(candidate, "", (0.01, 0.1), 0.5), jobs, 4)
    assert price.notes == (note,)
    assert price.worst_usd == 0.5


@pytest.mark.parametrize(
    ("change", "asked", "problem"),
    [
        ("about 3", {}, "The partition `Chur`: "),
        (None, {"hyperparameters": {"objective": "poisson"}}, "The partition `Bern`: "),
        (None, {"validation": {"group_column": "x", "folds": 9}, "hyperparameters": {}}, ""),
        ("about 3", {"partitioned": {"groups": ["Bern", "Genf"]}}, None),
        ("about 3", {"partitioned": {"min_rows": 9}, "first_rows": 4}, None),
    ],
    ids=["text among numbers", "values that the objective refuses", "more folds than groups", "a partition not named", "a small one"],
)
def test_the_values_of_each_partition_are_looked_at(tmp_path: Path, change: str | None, asked: dict[str, Any], problem: str | None) -> None:
    data = files(tmp_path)
    file = tmp_path / "parts/Chur.csv"
    frame = pd.read_csv(file).astype(object)
    frame.loc[3, "price"] = change if change is not None else 3
    frame.to_csv(file, index=False)
    if (rows := asked.pop("first_rows", None)) is not None:
        for name in ("Bern", "Genf"):
            other = tmp_path / f"parts/{name}.csv"
            pd.concat([pd.read_csv(other)] * rows).to_csv(other, index=False)
    if "objective" in asked.get("hyperparameters", {}):
        first = tmp_path / "parts/Bern.csv"
        pd.read_csv(first).assign(price=-1.0).to_csv(first, index=False)
    _, look = planned(tmp_path, data, asked.pop("partitioned", {"max_pods": 2}), **asked)
    if problem is None:
        assert look.problems == ()
    else:
        assert look.problems
        assert look.problems[0].startswith(problem), look.problems


GROUPED = pd.DataFrame({"city": list("ABC") * 200, "x": range(600), "shop": 120 * list(range(5))})
GROUPED["price"] = [0 if row % 3 == 0 else row % 2 for row in range(600)]
CLASSES = {"model_type": "lightgbm_binary_classification"}
ONE_CLASS = "The target `price` has one class only, 0: a model has nothing to tell apart."
NO_TARGET = "No row has a `price`."


def as_parquet(folder: Path, table: pd.DataFrame) -> CloudDataset:
    table.to_parquet(folder / "a.parquet", index=False, compression="none")
    return CloudDataset(dataset_key="a.parquet", volume={"path": str(folder)})


def as_large_parquet(folder: Path, table: pd.DataFrame) -> CloudDataset:
    """Write so many bytes that a plan does not read all of them, though no more rows of a group."""
    return as_parquet(folder, table.assign(text=[f"{row:04d}" * 1000 for row in range(len(table))]))


def as_text(folder: Path, table: pd.DataFrame) -> CloudDataset:
    table.to_csv(folder / "a.csv", index=False)
    return CloudDataset(dataset_key="a.csv", volume={"path": str(folder)})


def as_sent(folder: Path, table: pd.DataFrame) -> CSVDataset:
    table.to_csv(folder / "a.csv", index=False)
    return CSVDataset(filepath=str(folder / "a.csv"))


WRITTEN = {"parquet": as_parquet, "large parquet": as_large_parquet, "csv": as_text, "sent": as_sent}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize(
    ("change", "partitioned", "asked", "problem"),
    [
        ({}, {}, CLASSES, f"The group `A`: {ONE_CLASS}"),
        ({"B": 0}, {}, CLASSES, f"2 groups (A, B): {ONE_CLASS}"),
        ({"A": None}, {}, CLASSES, f"The group `A`: {NO_TARGET}"),
        ({"C": None}, {}, {}, f"The group `C`: {NO_TARGET}"),
        ({"A": None, "B": None, "C": None}, {}, {}, f"3 groups (A, B, C): {NO_TARGET}"),
        ({}, {"groups": ["B", "C"]}, CLASSES, None),
        ({"A": None}, {"groups": ["B", "C"]}, CLASSES, None),
        ({}, {}, {}, None),
        ({}, {}, {"validation": {"group_column": "shop", "folds": 9}}, "3 groups (A, B, C): "),
        # Those that are left out are not looked at.
        ({"rows of A": 3}, {"min_rows": 10}, CLASSES, None),
    ],
)
def test_the_values_of_each_group_are_looked_at(
    tmp_path: Path, form: str, change: dict[str, Any], partitioned: dict[str, Any], asked: dict[str, Any], problem: str | None
) -> None:
    table = GROUPED.astype({"price": "Int64"})
    if (rows := change.get("rows of A")) is not None:
        table = pd.concat([table[table["city"] != "A"], table[table["city"] == "A"].head(rows)])
    for city, value in change.items():
        table.loc[table["city"] == city, "price"] = value
    _, look = planned(tmp_path, WRITTEN[form](tmp_path, table), {"group_column": "city", **partitioned}, feature_columns=["x"], **asked)
    assert [each.startswith(problem) for each in look.problems] == [True] if problem is not None else look.problems == (), look.problems
    advice = "To train only the other groups, name them in `partitioned.groups`."
    assert all(each.endswith(advice) == (not each.startswith("3 groups")) for each in look.problems)


@pytest.mark.parametrize("form", WRITTEN)
def test_the_keys_of_rows_are_named_and_not_looked_at_one_after_another(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    original = SampledTarget.problems

    def problems(self: SampledTarget, rows: pd.DataFrame, *args: Any, **options: Any) -> Iterator[str]:
        looks.append(len(rows))
        return original(self, rows, *args, **options)

    monkeypatch.setattr(SampledTarget, "problems", problems)
    table = pd.DataFrame({"city": [row // 2 for row in range(2400)], "x": range(2400), "price": [row % 2 for row in range(2400)]})
    _, look = planned(tmp_path, WRITTEN[form](tmp_path, table), {"group_column": "city"}, feature_columns=["x"])
    (problem,) = look.problems
    assert problem.startswith("`city` has 1,200 values, and each would be a training of its own")
    assert len(looks) <= 100  # those of the first 200 rows
    looks.clear()
    _, look = planned(
        tmp_path, WRITTEN[form](tmp_path, table), {"group_column": "city", "groups": [7, 8]}, feature_columns=["x"], **CLASSES
    )
    assert look.problems == ()
    assert len(looks) <= 4  # in the first rows, and in all


SOUND = GROUPED.assign(y=[row % 7 for row in range(600)], note="a", weight=1.0)
OWN_CLASSES = SOUND.assign(price=[f"{city}{row // 3 % 2}" for row, city in enumerate(SOUND["city"])])


@pytest.mark.parametrize("form", [*WRITTEN, "loaded"])
@pytest.mark.parametrize(
    ("table", "asked"),
    [
        (SOUND, {"hyperparameters": {"monotone_constraints": {"x": 1, "y": 0}}, "model_type": "xgboost_regression"}),
        (SOUND, {"hyperparameters": {"interaction_constraints": [["x", "y"]]}, "model_type": "xgboost_regression"}),
        (SOUND[["city", "x", "note", "price"]], {"categorical_columns": ["note"], "hyperparameters": {"monotone_constraints": [1, 0]}}),
        # Each group has two classes, and the table six.
        (OWN_CLASSES, CLASSES),
        (OWN_CLASSES.sort_values("city"), CLASSES),
        (SOUND.assign(weight=[-1.0 if city == "C" else 1.0 for city in SOUND["city"]]), {"weight_column": "weight", "groups": ["A", "B"]}),
        (SOUND.assign(price=["?" if city == "C" else "1.5" for city in SOUND["city"]]).head(0), {}),
        (SOUND.set_index("city", drop=False), {}),
    ],
    ids=["constraints", "interactions", "a list of constraints", "own classes", "sorted", "a group that is not named", "empty", "an index"],
)
def test_groups_that_are_sound_are_not_refused(tmp_path: Path, form: str, table: pd.DataFrame, asked: dict[str, Any]) -> None:
    partitioned = {"group_column": "city", **({"groups": asked["groups"]} if "groups" in asked else {})}
    data = MemoryDataset(table) if form == "loaded" else WRITTEN[form](tmp_path, table)
    others = {key: value for key, value in asked.items() if key != "groups"}
    _, look = planned(tmp_path, data, partitioned, **others)
    assert look.problems == () or table.empty, look.problems


@pytest.mark.parametrize(
    ("data", "partitioned", "problem"),
    [
        (pd.concat([TABLE, TABLE[["city"]]], axis=1), BY_CITY, "`table` has 2 columns `city`: give each column a name of its own"),
        (pd.concat([TABLE, TABLE[["x"]]], axis=1), BY_CITY, "`table` has 2 columns `x`: give each column a name of its own"),
        ({1: TABLE, 2: TABLE}, {}, "`table` is a dict, and `partitioned` of `price` in parameters.yml has no group_column"),
        ({1: TABLE, "b": TABLE}, {}, "`table` is a dict, and `partitioned` of `price` in parameters.yml has no group_column"),
    ],
)
def test_what_is_no_table_of_groups_is_named(tmp_path: Path, data: Any, partitioned: Any, problem: str) -> None:
    file = tmp_path / "a.pickle"
    PickleDataset(filepath=str(file)).save(data)
    _, look = planned(tmp_path, PickleDataset(filepath=str(file)), partitioned)
    assert look.problems
    assert look.problems[0].startswith(problem), look.problems


def test_of_many_problems_of_groups_the_first_are_shown_by_the_groups_names(tmp_path: Path) -> None:
    values = [float(row // 4) for row in range(400)]
    table = pd.DataFrame({"city": [*values, float("nan")], "x": 1.0, "price": [*(f"c{value:g}" for value in values), "c"]})
    _, look = planned(tmp_path, as_sent(tmp_path, table), {"group_column": "city"}, **CLASSES)
    assert len(look.problems) == 9
    assert look.problems[0].startswith("The group `0`: The target `price` has one class only, 'c0'")
    assert look.problems[-1] == "`table`: 92 more problems of its groups are not shown."
    assert not any("To train only" in problem for problem in look.problems)


def test_a_look_at_groups_is_bounded_by_what_a_file_holds_and_not_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = as_large_parquet(tmp_path, GROUPED)
    for most, problems in ((1200, 1), (1199, 0)):  # 600 rows of a group and a target
        monkeypatch.setattr(partitions, "_MOST_VALUES", most)
        _, look = planned(tmp_path, data, {"group_column": "city"}, feature_columns=["x"], **CLASSES)
        assert len(look.problems) == problems


def test_columns_that_differ_by_type_alone_are_named(tmp_path: Path) -> None:
    table = pd.DataFrame([["a", "b", 1.0]] * 8, columns=[1, "1", "price"])
    _, look = planned(tmp_path, MemoryDataset(table), {"group_column": "1"})
    (problem,) = look.problems
    assert "`table` has 2 columns `1`" in problem
