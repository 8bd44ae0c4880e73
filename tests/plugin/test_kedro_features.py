"""What Kedro promises holds for nodes on a machine: each row of the reference's table, run by Kedro's own runner and by ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.kedro_project import KEDRO, PENGUINS, Project
from support.pages import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = """
import pandas as pd
from kedro.pipeline import Pipeline, node, pipeline


def head(table, rows):
    return table.head(rows)


def count(table):
    return {"rows": len(table), "columns": list(table.columns)}


def split(table):
    return {"first": table.head(5), "rest": table.iloc[5:]}


def total(parts):
    return {"rows": sum(len(part() if callable(part) else part) for part in parts.values())}


def made(table):
    for number in range(3):
        yield table.iloc[number::3]


def pieces(table):
    return {f"part{number}": (lambda number=number: table.iloc[number::3]) for number in range(3)}


def nothing(table):
    pass


class Counter:
    @classmethod
    def count(cls, table):
        return count(table)

    @staticmethod
    def rows(table):
        return {"rows": len(table)}
"""
HOOKS = """
from kedro.framework.hooks import hook_impl


class Overrides:
    @hook_impl
    def before_node_run(self, node, inputs):
        return {"params:rows": 4} if node.name == "head" else None


class Datasets:
    def write(self, text):
        with open("data/out/hooks.txt", "a") as file:
            print(text, file=file)

    @hook_impl
    def before_dataset_loaded(self, dataset_name):
        self.write(f"load {dataset_name}")

    @hook_impl
    def after_dataset_loaded(self, dataset_name, data):
        self.write(f"loaded {dataset_name} {type(data).__name__}")

    @hook_impl
    def before_dataset_saved(self, dataset_name, data):
        self.write(f"save {dataset_name} {type(data).__name__}")

    @hook_impl
    def after_dataset_saved(self, dataset_name):
        self.write(f"saved {dataset_name}")
