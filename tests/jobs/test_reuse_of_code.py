"""Whatever decides what a function returns makes its work other work: the code of what it is given, the order, the files behind paths."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cloud import Cloud
from support.kedro_project import Project, edit, run

from kedro_cloudtrain.jobs.code import Codes
from kedro_cloudtrain.jobs.spec import dotted_names, unpickles
from kedro_cloudtrain.running.function import FunctionOrder
from kedro_cloudtrain.running.order import Inputs
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.remote_entry import RemoteEntry

OBJECTS = """
class Scaler:
    def apply(self, number):
        return number * 3


def loss(number):
    return number + 1
"""
DATASETS = """
from kedro_datasets.pandas import CSVDataset


class Doubling(CSVDataset):
    def load(self):
        return super().load() * 2


class Pieces(CSVDataset):
    def load(self):
        return (piece * 2 for piece in super().load())
"""
# What this process returns, for the machine to be given.
MADE = """
import pandas as pd
from shop.objects import Scaler, loss


def scaler():
    return Scaler()


def function():
    return {"f": loss}


def frames(order):
    table = pd.DataFrame({"x": [1]})
    return {name: table for name in order}


def places(place):
    return [place]


def table(place):
    return pd.DataFrame({"place": [place]})
"""


@dataclass
class Case:
    """A node on a machine, and what it depends on.

    Attributes:
        given: the entry that it is given.
        body: what its function returns of `x`.
        first: what that is at first.
        then: and after all changes.
        always: whether it runs each time.
    """

    given: str
    body: str
    first: Any
    then: Any
    always: bool = False


CASES = {
    "object": Case("scaler", "x.apply(2)", 6, 8),
    "function": Case("function", "x['f'](2)", 3, 4),
    "pickle": Case("kept", "x.apply(2)", 6, 8),
    "dataset": Case("doubled", "int(x['a']().x.sum())", 2, 3),
    "pieces": Case("pieces", "int(sum(piece.x.sum() for piece in x))", 2, 3),
    "order": Case("frames", "list(x)", ["a", "b"], ["b", "a"]),
    "parameter": Case("params:place", "open(x).read()", "first", "then", always=True),
    "places": Case("places", "open(x[0]).read()", "first", "then", always=True),
    "table": Case("table", "open(x.place[0]).read()", "first", "then", always=True),
    "nothing_of_it": Case("params:order", "len(x)", 2, 2),
}
LOCAL = {"scaler": "None", "function": "None", "frames": "'params:order'", "places": "'params:place'", "table": "'params:place'"}


@pytest.fixture
def dependent(project: Project) -> Project:
    project.write("src/shop/objects.py", OBJECTS)
    project.write("src/shop/datasets.py", DATASETS)
    project.write("src/shop/made.py", MADE)
    for name, case in CASES.items():
        project.write(f"src/shop/on_{name}.py", f"def {name}(x):\n    return {{'is': {case.body}}}\n")
    here = "".join(f"node(made.{name}, {given}, '{name}', name='make_{name}'), " for name, given in LOCAL.items())
    there = "".join(f"node(on_{name}.{name}, '{case.given}', 'is_{name}', name='{name}'), " for name, case in CASES.items())
    modules = ", ".join(["made", *(f"on_{name}" for name in CASES)])
    project.write(
        "src/shop/pipeline_registry.py",
        f"from kedro.pipeline import Pipeline, node\nfrom shop import {modules}\n\n\n"
        f"def register_pipelines():\n    return {{'__default__': Pipeline([{here}{there}])}}\n",
    )
    project.write(
        "conf/base/catalog.yml",
        """
        kept: {type: pickle.PickleDataset, filepath: data/kept.pkl}
        doubled: {type: partitions.PartitionedDataset, path: data/parts, dataset: shop.datasets.Doubling, filename_suffix: .csv}
        pieces: {type: shop.datasets.Pieces, filepath: data/parts/a.csv, load_args: {chunksize: 1}}
        "is_{name}": {type: json.JSONDataset, filepath: "data/out/{name}.json"}
        """,
    )
    project.write("conf/base/parameters.yml", "order: [a, b]\nplace: PLACE\n".replace("PLACE", str(project.path / "data/place.txt")))
    project.write("conf/base/cloudtrain.yml", f"nodes: {json.dumps({name: {} for name in CASES})}\n")
    project.write("data/place.txt", "first")
    project.write("data/parts/a.csv", "x\n1\n")
    script = "import pickle; from shop.objects import Scaler; pickle.dump(Scaler(), open('data/kept.pkl', 'wb'))"
    assert project.python("-c", script, PYTHONPATH="src").returncode == 0
    return project


def returned(project: Project) -> dict[str, Any]:
    return {name: json.loads((project.path / f"data/out/{name}.json").read_text())["is"] for name in CASES}


def test_what_decides_the_outcome_makes_other_work_and_a_run_without_a_change_reuses_all_the_rest(dependent: Project) -> None:
    first = run(dependent)
    assert returned(dependent) == {name: case.first for name, case in CASES.items()}
    for name, case in CASES.items():
        assert (f"{name}: `{case.given}` holds the path" in " ".join(first.split())) is case.always, name
    again = run(dependent)
    assert {name for name in CASES if f"{name} is done already" not in again} == {name for name, case in CASES.items() if case.always}
    edit(dependent, "src/shop/objects.py", "number * 3", "number * 4")
    edit(dependent, "src/shop/objects.py", "number + 1", "number + 2")
    edit(dependent, "src/shop/datasets.py", " * 2", " * 3")
    edit(dependent, "conf/base/parameters.yml", "[a, b]", "[b, a]")
    dependent.write("data/place.txt", "then")
    run(dependent)
    assert returned(dependent) == {name: case.then for name, case in CASES.items()}
    whys = {job.name.rpartition("-")[0]: json.loads((job / "why.json").read_text())["why"] for job in dependent.jobs}
    for name, case in CASES.items():
        if case.always:
            assert whys[name] == f"{case.given} refers to what may change unseen, so it counts as changed"


ENTRIES: list[tuple[dict[str, Any], bool, set[str]]] = [
    ({"type": "pickle.PickleDataset", "filepath": "s3://bucket/a"}, True, set()),
    ({"type": "pandas.GenericDataset", "filepath": "s3://bucket/a", "file_format": "pickle"}, True, set()),
    ({"type": "partitions.PartitionedDataset", "dataset": {"type": "pickle.PickleDataset", "backend": "joblib"}}, True, set()),
    ({"type": "pandas.CSVDataset", "filepath": "s3://bucket/a", "load_args": {"sep": ";", "na_values": ["a b", "1.5"]}}, False, set()),
    ({"type": "partitions.PartitionedDataset", "dataset": "shop.datasets.Doubling"}, False, {"shop.datasets.Doubling"}),
    ({"type": "partitions.PartitionedDataset", "dataset": {"type": "shop.datasets.Doubling"}}, False, {"shop.datasets.Doubling"}),
    ({"type": "shop.datasets.Pieces", "load_args": {"chunksize": 1}}, False, {"shop.datasets.Pieces"}),
    ({"type": "pandas.CSVDataset", "load_args": {"date_parser": "shop.dates.parse"}}, False, {"shop.dates.parse"}),
]


@pytest.mark.parametrize(("entry", "whole", "names"), ENTRIES, ids=range(len(ENTRIES)))
def test_what_an_entry_may_run_is_known_from_its_configuration_or_may_be_anything(
    entry: dict[str, Any], whole: bool, names: set[str]
) -> None:
    assert unpickles(entry) is whole
    assert {name for name in dotted_names(entry) if name.startswith("shop")} == names


@pytest.mark.parametrize("loaded", [True, False])
def test_where_a_machine_itself_loads_a_pickle_the_whole_project_counts(
    loaded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"bought{int(loaded)}"  # a name of its own: the other case's is imported by now
    (tmp_path / package).mkdir()
    for file, text in (("__init__", ""), ("nodes", "def use(x):\n    return x\n"), ("other", "")):
        (tmp_path / f"{package}/{file}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    function = importlib.import_module(f"{package}.nodes").use
    entry = RemoteEntry("kept", {"type": "pickle.PickleDataset", "filepath": "s3://bucket/kept.pkl"})
    given, returns = ("kept", "made") if loaded else ("params:x", "kept")

    def digest() -> str:
        order = FunctionOrder(
            "use",
            function,
            (given,),
            {given: entry if loaded else 1},
            returns,
            DirectoryVolume(tmp_path),
            tmp_path,
            codes=Codes(package),
            entries={"kept": entry},
        )
        return order.code(Inputs()).digest

    before = digest()
    (tmp_path / package / "other.py").write_text("changed = True\n")
    assert (digest() != before) is loaded


def test_a_pod_has_the_code_of_what_it_is_given(dependent: Project, cloud: Cloud) -> None:
    nodes = ("object", "function", "pickle", "dataset", "pieces")
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    settings = json.dumps({name: {"gpu": "none", "install": False} for name in nodes})
    dependent.write("conf/base/cloudtrain.yml", f"backend: runpod\n{volume}nodes: {settings}\n")
    run(dependent, f"--nodes={','.join([*(f'make_{name}' for name in LOCAL), *nodes])}", **cloud.environment)
    for name in nodes:
        assert json.loads((dependent.path / f"data/out/{name}.json").read_text())["is"] == CASES[name].first
