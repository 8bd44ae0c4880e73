"""A partitioned training: a job for each group, what is done is kept, and what is missing is named."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.kedro_project import Project, run, start
from support.toy_backend import ToyBackend
from support.waiting import wait_until

from kedro_cloudtrain import MetricsDataset, TrainingHistoryDataset
from kedro_cloudtrain.errors import (
    BackendError,
    BudgetExceededError,
    CloudTrainError,
    ConfigError,
    HyperparameterError,
    JobFailedError,
    SourceError,
)
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.nodes import train
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.partition_order import first_order
from kedro_cloudtrain.running.partitioned import PartitionedTraining, together
from kedro_cloudtrain.running.partitions import Partitions, partitions_of
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.running.trial_machines import OwnMachines
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import VolumeSource

PLACE = "`delay` in parameters.yml"
STATIONS = [*("Bern", "Chur", "Genf"), "Zug"]


def table_of(stations: list[str], rows: int = 6) -> pd.DataFrame:
    return pd.concat(
        [pd.DataFrame({"station": name, "x": range(rows), "kind": ["a", "b"] * (rows // 2)}) for name in stations], ignore_index=True
    )


def parameters_of(**partitioned: Any) -> TrainingParameters:
    return TrainingParameters.parse(
        {"model_type": "xgboost_multiclass_classification", "target_column": "kind", "partitioned": partitioned}, PLACE
    )


class Trained:
    """What one run of a partitioned node has left."""

    def __init__(self, folder: Path, data: Any, backend: ToyBackend, **partitioned: Any) -> None:
        self.backend, self.receipts, self.row = backend, list[Receipt](), Row("train", "xgboost", "hires")
        self.outputs: dict[str, Any] = {}
        self.error: CloudTrainError | None = None
        given = partitioned or {"group_column": "station"}
        parameters = parameters_of(**given)
        assert parameters.partitioned is not None
        order = TrainingOrder("train", parameters, data, ("metrics",), DirectoryVolume(folder / "volume"), project=folder)
        training = PartitionedTraining(
            order, parameters.partitioned, TrainingScriptGenerator(), OwnMachines(backend), self.row, place=PLACE, what="hires"
        )
        try:
            self.outputs = training.run(self.receipts)
        except CloudTrainError as error:
            self.error = error

    @property
    def ran(self) -> list[str]:
        """The groups whose jobs were run, in their order."""
        return [job.split("-")[1] for job in self.backend.jobs]


def test_a_node_trains_each_group_and_has_a_leaderboard_of_them(tmp_path: Path) -> None:
    trained = Trained(tmp_path, table_of(STATIONS), ToyBackend(usd=0.25))
    assert trained.error is None
    assert trained.ran == STATIONS
    board = trained.outputs["leaderboard"]
    assert list(board.columns) == ["station", "rows", "accuracy", "log_loss", "state", "seconds", "usd", "job"]
    assert sorted(board["station"]) == STATIONS
    assert board["rows"].unique().tolist() == [6]
    assert board["usd"].unique().tolist() == [0.25]
    assert set(board["job"]) == set(trained.backend.jobs)
    metrics = trained.outputs["metrics"]
    assert (metrics["accuracy"], metrics["accuracy_std"], list(metrics["groups"])) == (0.5, 0.0, STATIONS)
    (receipt,) = trained.receipts
    assert (receipt.state, receipt.cost_usd, receipt.why) == (JobState.SUCCEEDED, 1.0, "4 groups: 4 run, 0 reused")


def test_a_new_group_pays_only_for_what_is_new(tmp_path: Path) -> None:
    Trained(tmp_path, table_of(STATIONS[:3]), ToyBackend())
    more = Trained(tmp_path, table_of(STATIONS), ToyBackend())
    assert more.ran == ["Zug"]
    assert more.outputs["leaderboard"].set_index("station")["state"].to_dict() == {
        **dict.fromkeys(STATIONS[:3], "reused"),
        "Zug": "trained",
    }
    again = Trained(tmp_path, table_of(STATIONS), ToyBackend())
    assert (again.ran, again.receipts[0].state) == ([], JobState.REUSED)


def test_a_group_that_fails_does_not_lose_the_others_and_is_trained_alone_by_the_next_run(tmp_path: Path) -> None:
    backend = ToyBackend()
    backend.fail_at[1] = JobFailedError("the disk is full\nand more")
    trained = Trained(tmp_path, table_of(STATIONS), backend)
    assert type(trained.error) is JobFailedError
    assert trained.error.message == (
        "3 of 4 groups of train are trained, 1 has failed: Chur. What is trained is kept: correct what is wrong and run again, and only "
        "the others are trained. Below `partitioned`, `groups` names those to train, and `min_rows` leaves small ones out.\n"
        "Chur: the disk is full\nand more"
    )
    assert trained.receipts[0].why == "4 groups: 4 run, 0 reused, 1 failed"
    again = Trained(tmp_path, table_of(STATIONS), ToyBackend())
    assert (again.error, again.ran) == (None, ["Chur"])


@pytest.mark.parametrize(
    ("failing", "kind", "jobs", "part"),
    [
        # The money: nothing begins after it, and what is done is kept.
        ({1: BudgetExceededError("$2 are spent")}, BudgetExceededError, 2, "1 of 8 groups of train is trained, 7 were not started"),
        # The first five fail: so would the others.
        (dict.fromkeys(range(8), HyperparameterError("no such loss")), HyperparameterError, 5, "5 have failed: a, b, c, d, e, 3 were not"),
        # An error that is not of one group alone ends the node at once.
        ({2: BackendError("RunPod refuses")}, BackendError, 3, "RunPod refuses"),
    ],
)
def test_what_would_end_every_group_begins_no_more_of_them(
    tmp_path: Path, failing: dict[int, CloudTrainError], kind: type[CloudTrainError], jobs: int, part: str
) -> None:
    backend = ToyBackend()
    backend.fail_at |= failing
    trained = Trained(tmp_path, table_of([*"abcdefgh"]), backend)
    assert type(trained.error) is kind
    assert part in trained.error.message
    assert len(backend.jobs) == jobs


def test_a_dict_of_partitions_is_loaded_one_at_a_time(tmp_path: Path) -> None:
    loads: list[str] = []

    def part(name: str) -> pd.DataFrame:
        loads.append(name)
        return table_of([name]).drop(columns="station")

    trained = Trained(tmp_path, {name: lambda name=name: part(name) for name in STATIONS}, ToyBackend(), max_pods=1)
    assert trained.error is None
    assert trained.outputs["leaderboard"]["partition"].tolist() == STATIONS
    assert set(loads) == set(STATIONS)
    assert list(trained.outputs["metrics"]["partitions"]) == STATIONS


def test_a_table_on_the_volume_is_read_by_each_job_and_known_once(tmp_path: Path) -> None:
    volume = DirectoryVolume(tmp_path / "volume")
    (tmp_path / "volume").mkdir()
    table_of(STATIONS).to_parquet(tmp_path / "volume/hires.parquet", index=False)
    source = VolumeSource("hires.parquet", "parquet")
    trained = Trained(tmp_path, source, ToyBackend())
    assert trained.error is None
    assert trained.ran == STATIONS
    parameters = parameters_of(group_column="station", groups=["Chur"])
    assert parameters.partitioned is not None
    order = TrainingOrder("train", parameters, source, ("metrics",), volume)
    job = prepare(first_order(order, parameters.partitioned, PLACE, "hires"), TrainingScriptGenerator())
    assert job.name in trained.backend.jobs
    assert "LOAD_ARGS = {'rows': {'station': 'Chur'}}" in job.script.replace('"', "'")
    assert not job.sent


TABLE = table_of(STATIONS)
DATA = {
    "table": TABLE,
    "numbers": TABLE.assign(station=[1.5, 2.5] * 12),
    "dates": TABLE.assign(station=pd.Timestamp("2026-01-01")),
    "years": TABLE.assign(station=[2007, 2008] * 12),
    "texts": TABLE.assign(station=["2007", "2008"] * 12),
    "truths": TABLE.assign(station=[True, False] * 12),
    "nothing": TABLE.assign(station=None),
    "mixed": TABLE.assign(station=["1", 1] * 12),
    "ones": TABLE.assign(station=[1, 0] * 12),
    "twice": pd.concat([TABLE, TABLE[["station"]]], axis=1),
    "lists": TABLE.assign(station=[[1], [2]] * 12),
    "mappings": TABLE.assign(station=[{"a": 1}, {}] * 12),
    "keys": pd.DataFrame({"station": range(1001), "kind": "a"}),
    "small": pd.concat([TABLE, table_of(["Visp"], 2).head(1)]),
    "dict": {"a": TABLE, "b": TABLE},
    "no column": {"a": TABLE, "b": TABLE.drop(columns="x")},
    "more columns": {"a": TABLE, "b": TABLE.assign(y=1)},
    "no table": {"a": TABLE, "b": [1]},
    "broken": {"a": TABLE, "b": lambda: 1 / 0},
    "empty": {},
}
REFUSED = [
    ("table", {"group_column": "statio"}, SourceError, "`hires` has no column `statio`. Did you mean `station`?"),
    ("table", {"group_column": "station", "groups": ["Bernn"]}, ConfigError, "'Bernn', which is not in the data. Did you mean `Bern`?"),
    ("years", {"group_column": "station", "groups": ["2007"]}, ConfigError, "group '2007', which is 2007 in the data: write it without"),
    ("texts", {"group_column": "station", "groups": [2007]}, ConfigError, "group 2007, which is '2007' in the data: write it in quotes"),
    ("truths", {"group_column": "station", "groups": ["True"]}, ConfigError, "group 'True', which is True in the data: write it without"),
    ("table", {"group_column": "station", "min_rows": 7}, ConfigError, "no group has 7 rows (min_rows); the largest has 6"),
    ("table", {}, ConfigError, "`hires` is a DataFrame, and `partitioned` of `delay` in parameters.yml has no group_column"),
    ("numbers", {"group_column": "station"}, ConfigError, "`station` has the value 1.5, a number with decimals"),
    ("dates", {"group_column": "station"}, ConfigError, "a Timestamp, and a group is text"),
    ("nothing", {"group_column": "station"}, ConfigError, "`station` has no value in any row"),
    ("mixed", {"group_column": "station"}, ConfigError, "the group 1 both as text and as a number"),
    ("twice", {"group_column": "station"}, SourceError, "`hires` has 2 columns `station`, and `partitioned` of `delay` in parameters.yml"),
    ("truths", {"group_column": "station", "groups": ["true"]}, ConfigError, "group 'true', which is True in the data: write it without"),
    ("truths", {"group_column": "station", "groups": [1]}, ConfigError, "names the group 1, which is not in the data. It has True, False"),
    ("ones", {"group_column": "station", "groups": [True]}, ConfigError, "names the group True, which is not in the data. It has 1, 0"),
    ("lists", {"group_column": "station"}, ConfigError, "`station` holds lists or mappings, and a group is text"),
    ("mappings", {"group_column": "station"}, ConfigError, "`station` holds lists or mappings, and a group is text"),
    ("keys", {"group_column": "station"}, ConfigError, "`station` has 1,001 values"),
    ("small", {"group_column": "station"}, ConfigError, "1 group of `partitioned` of `delay` in parameters.yml has too few rows"),
    ("dict", {"group_column": "station"}, ConfigError, "`hires` is a dict, and group_column"),
    ("no column", {}, ConfigError, "The partition `b` has no column `x`, which `a` has"),
    ("more columns", {}, ConfigError, "The partition `b` has a column `y`, and `a` has none"),
    ("no table", {}, SourceError, "The partition `b` is a list"),
    ("broken", {}, SourceError, "The partition `b` cannot be loaded: ZeroDivisionError"),
    ("dict", {"groups": ["c"]}, ConfigError, "names the partition 'c'"),
    ("empty", {}, ConfigError, "the data has no partitions"),
]


def divided(folder: Path, data: Any, **partitioned: Any) -> Partitions:
    return partitions_of(parameters_of(**partitioned), data, DirectoryVolume(folder), PLACE, what="hires")


@pytest.mark.parametrize(("data", "partitioned", "kind", "part"), REFUSED)
def test_data_that_cannot_be_divided_is_named(tmp_path: Path, data: str, partitioned: Any, kind: type[CloudTrainError], part: str) -> None:
    with pytest.raises(kind) as raised:
        divided(tmp_path, DATA[data], **partitioned)
    assert part in raised.value.message


NAMED = [
    (["Bern", 1.5, "Chur"], ["Bern", "Chur"], None),
    ([pd.Timestamp("2026-01-01"), "Bern"], ["Bern"], None),
    (["1", 1, "Bern"], ["Bern"], None),
    ([7.0, float("nan"), 8.5], [7], None),
    ([True, False], [True], None),
    ([*map(str, range(1500))], ["7", "1499"], None),
    ([*range(1500)], [7], None),
    # What is not there, or not so, is named as in any other table.
    ([*map(str, range(1500))], ["7", "x"], "names the group 'x', which is not in the data. It has 0, 1, 2, 3, 4, 5, 6, 7 and 1492 more."),
    ([*range(1500)], ["7"], "names the group '7', which is 7 in the data: write it without quotes"),
    (["1", 1], ["1"], "the group 1 both as text and as a number"),
    ([1.5, "Bern"], ["Basel"], "names the group 'Basel', which is not in the data. It has 1.5, Bern."),
    ([f"s{row}" for row in range(1500)], ["s7", "S12"], "names the group 'S12', which is not in the data. Did you mean `s12"),
    (["se", "no"], ["se", False], "group False: YAML reads no, off and false as False, and a group of the data is text. Put it in quotes"),
    (["true", "false"], [True], 'as in "true".'),
]


@pytest.mark.parametrize(("values", "groups", "part"), NAMED)
def test_of_groups_that_are_named_the_others_are_no_matter(tmp_path: Path, values: list[Any], groups: list[Any], part: str | None) -> None:
    rows = [value for value in values for _ in range(4)]
    table = pd.DataFrame({"station": pd.Series(rows, dtype=object), "x": range(len(rows)), "delay": range(len(rows))})
    if part is None:
        partitions = divided(tmp_path, table, group_column="station", groups=groups)
        assert [(partition.value, partition.rows) for partition in partitions.chosen] == sorted(((group, 4) for group in groups), key=str)
        assert partitions.ungrouped_rows == sum(4 for value in values if pd.isna(value))
        return
    with pytest.raises(ConfigError, match=re.escape(part)):
        divided(tmp_path, table, group_column="station", groups=groups)


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    table = pd.concat([TABLE, table_of(["Visp"], 2), TABLE.head(3).assign(station=None)])
    partitions = divided(tmp_path, table, group_column="station", min_rows=5)
    partitioned = parameters_of(group_column="station", min_rows=5).partitioned
    assert partitioned is not None
    assert list(partitions.described(partitioned)) == [
        "4 groups of 6 rows",
        "`partitioned.min_rows` leaves out 1 group: Visp (2)",
        "3 rows without a `station` are in no group, and in no model",
    ]
    whole = TABLE.assign(station=pd.Categorical(TABLE["station"], [*STATIONS, "Basel"]))
    assert [partition.value for partition in divided(tmp_path, whole, group_column="station").chosen] == STATIONS
    codes = pd.concat([TABLE.assign(station=7.0), TABLE.head(2).assign(station=float("nan"))])
    assert [partition.value for partition in divided(tmp_path, codes, group_column="station").chosen] == [7]


def test_every_output_of_a_real_training_names_its_group(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    table = pd.DataFrame({"shop": [7, 8] * 60, "x": random.normal(size=120), "c": random.choice(["a", "b"], 120)})
    table["price"] = table["x"] * table["shop"] + random.normal(scale=0.1, size=120)
    asked = {
        "model_type": "lightgbm_regression",
        "target_column": "price",
        "partitioned": {"group_column": "shop"},
        "hyperparameters": {"n_estimators": 4, "min_data_in_leaf": 2, "n_jobs": 1},
    }
    outputs = train(table, asked, kinds=("model", "metrics", "history", "importance", "predictions", "leaderboard"))
    for kind in ("history", "importance", "predictions"):
        assert outputs[kind].columns[0] == "shop"
        assert outputs[kind]["shop"].unique().tolist() == [7, 8]
    assert outputs["importance"]["feature"].unique().tolist() == ["x", "c"]
    assert sorted(outputs["leaderboard"]["shop"]) == [7, 8]
    for group, model in outputs["model"].items():
        held = outputs["predictions"].query(f"shop == {group}")
        rows = table[table["shop"] == int(group)].reset_index(drop=True)
        np.testing.assert_allclose(model.predict(rows.iloc[held["row"]]), held["prediction"])
        assert model.feature_columns == ["x", "c"]
    metrics = MetricsDataset(filepath=str(tmp_path / "metrics.json"))
    metrics.save(outputs["metrics"])
    assert metrics.load()["groups"]["7"]["rmse"] == outputs["metrics"]["groups"]["7"]["rmse"]
    history = TrainingHistoryDataset(filepath=str(tmp_path / "history.json"))
    history.save(outputs["history"])
    assert [len(line["x"]) for line in history.preview()["data"]] == [4, 4]


def test_metrics_of_groups_are_means_and_each_groups_own() -> None:
    summary = together({"a": {"f1": 1.0, "classes": ["x"]}, "b": {"f1": 0.5, "roc_auc": 0.75}}, "groups")
    assert summary == {
        "f1": 0.75,
        "f1_std": 0.25,
        "roc_auc": 0.75,
        "roc_auc_std": 0.0,
        "groups": {"a": {"f1": 1.0, "classes": ["x"]}, "b": {"f1": 0.5, "roc_auc": 0.75}},
    }


def test_a_client_that_is_killed_loses_no_group_that_is_trained(project: Project) -> None:
    project.write(
        "src/shop/pipeline_registry.py",
        """
        from kedro.pipeline import Pipeline

        from kedro_cloudtrain import training_node


        def register_pipelines():
            train = training_node("penguins", "params:mass", model="models", leaderboard="board", name="train")
            return {"__default__": Pipeline([train])}
        """,
    )
    project.write(
        "conf/base/parameters.yml",
        """
        mass:
          model_type: xgboost_regression
          target_column: body_mass_g
          feature_columns: [bill_length_mm, flipper_length_mm]
          hyperparameters: {n_estimators: 50}
          partitioned: {group_column: island}
        """,
    )
    project.write(
        "conf/base/catalog.yml",
        """
        penguins: {type: kedro_cloudtrain.CloudDataset, dataset_key: datasets/penguins.csv, volume: {path: data/volume}}
        models: {type: kedro_cloudtrain.ModelsDataset, filepath: data/models}
        board: {type: pandas.CSVDataset, filepath: data/board.csv, save_args: {index: false}}
        """,
    )
    client = start(project)
    wait_until(lambda: [job for job in project.jobs if (job / "result.json").exists()])
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    trained = {job.name: (job / "result.json").read_bytes() for job in project.jobs if (job / "result.json").exists()}
    run(project)
    board = pd.read_csv(project.path / "data/board.csv")
    assert sorted(board["island"]) == ["Biscoe", "Dream", "Torgersen"]
    assert set(trained) <= set(board.loc[board["state"] == "reused", "job"])
    assert {name: (project.path / f"data/volume/.cloudtrain/jobs/{name}/result.json").read_bytes() for name in trained} == trained