"""
TABLE = "table: {type: pandas.CSVDataset, filepath: data/table.csv}\n"
COUNTS = "counts: {type: json.JSONDataset, filepath: data/out/counts.json}\n"
HEAD = "top: {type: pandas.CSVDataset, filepath: data/out/top.csv}\n"


class Shop:
    """A project whose nodes are those of a feature.

    Args:
        project: the project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        project.write("src/shop/nodes.py", NODES)
        project.write("conf/base/parameters.yml", "rows: 7\ndeep: {er: {rows: 3}}\n")
        project.write("data/table.csv", PENGUINS.read_text())
        (project.path / "data/out").mkdir()
        project.write("conf/base/cloudtrain.yml", 'nodes: {"*": {}}\n')

    def has(self, catalog: str, *nodes: str, hooks: str = "") -> None:
        """Write the catalog and the nodes, each a call of Kedro's `node`."""
        self.project.write("conf/base/catalog.yml", catalog)
        self.project.write(
            "src/shop/pipeline_registry.py",
            f"from shop.nodes import *\n\n\ndef register_pipelines():\n    return {{'__default__': pipeline([{', '.join(nodes)}])}}\n",
        )
        if hooks:
            self.project.write("src/shop/hooks.py", HOOKS)
            settings = self.project.path / "src/shop/settings.py"
            settings.write_text(f"{settings.read_text()}from shop.hooks import {hooks}\nHOOKS = ({hooks}(),)\n")

    def left_by(self, *arguments: str) -> dict[str, str]:
        """Run, and return the content of each file that the run has left, by its path without versions."""
        done = self.project.kedro("run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        out = self.project.path / "data/out"
        files = {
            file: re.sub(r"\d{4}-\d\d-\d\dT[\d.]+Z", "VERSION", str(file.relative_to(out))) for file in out.rglob("*") if file.is_file()
        }
        left = {name: file.read_text(errors="replace") for file, name in sorted(files.items())}
        for file in files:
            file.unlink()
        return left

    def is_the_same(self, *arguments: str) -> dict[str, str]:
        """Check that our runner, with all nodes on machines, leaves what Kedro's own does."""
        wanted = self.left_by(*arguments)
        assert wanted
        assert self.left_by("--runner=cloudtrain", *arguments) == wanted
        assert list((self.project.path / "data/volume/.cloudtrain/jobs").iterdir())
        return wanted

    def is_refused(self, words: str) -> None:
        """Check that `plan` refuses, and so does a run."""
        done = self.project.kedro("cloudtrain", "plan")
        assert done.returncode == 1
        assert words in " ".join((done.stdout + done.stderr).split())
        done = self.project.kedro("run", "--runner=cloudtrain")
        assert done.returncode == 1
        assert words in " ".join((done.stdout + done.stderr).split())


def _validator(shop: Shop) -> None:
    shop.project.write("src/shop/checks.py", "def check(table):\n    return table.assign(checked=1)\n")
    shop.has(
        TABLE.replace("}\n", ", validator: shop.checks.check}\n") + HEAD,
        "node(head, ['table', 'params:rows'], 'top', name='head')",
    )
    assert "checked" in shop.is_the_same()["top.csv"]


def _versioned(shop: Shop) -> None:
    shop.has(TABLE + HEAD.replace("}\n", ", versioned: true}\n"), "node(head, ['table', 'params:rows'], 'top', name='head')")
    assert list(shop.is_the_same()) == ["top.csv/VERSION/top.csv"]


def _load_versions(shop: Shop) -> None:
    for version, rows in (("2020-01-01T00.00.00.000Z", 5), ("2021-01-01T00.00.00.000Z", 9)):
        text = "".join(PENGUINS.read_text().splitlines(keepends=True)[: rows + 1])
        shop.project.write(f"data/old.csv/{version}/old.csv", text)
    shop.has(
        "old: {type: pandas.CSVDataset, filepath: data/old.csv, versioned: true}\n" + COUNTS, "node(count, 'old', 'counts', name='count')"
    )
    assert '"rows": 9' in shop.is_the_same()["counts.json"]
    assert '"rows": 5' in shop.is_the_same("--load-versions=old:2020-01-01T00.00.00.000Z")["counts.json"]


def _transcoding(shop: Shop) -> None:
    shop.has(
        TABLE + COUNTS + "mid@pandas: {type: pandas.CSVDataset, filepath: data/out/mid.csv}\n"
        "mid@text: {type: text.TextDataset, filepath: data/out/mid.csv}\n",
        "node(head, ['table', 'params:rows'], 'mid@pandas', name='head')",
        "node(lambda text: {'characters': len(text)}, 'mid@text', 'counts', name='count')",
    )
    shop.project.write("conf/base/cloudtrain.yml", "nodes: {head: {}}\n")
    assert "characters" in shop.is_the_same()["counts.json"]


def _cached(shop: Shop) -> None:
    shop.has(
        f"table: {{type: CachedDataset, dataset: {TABLE[7:-1]}}}\n" + HEAD + COUNTS,
        "node(head, ['table', 'params:rows'], 'top', name='head')",
        "node(count, 'table', 'counts', name='count')",
    )
    shop.is_the_same()


def _metadata(shop: Shop) -> None:
    shop.has(TABLE.replace("}\n", ", metadata: {layer: raw}}\n") + COUNTS, "node(count, 'table', 'counts', name='count')")
    shop.is_the_same()


def _factories(shop: Shop) -> None:
    shop.has(
        TABLE + '"{name}_csv": {type: pandas.CSVDataset, filepath: "data/out/{name}.csv"}\n' + COUNTS,
        "node(head, ['table', 'params:rows'], 'some_csv', name='head')",
        "node(count, 'some_csv', 'counts', name='count')",
    )
    assert '"rows": 7' in shop.is_the_same()["counts.json"]


def _parameters(shop: Shop) -> None:
    shop.has(
        TABLE + HEAD + COUNTS,
        "node(head, ['table', 'params:deep.er.rows'], 'top', name='head')",
        "node(lambda deep, every: {'deep': deep, 'every': every}, ['params:deep', 'parameters'], 'counts', name='both')",
    )
    shop.project.write("conf/base/cloudtrain.yml", "nodes: {head: {}}\n")
    shop.is_the_same()
    shop.is_the_same("--params=deep.er.rows=2")


def _namespaces(shop: Shop) -> None:
    shop.has(
        TABLE + '"{space}.counts": {type: json.JSONDataset, filepath: "data/out/{space}.json"}\n',
        "pipeline([node(count, 'table', 'counts', name='count')], namespace='north', inputs={'table'})",
        "pipeline([node(count, 'table', 'counts', name='count')], namespace='south', inputs={'table'})",
    )
    assert set(shop.is_the_same()) == {"north.json", "south.json"}


def _partitions(shop: Shop) -> None:
    shop.has(
        TABLE + COUNTS + "parts: {type: partitions.PartitionedDataset, path: data/out/parts, dataset: pandas.CSVDataset}\n",
        "node(pieces, 'table', 'parts', name='pieces')",
        "node(total, 'parts', 'counts', name='total')",
    )
    assert '"rows": 344' in shop.is_the_same()["counts.json"]


def _incremental(shop: Shop) -> None:
    for number in range(2):
        shop.project.write(f"data/out/parts/part{number}.csv", PENGUINS.read_text())
    shop.has(
        "parts: {type: partitions.IncrementalDataset, path: data/out/parts, dataset: pandas.CSVDataset, filename_suffix: .csv}\n" + COUNTS,
        "node(total, 'parts', 'counts', name='total', confirms='parts')",
    )
    parts = {file: file.read_text() for file in (shop.project.path / "data/out/parts").iterdir()}
    wanted = shop.left_by()
    assert wanted["parts/CHECKPOINT"] == "part1"
    for file, text in parts.items():
        file.write_text(text)
    assert shop.left_by("--runner=cloudtrain") == wanted


def _generators(shop: Shop) -> None:
    shop.has(TABLE + HEAD, "node(made, 'table', 'top', name='made')")
    shop.is_refused("is a generator, whose pieces Kedro saves one by one on this computer")
    shop.project.write("conf/base/cloudtrain.yml", "{}\n")
    assert shop.left_by("--runner=cloudtrain") == shop.left_by()


def _methods(shop: Shop) -> None:
    shop.has(
        TABLE + COUNTS + "rows: {type: json.JSONDataset, filepath: data/out/rows.json}\n",
        "node(Counter.count, 'table', 'counts', name='count')",
        "node(Counter.rows, 'table', 'rows', name='rows')",
    )
    shop.is_the_same()


def _outputs(shop: Shop) -> None:
    shop.has(
        TABLE + HEAD + COUNTS,
        "node(split, dict(table='table'), dict(first='top', rest='rest'), name='split')",
        "node(count, 'rest', 'counts', name='count')",
        "node(nothing, 'table', None, name='nothing')",
    )
    shop.is_the_same()


def _overrides(shop: Shop) -> None:
    shop.has(TABLE + HEAD, "node(head, ['table', 'params:rows'], 'top', name='head')", hooks="Overrides")
    assert shop.is_the_same()["top.csv"].count("\n") == 5


def _dataset_hooks(shop: Shop) -> None:
    shop.has(TABLE + HEAD, "node(head, ['table', 'params:rows'], 'top', name='head')", hooks="Datasets")
    assert "loaded table DataFrame" in shop.is_the_same()["hooks.txt"]


def _own_reads(shop: Shop) -> None:
    shop.has(
        "table: {type: kedro_cloudtrain.CloudDataset, dataset_key: datasets/penguins.csv, volume: {path: data/volume}}\n" + HEAD,
        "node(head, ['table', 'params:rows'], 'top', name='head')",
        hooks="Datasets",
    )
    hooks = shop.left_by("--runner=cloudtrain")["hooks.txt"]
    assert "table" not in hooks
    assert "saved top" in hooks


def _only_missing(shop: Shop) -> None:
    shop.has(
        TABLE + HEAD + COUNTS, "node(head, ['table', 'params:rows'], 'top', name='head')", "node(count, 'top', 'counts', name='count')"
    )
    wanted = shop.left_by()
    shop.project.write("data/out/top.csv", wanted["top.csv"])
    done = shop.project.kedro("run", "--runner=cloudtrain", "--only-missing-outputs")
    assert done.returncode == 0
    assert (shop.project.path / "data/out/counts.json").read_text() == wanted["counts.json"]
    assert [job.name.partition("-")[0] for job in shop.project.jobs] == ["count"]


def _asynchronous(shop: Shop) -> None:
    shop.has(TABLE + COUNTS, "node(count, 'table', 'counts', name='count')")
    shop.is_the_same("--async")


FEATURES: dict[str, Callable[[Shop], None]] = {
    "`validator:` of an entry": _validator,
    "`versioned: true`": _versioned,
    "`--load-versions`": _load_versions,
    "transcoding, `mid@pandas`": _transcoding,
    "`CachedDataset`": _cached,
    "`metadata`": _metadata,
    "dataset factories": _factories,
    "`params:` of any depth, `parameters`": _parameters,
    "namespaces": _namespaces,
    "`PartitionedDataset`, loaded and saved lazily": _partitions,
    "`IncrementalDataset`, `confirms`": _incremental,
    "classmethods and staticmethods": _methods,
    "outputs as a list, a dict, or none": _outputs,
    "`before_node_run` that returns other inputs": _overrides,
    "dataset hooks": _dataset_hooks,
    "dataset hooks of what a machine reads or saves itself": _own_reads,
    "`--only-missing-outputs`": _only_missing,
    "`--async`": _asynchronous,
    "generator functions": _generators,
}
FROM_1_6 = ("`validator:` of an entry", "`--only-missing-outputs`")


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_of_kedros_holds_on_a_machine_as_the_reference_says(feature: str, project: Project) -> None:
    if feature in FROM_1_6 and KEDRO < (1, 6):
        pytest.skip("from Kedro 1.6 on")
    FEATURES[feature](Shop(project))


def test_each_row_of_the_references_table_is_tried() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", text_of("reference/kedro.md"), re.MULTILINE)[1:]
    assert [name for name, _ in rows] == list(FEATURES)
