"""A prediction node before the run: everything that can be known to be wrong with it is a message of `plan`, before money."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline.node import Node
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.pickle import PickleDataset
from support.small_models import flights, train

from kedro_cloudtrain import (
    CloudDataset,
    ConfigError,
    MetricsDataset,
    ModelDataset,
    TrainingScriptGenerator,
    prediction_node,
    training_node,
)
from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.jobs.spec import work_of
from kedro_cloudtrain.planning.inspection import Look, look_at_inputs
from kedro_cloudtrain.planning.planner import Planner
from kedro_cloudtrain.planning.prediction import PredictionPlan
from kedro_cloudtrain.planning.record import make_record
from kedro_cloudtrain.prediction import PredictionFunction, predict
from kedro_cloudtrain.running.prepare import prepare

PODS = {"backend": "runpod", "volume": {"id": "vol123", "data_center": "EU-RO-1"}}


class Flights:
    """A catalog with a table, a model and a place for predictions."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.volume = folder, {"path": str(folder / "volume")}
        (folder / "volume").mkdir()
        self.write(flights(300))
        train(folder / "model", flights(300), "binary_classification")
        self.entries: dict[str, Any] = {
            "flights": self.cloud("flights.parquet"),
            "delay_model": ModelDataset(filepath=str(folder / "model")),
            "scores": self.cloud("scores.parquet"),
        }
        self.keep = ["carrier", "date"]
        self.nodes: list[Node] = []

    def cloud(self, key: str, **more: Any) -> CloudDataset:
        return CloudDataset(dataset_key=key, volume=self.volume, **more)

    def write(self, frame: pd.DataFrame) -> None:
        frame.to_parquet(self.folder / "volume/flights.parquet", index=False)

    def planner(self, **settings: Any) -> Planner:
        made = make_settings({"volume": self.volume, **settings})
        return Planner(DataCatalog(self.entries), made, TrainingScriptGenerator(), self.folder)

    def plan(self, **settings: Any) -> PredictionPlan:
        node = prediction_node("flights", "delay_model", predictions="scores", keep=self.keep, name="score")
        *_, plan = self.planner(**settings).plan([*self.nodes, node])
        assert isinstance(plan, PredictionPlan)
        return plan

    def look(self) -> Look:
        return look_at_inputs(self.plan(), DataCatalog(self.entries))

    def problems(self) -> list[str]:
        plan = self.plan()
        return [*plan.problems, *look_at_inputs(plan, DataCatalog(self.entries)).problems]


@pytest.fixture
def made(tmp_path: Path) -> Flights:
    return Flights(tmp_path)


def test_a_right_node_has_no_problem_and_its_machine_saves_what_it_makes(made: Flights) -> None:
    plan = made.plan()
    assert (made.problems(), made.look().notes) == ([], ())
    assert (plan.kind, plan.noun, plan.column_count) == ("xgboost prediction", "prediction", 5)
    assert plan.reads == "flights.parquet, delay_model sent from this computer"
    assert plan.saved_by_machine("scores")
    assert plan.workload(8_000_000_000, (100_000_000, 5)).ram_gb < 3
    assert plan.workload(None).device == "cpu"


def _rename(made: Flights) -> None:
    made.write(flights(300).rename(columns={"distance": "distances"}))


def _text(made: Flights) -> None:
    made.write(flights(300).assign(distance="12 km"))


def _clash(made: Flights) -> None:
    made.keep = ["prediction"]
    made.write(flights(300).assign(prediction=1))


def _class_clash(made: Flights) -> None:
    made.keep = ["probability_late"]
    made.write(flights(300).assign(probability_late=1))


def _lacks_kept(made: Flights) -> None:
    made.keep = ["carriers"]


def _metrics(made: Flights) -> None:
    made.entries["scores"] = MetricsDataset(filepath=str(made.folder / "scores.json"))


def _model_output(made: Flights) -> None:
    made.entries["scores"] = ModelDataset(filepath=str(made.folder / "scores"))


def _other_model(made: Flights) -> None:
    made.entries["delay_model"] = MemoryDataset({"a": 1})


