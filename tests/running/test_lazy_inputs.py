"""Entries that load a way to the data: the machine gets the data behind it, and the function what it gets under Kedro's own runners."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.cloud import Cloud
from support.kedro_project import PENGUINS, Project, run

CATALOG = """
parts: {type: partitions.PartitionedDataset, path: data/parts, dataset: pandas.CSVDataset, filename_suffix: .csv}
lazy: {type: polars.LazyPolarsDataset, filepath: data/penguins.csv, file_format: csv}
pieces: {type: pandas.CSVDataset, filepath: data/penguins.csv, load_args: {chunksize: 100}}
new: {type: partitions.IncrementalDataset, path: data/parts, dataset: pandas.CSVDataset, filename_suffix: .csv}
cached: {type: CachedDataset, dataset: {type: partitions.PartitionedDataset, path: data/parts, dataset: pandas.CSVDataset}}
rows: {type: json.JSONDataset, filepath: data/rows.json}
newest: {type: partitions.IncrementalDataset, path: data/halves, dataset: pandas.CSVDataset, filename_suffix: .csv}
halves: {type: partitions.PartitionedDataset, path: data/halves, dataset: pandas.CSVDataset, filename_suffix: .csv, overwrite: true}
"""
NODES = """
import os
import pandas as pd


def of_parts(parts):
    assert all(callable(part) for part in parts.values())
    return {"rows": sum(len(part()) for part in parts.values()), "names": sorted(parts)}


def of_lazy(frame):
    assert type(frame).__name__ == "LazyFrame"
    return {"rows": frame.collect().height}


def of_pieces(pieces):
    return {"rows": sum(len(piece) for piece in pieces)}


def of_new(parts):
    return {"rows": sum(len(part) for part in parts.values()), "names": sorted(parts)}


def halve(parts):
    table = pd.concat([part() for part in parts.values()])
    def half(number):
        with open(os.environ["CALLS"], "a") as calls:
            print(os.getpid(), number, file=calls)
        return table.iloc[number::2]
    return {"second/half": lambda: half(1), "first": lambda: half(0), "whole": table}
"""
LAZY = {"parts": "of_parts", "lazy": "of_lazy", "pieces": "of_pieces", "new": "of_new", "cached": "of_parts"}


@pytest.fixture
def lazies(project: Project) -> Project:
    penguins = pd.read_csv(PENGUINS)
    (project.path / "data/parts/south").mkdir(parents=True)
    for island, place in (("Biscoe", "Biscoe"), ("Dream", "Dream"), ("Torgersen", "south/Torgersen")):
        penguins[penguins["island"] == island].to_csv(project.path / f"data/parts/{place}.csv", index=False)
    penguins.to_csv(project.path / "data/penguins.csv", index=False)
    project.write("conf/base/catalog.yml", CATALOG)
    project.write("src/shop/nodes.py", NODES)
    return project


def with_node(project: Project, function: str, inputs: str, outputs: str = "rows") -> None:
    confirms = ["new"] if inputs == "new" else []
    project.write(
        "src/shop/pipeline_registry.py",
        f"""
        from kedro.pipeline import Pipeline, node

        from shop.nodes import {function}


        def register_pipelines():
            return {{"__default__": Pipeline([node({function}, "{inputs}", "{outputs}", name="{function}", confirms={confirms})])}}
        """,
    )
    project.write("conf/base/cloudtrain.yml", f"nodes: {{{function}: {{}}}}\n")


def rows(project: Project) -> dict[str, object]:
    return dict(json.loads((project.path / "data/rows.json").read_text()))


@pytest.mark.parametrize("entry", LAZY)
def test_a_function_is_given_what_it_is_given_under_kedros_own_runner(lazies: Project, entry: str) -> None:
    with_node(lazies, LAZY[entry], entry)
    done = lazies.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 0, done.stdout + done.stderr
    there = rows(lazies)
    assert there["rows"] == 344
    (lazies.path / "data/parts/CHECKPOINT").unlink(missing_ok=True)
    assert lazies.kedro("run").returncode == 0
    assert rows(lazies) == there


@pytest.mark.parametrize(("entry", "file", "left"), [
    ("parts", "data/parts/south/Torgersen.csv", 292 + 9), ("lazy", "data/penguins.csv", 9), ("pieces", "data/penguins.csv", 9),
    ("cached", "data/parts/south/Torgersen.csv", 292 + 9),
])  # fmt: skip
def test_what_has_changed_behind_an_entry_is_never_taken_for_unchanged(lazies: Project, entry: str, file: str, left: int) -> None:
    with_node(lazies, LAZY[entry], entry)
    run(lazies)
    assert "is done already" in run(lazies)
    lines = (lazies.path / file).read_text().splitlines(keepends=True)
    (lazies.path / file).write_text("".join(lines[:10]))
    assert "is done already" not in run(lazies)
    assert rows(lazies)["rows"] == left
    assert json.loads((lazies.jobs[-1] / "why.json").read_text())["why"].startswith(f"changed: the input {entry}")


def test_one_partition_that_has_changed_is_sent_alone(lazies: Project) -> None:
    with_node(lazies, "of_parts", "parts")
    run(lazies)
    sent = lazies.path / "data/volume/.cloudtrain/inputs"
    before = {file.name for file in sent.iterdir()}
    assert len(before) == 4  # three parts and their list
    table = lazies.path / "data/parts/Dream.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:5]))
    run(lazies)
    assert len({file.name for file in sent.iterdir()} - before) == 2


@pytest.mark.parametrize("mounted", [True, False], ids=["network volume", "bucket"])
def test_a_pod_has_the_files_and_none_of_this_computers_paths(
    mounted: bool, lazies: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_node(lazies, "of_parts", "parts")
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    if not mounted:
        cloud.use_bucket(monkeypatch)
        volume = f"volume: {{bucket: {cloud.volume_id}, region: eu-central-1, endpoint_url: '{cloud.s3.endpoint_url}'}}\n"
    lazies.write(
        "conf/base/cloudtrain.yml", f"backend: runpod\n{volume}nodes: {{of_parts: {{}}}}\ndefaults: {{gpu: none, install: false}}\n"
    )
    run(lazies)
    assert rows(lazies)["names"] == ["Biscoe", "Dream", "south/Torgersen"]
    for file in (cloud.bucket / ".cloudtrain").rglob("*"):
        if file.is_file() and file.name != "worker.zip":
            assert str(lazies.path).encode() not in file.read_bytes(), file


@pytest.mark.parametrize("entry", ["halves", "newest"])
def test_what_is_saved_lazily_is_computed_on_the_machine_in_the_order_of_its_names(entry: str, lazies: Project, tmp_path: Path) -> None:
    with_node(lazies, "halve", "parts", entry)
    calls = tmp_path / "calls"
    run(lazies, CALLS=str(calls))
    there, made = calls.read_text().split(), {file: file.read_text() for file in (lazies.path / "data/halves").rglob("*.csv")}
    assert there[1::2] == ["0", "1"]
    assert len(set(there[::2])) == 1
    assert len(made) == 3
    calls.unlink()
    assert lazies.kedro("run", CALLS=str(calls)).returncode == 0
    assert {file: file.read_text() for file in (lazies.path / "data/halves").rglob("*.csv")} == made
    assert calls.read_text().split()[1::2] == ["0", "1"]
    calls.unlink()
    # What is done is taken from its folder: nothing is called again.
    assert "is done already" in run(lazies, CALLS=str(calls))
    assert not calls.exists()


CACHE_NODES = """
import pandas as pd