def _report_as_model(made: Flights) -> None:
    made.entries["delay_model"] = MetricsDataset(filepath=str(made.folder / "metrics.json"))
    made.entries["delay_model"].save({"rmse": 1.0})


def _pickled(made: Flights) -> None:
    PickleDataset(filepath=str(made.folder / "model.pkl")).save(pd.Series([1]))
    made.entries["delay_model"] = PickleDataset(filepath=str(made.folder / "model.pkl"))


def _no_model(made: Flights) -> None:
    shutil.rmtree(made.folder / "model")


def _broken_model(made: Flights) -> None:
    (made.folder / "model/model.json").write_text("{")


def _later_format(made: Flights) -> None:
    file = made.folder / "model/model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 9}))


def _no_table(made: Flights) -> None:
    (made.folder / "volume/flights.parquet").unlink()


def _read_only(made: Flights) -> None:
    made.entries["scores"] = CloudDataset(dataset_url="https://example.org/scores.parquet")


def _table_as_output(made: Flights) -> None:
    made.entries["scores"] = made.cloud("flights.parquet")


def _dates(made: Flights) -> None:
    made.write(flights(300).assign(distance=pd.Timestamp("2026-01-02")))


WRONG: dict[str, tuple[Callable[[Flights], None], str]] = {
    "a missing feature": (_rename, "`flights` has no column `distance`. Closest: distances. Columns: distances, seats, carrier, weekend,"),
    "its cure": (_rename, "(5). Fix the table, or train `delay_model` on columns that it has."),
    "a feature of text": (_text, "column `distance` holds text (such as '12 km'), and the model was trained on numbers: each would count"),
    "the cure of that": (_text, "Fix the table, or train `delay_model` on such a column."),
    "a kept column that is not there": (_lacks_kept, "`flights` has no column `carriers`. Closest: carrier. Columns: distance, seats,"),
    "where that is named": (_lacks_kept, "Fix `keep` of score in the pipeline."),
    "a kept `prediction`": (_clash, "`keep` names a column `prediction`, which is the name of the predictions' own. Rename the table's"),
    "a kept probability": (_class_clash, "`keep` names a column `probability_late`, which is the name of a class's probability."),
    "metrics as output": (_metrics, "its output `scores` is MetricsDataset, and the node makes a table (predictions), which pandas."),
    "a model as output": (_model_output, "its output `scores` is ModelDataset, and the node makes a table (predictions), which pandas."),
    "an output that is read only": (_read_only, "its output `scores` is a URL, which is read only. Give the entry a dataset_key."),
    "a model that is none": (_other_model, "its model `delay_model` is a dict, and a prediction node takes the model of a training node"),
    "a report as model": (_report_as_model, "its model `delay_model` is a dict, and a prediction node takes the model of a training node"),
    "a pickle of something else": (_pickled, "its model `delay_model` is a pandas.Series, and a prediction node takes the model of a"),
    "no model": (_no_model, "`delay_model` would be sent from this computer, but does not exist: "),
    "a broken model": (_broken_model, "model.json does not describe a model. Train it again."),
    "a model of a later release": (_later_format, "is a model of format 9, and this release reads formats 1 and 2 only."),
    "the table as output": (_table_as_output, "its output `scores` and its input `flights` are one file, flights.parquet: what it reads"),
    "dates for numbers": (
        _dates,
        "column `distance` holds dates (such as 2026-01-02), and the model was trained on numbers",
    ),
    "no table": (_no_table, "`flights`: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_before_the_run(made: Flights, case: str) -> None:
    change, words = WRONG[case]
    change(made)
    problems = made.problems()
    assert any(words in problem for problem in problems), problems
    assert len(problems) == 1, problems


def test_a_library_that_is_not_installed_is_told_on_this_computer_alone(made: Flights, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "xgboost" else find(name, *more))
    assert made.plan().problems == ('xgboost is not installed in this environment: pip install "kedro-cloudtrain[xgboost]"',)
    made.entries["flights"] = made.entries["scores"] = CSVDataset(filepath=str(made.folder / "flights.csv"))
    assert made.plan(**PODS).problems == ()


@pytest.mark.parametrize("kind", ["sent", "text"])
def test_a_table_that_is_sent_or_is_text_is_looked_at_too(made: Flights, kind: str) -> None:
    file = made.folder / "volume/flights.csv"
    made.entries["flights"] = CSVDataset(filepath=str(file)) if kind == "sent" else made.cloud("flights.csv")
    flights(50).to_csv(file, index=False)
    assert made.problems() == []
    flights(50).drop(columns="seats").assign(weekend="no").to_csv(file, index=False)
    (missing,) = made.problems()
    assert "`flights` has no column `seats`." in missing
    flights(50).assign(weekend="maybe").to_csv(file, index=False)
    (kind_of,) = made.problems()
    assert "column `weekend` holds text (such as 'maybe'), and the model was trained on true and false" in kind_of


def test_categories_that_the_model_does_not_know_are_a_note(made: Flights) -> None:
    made.write(flights(300).assign(carrier="ZZ"))
    look = made.look()
    assert look.problems == ()
    (note,) = look.notes
    assert note == (
        "`flights`: column `carrier` has none of the model's 4 categories (7, AA, B6, UA) in its first rows, but such as 'ZZ': each counts "
        "as missing. Check that it is the column that `delay_model` was trained on."
    )
    made.write(flights(300).assign(carrier=["ZZ", *flights(300)["carrier"][1:]]))
    (note,) = made.look().notes
    assert note == (
        "`flights`: column `carrier` has 1 of 273 values in its first rows that the model does not know, such as 'ZZ': each counts "
        "as missing."
    )


def test_an_empty_table_is_no_mistake_of_a_prediction(made: Flights) -> None:
    made.write(flights(300).iloc[:0])
    assert made.problems() == []


SAVED: dict[str, tuple[Callable[[Flights], Any], bool]] = {
    "parquet on the volume": (lambda made: made.cloud("s.parquet"), True),
    "parquet without an index, as it is anyway": (lambda made: made.cloud("s.parquet", save_args={"index": False}), True),
    "parquet with arguments of pandas' writer": (lambda made: made.cloud("s.parquet", save_args={"compression": "gzip"}), False),
    "csv on the volume": (lambda made: made.cloud("s.csv"), False),
    "another volume": (lambda made: CloudDataset(dataset_key="s.parquet", volume={"path": str(made.folder / "other")}), False),
    "a file on this computer": (lambda made: CSVDataset(filepath=str(made.folder / "s.csv")), False),
    "memory": (lambda _: MemoryDataset(), False),
}


@pytest.mark.parametrize("case", SAVED)
def test_the_machine_saves_parquet_on_its_own_volume_and_nothing_else(made: Flights, case: str) -> None:
    entry, by_machine = SAVED[case]
    made.entries["scores"] = entry(made)
    plan = made.plan()
    assert (plan.problems, plan.saved_by_machine("scores")) == ((), by_machine)


def test_what_a_validator_has_to_see_comes_back(made: Flights, monkeypatch: pytest.MonkeyPatch) -> None:
    validators = {("scores", "save"): "shop.schemas.Scores"}
    monkeypatch.setattr("kedro_cloudtrain.planning.prediction.validator_of", lambda _, name, mode: validators.get((name, mode)))
    assert not made.plan().saved_by_machine("scores")


PARAMETERS = {"model_type": "lightgbm_regression", "target_column": "delay", "feature_columns": ["distance", "speed"]}


def test_of_a_model_that_the_run_trains_its_training_tells_what_is_known(made: Flights) -> None:
    made.entries["params:delay"] = MemoryDataset(PARAMETERS)
    made.nodes = [training_node("flights", "params:delay", model="delay_model", name="train")]
    plan = made.plan()
    assert plan.kind == "lightgbm prediction"
    assert [line for line in plan.requirements(gpu=False) if line.startswith("lightgbm==")]
    (problem,) = look_at_inputs(plan, DataCatalog(made.entries)).problems
    assert "`flights` has no column `speed`." in problem
    made.nodes = [training_node("flights", "params:delay", model="fitted", metrics="delay_model", name="train")]
    assert "its model `delay_model` is the `metrics` of train: name the `model` of that node." in made.plan().problems
    made.nodes = [training_node("flights", "params:delay", model="delay_model", name="train")]
    # Another node makes the parameters: nothing is known.
    del made.entries["params:delay"]
    plan = made.plan()
    assert (plan.kind, plan.requirements(gpu=False), plan.column_count) == ("prediction", (), None)


def test_a_pod_installs_the_release_that_the_model_was_fitted_with_and_what_reads_the_table(made: Flights) -> None:
    file = made.folder / "model/model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "versions": {"python": "3.11.4", "xgboost": "2.1.3", "numpy": "1.0"}}))
    made.entries["flights"] = CloudDataset(dataset_url="https://example.org/flights.xlsx")
    made.entries["scores"] = MemoryDataset()
    lines = made.plan(**PODS).requirements(gpu=True)
    # Trees predict on the CPU, also on a pod that has a GPU.
    assert "xgboost-cpu==2.1.3" in lines
    names = {line.partition("==")[0] for line in lines}
    assert names == {"numpy", "pandas", "pyarrow", "openpyxl", "fsspec", "aiohttp", "xgboost-cpu"}
    assert "numpy==1.0" not in lines


def test_the_work_is_another_with_another_model_and_the_same_with_the_same(made: Flights) -> None:
    def name() -> str:
        plan = made.plan()
        inputs = {"flights": plan.machine_input("flights"), "delay_model": DataCatalog(made.entries).load("delay_model")}
        job = prepare(plan.order(inputs, TrainingScriptGenerator()), TrainingScriptGenerator())
        assert work_of(job.spec) == "predicts by delay_model"
        assert all(sent.name.rpartition(".")[2] in ("json", "ubj") for sent in job.sent)
        return job.name

    first = name()
    copied = made.folder / "copy"
    shutil.copytree(made.folder / "model", copied)
    made.entries["delay_model"] = ModelDataset(filepath=str(copied))
    assert name() == first
    train(copied, flights(200, seed=9), "binary_classification")
    assert name() != first


def test_a_plan_in_a_file_is_held_to_the_columns_that_are_kept(made: Flights) -> None:
    def recorded() -> Any:
        planner = made.planner()
        node = prediction_node("flights", "delay_model", predictions="scores", keep=made.keep, name="score")
        record = make_record(planner, planner.plan([node]))
        assert record.opaque == ()
        return record.nodes["score"]

    before = recorded()
    assert recorded() == before
    made.keep = ["carrier"]
    assert recorded().work != before.work


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"predictions": ""}, "has no output. Name the dataset of the predictions"),
        ({"keep": "carrier"}, r"`keep` of prediction_node\('flights', 'delay_model'\) is 'carrier': write a list of the names of columns"),
        ({"keep": [1]}, r"is \[1\]: write a list"),
        ({"keep": None}, "is None: write a list"),
        ({"keep": ["a", "b", "a"]}, "names `a` more than once"),
    ],
)
def test_a_node_that_makes_no_sense_is_refused_where_it_is_written(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prediction_node("flights", "delay_model", **{"predictions": "scores", **more})


def test_the_node_is_an_ordinary_one_of_kedros() -> None:
    node = prediction_node("flights", "m", predictions="scores", keep=["id"], name="score", tags=["gpu"], namespace="air")
    assert (node.name, node.inputs, node.outputs, node.tags) == ("air.score", ["flights", "m"], ["scores"], {"gpu"})
    assert node.func == PredictionFunction(("id",)) != PredictionFunction(())
    assert len({PredictionFunction(("id",)), PredictionFunction(("id",))}) == 1
    assert repr(node.func) == "PredictionFunction(id)"


def test_under_any_other_runner_it_predicts_on_this_computer_by_the_same_script(tmp_path: Path) -> None:
    frame = flights(40).set_index("seats", drop=False)
    model = train(tmp_path / "model", frame)
    predicted = PredictionFunction(("carrier",))(frame, model)
    assert list(predicted.columns) == ["carrier", "prediction"]
    assert predicted["prediction"].tolist() == model.predict(frame).tolist()
    with pytest.raises(ConfigError, match="The model of the prediction node is a str, and a prediction node takes the model of a training"):
        predict(frame, "model")