def make():
    return {"p1": pd.DataFrame({"x": [1]}), "p2": pd.DataFrame({"x": [2]})}


def make_lazily():
    return {"p1": lambda: pd.DataFrame({"x": [1]}), "p2": lambda: pd.DataFrame({"x": [2]})}


def look(parts):
    return sorted(parts)


def add(parts):
    return {"late": pd.DataFrame({"x": [3]})}, "late"


def use(parts, *after):
    return {
        name: {"callable": callable(part), "x": (part() if callable(part) else part).x.tolist()} for name, part in sorted(parts.items())
    }
"""
LAYERS = "{type: partitions.PartitionedDataset, path: data/kept, dataset: pandas.CSVDataset, filename_suffix: .csv}"
# What runs before the node that is given a cached entry, and where.
CACHED: dict[str, tuple[str, tuple[str, ...]]] = {
    "nothing": ("", ("use",)),
    "a node that saves it": ("node(make, None, 'kept', name='make'),", ("use",)),
    "a machine that saves it": ("node(make, None, 'kept', name='make'),", ("make", "use")),
    "a node that saves it lazily": ("node(make_lazily, None, 'kept', name='make'),", ("use",)),
    "a machine that saves it lazily": ("node(make_lazily, None, 'kept', name='make'),", ("make", "use")),
    "a node that loads it": ("node(look, 'kept', 'looked', name='look'),", ("use",)),
    "a node that loads it, and one that adds a part behind it": (
        "node(look, 'kept', 'looked', name='look'), node(add, 'looked', ['behind', 'added'], name='add'),",
        ("use",),
    ),
}


@pytest.mark.parametrize("before", CACHED)
def test_of_a_cached_entry_a_function_gets_what_the_cache_has(before: str, project: Project) -> None:
    nodes, machines = CACHED[before]
    project.write(
        "conf/base/catalog.yml",
        f"kept: {{type: CachedDataset, dataset: {LAYERS}}}\nbehind: {LAYERS}\nused: {{type: json.JSONDataset, filepath: data/used.json}}\n",
    )
    project.write("src/shop/nodes.py", CACHE_NODES)
    after = [name for name in ("looked", "added") if name in nodes]
    project.write(
        "src/shop/pipeline_registry.py",
        f"from kedro.pipeline import Pipeline, node\nfrom shop.nodes import *\n\n\n"
        f"def register_pipelines():\n    return {{'__default__': Pipeline([{nodes} node(use, {['kept', *after]}, 'used', name='use')])}}\n",
    )
    used = []
    for runner in ("SequentialRunner", "cloudtrain"):
        for file in (project.path / "data/kept").glob("*"):
            file.unlink()
        project.write("data/kept/old.csv", "x\n0\n")
        project.write("conf/base/cloudtrain.yml", f"nodes: {json.dumps({name: {} for name in machines})}\n")
        done = project.kedro("run", f"--runner={runner}")
        assert done.returncode == 0, done.stdout + done.stderr
        used.append(json.loads((project.path / "data/used.json").read_text()))
    assert used[0] == used[1]
    assert len(project.jobs) == len(machines)
