"""A catalog's validators run on what a machine loads and saves, as on all else."""

from __future__ import annotations

import pandas as pd
import pytest
from support.cloud import Cloud
from support.kedro_project import KEDRO, PENGUINS, Project, edit, run

pytestmark = pytest.mark.skipif(KEDRO < (1, 6), reason="a catalog has validators from Kedro 1.6 on")

CATALOG = """
penguins:
  type: kedro_cloudtrain.CloudDataset
  dataset_key: datasets/penguins.csv
  volume: ${globals:volume}
  validator: shop.checks.check
saved: {type: kedro_cloudtrain.CloudDataset, dataset_key: out/saved.parquet, volume: "${globals:volume}", validator: shop.checks.check}
local: {type: pandas.CSVDataset, filepath: data/local.csv, validator: shop.checks.check}
parts: {type: partitions.PartitionedDataset, path: data/parts, dataset: pandas.CSVDataset, validator: shop.checks.check_parts}
back: {type: pandas.CSVDataset, filepath: data/back.csv, validator: shop.checks.check}
mass_model: {type: kedro_cloudtrain.ModelDataset, filepath: data/06_models/mass}
mass_metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/mass.json, validator: shop.checks.check_metrics}
"""
CHECKS = """
from shop.limits import LOWEST


def check(table):
    if table["body_mass_g"].min() < LOWEST:
        raise ValueError(f"a penguin is lighter than {LOWEST} g")
    return table.assign(checked=table.get("checked", 0) + 1)


def check_parts(parts):
    assert all(callable(part) for part in parts.values())
    return {name.upper(): part for name, part in parts.items()}


def check_metrics(metrics):
    assert metrics["rmse"] > 0
"""
NODES = """
def same(table):
    return table


def count(table):
    return table


def of_parts(parts):
    import pandas as pd
    return pd.concat([part() for part in parts.values()]).assign(names="-".join(parts))
"""
# From which entry to which, and how often the validator has run on the table by then.
WAYS = {
    ("penguins", "back"): 2, ("penguins", "saved"): 2, ("local", "back"): 2, ("local", "saved"): 2, ("penguins", "unvalidated"): 1,
}  # fmt: skip


@pytest.fixture
def shop(project: Project) -> Project:
    table = pd.read_csv(PENGUINS)
    (project.path / "data/parts").mkdir(parents=True)
    table.head(50).to_csv(project.path / "data/parts/first.csv", index=False)
    table.to_csv(project.path / "data/local.csv", index=False)
    project.write("conf/base/catalog.yml", CATALOG + "unvalidated: {type: pandas.CSVDataset, filepath: data/unvalidated.csv}\n")
    project.write("src/shop/checks.py", CHECKS)
    project.write("src/shop/limits.py", "LOWEST = 1000\n")
    project.write("src/shop/nodes.py", NODES)
    return project


def with_node(project: Project, function: str, inputs: str, outputs: str) -> None:
    project.write(
        "src/shop/pipeline_registry.py",
        f"""
        from kedro.pipeline import Pipeline, node

        from shop.nodes import {function}


        def register_pipelines():
            return {{"__default__": Pipeline([node({function}, "{inputs}", "{outputs}", name="work")])}}
        """,
    )
    project.write("conf/base/cloudtrain.yml", "nodes: {work: {}}\n")


def table(project: Project, entry: str) -> pd.DataFrame:
    if entry == "saved":
        return pd.read_parquet(project.path / "data/volume/out/saved.parquet")
    return pd.read_csv(project.path / f"data/{entry}.csv")


@pytest.mark.parametrize("way", WAYS, ids=" to ".join)
def test_a_validator_runs_on_each_load_and_each_save_wherever_they_are(shop: Project, way: tuple[str, str]) -> None:
    with_node(shop, "same", *way)
    run(shop)
    there = table(shop, way[1])
    assert set(there["checked"]) == {WAYS[way]}
    assert shop.kedro("run").returncode == 0
    pd.testing.assert_frame_equal(table(shop, way[1]), there)


@pytest.mark.parametrize("way", WAYS, ids=" to ".join)
def test_what_a_validator_refuses_ends_the_run_with_its_words(shop: Project, way: tuple[str, str]) -> None:
    with_node(shop, "same", *way)
    edit(shop, "src/shop/limits.py", "1000", "3000")
    done = shop.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert "a penguin is lighter than 3000 g" in " ".join((done.stdout + done.stderr).split())
    assert not (shop.path / "data/volume/out/saved.parquet").exists()
    assert not (shop.path / "data/back.csv").exists()


def test_a_changed_validator_is_other_work(shop: Project) -> None:
    with_node(shop, "same", "penguins", "unvalidated")
    run(shop)
    assert "work is done already" in run(shop)
    edit(shop, "src/shop/limits.py", "1000", "1001")
    assert "work is done already" not in run(shop)
    edit(shop, "conf/base/catalog.yml", "penguins:\n", "penguins:\n  metadata: {note: no change}\n")
    assert "work is done already" in run(shop)
    edit(shop, "conf/base/catalog.yml", "  validator: shop.checks.check\n", "")
    assert "work is done already" not in run(shop)
    assert "checked" not in table(shop, "unvalidated")


OVERRIDE = """
import pandas as pd
from kedro.framework.hooks import hook_impl


class Override:
    @hook_impl
    def before_node_run(self, inputs):
        return {"ENTRY": VALUE}


HOOKS = (Override(),)
"""


@pytest.mark.parametrize(
    ("entry", "value", "function"),
    [
        ("penguins", "pd.DataFrame({'body_mass_g': [1]})", "same"),
        ("local", "pd.DataFrame({'body_mass_g': [1]})", "same"),
        ("parts", "{'one': lambda: pd.DataFrame({'body_mass_g': [1]})}", "of_parts"),
    ],
)
def test_what_a_hook_gives_is_not_validated_as_under_kedros_own_runners(shop: Project, entry: str, value: str, function: str) -> None:
    settings = shop.path / "src/shop/settings.py"
    settings.write_text(settings.read_text() + OVERRIDE.replace("ENTRY", entry).replace("VALUE", value))
    with_node(shop, function, entry, "unvalidated")
    assert shop.kedro("run").returncode == 0
    alone = table(shop, "unvalidated")
    assert list(alone["body_mass_g"]) == [1]
    (shop.path / "data/unvalidated.csv").unlink()
    run(shop)
    pd.testing.assert_frame_equal(table(shop, "unvalidated"), alone)


def test_a_validator_that_is_off_does_not_run(shop: Project) -> None:
    with_node(shop, "same", "penguins", "back")
    edit(shop, "src/shop/limits.py", "1000", "3000")
    run(shop, KEDRO_DATASET_VALIDATION="off")
    assert "checked" not in table(shop, "back")


@pytest.mark.measured
def test_an_entry_that_loads_lazily_is_validated_on_the_machine(shop: Project) -> None:
    with_node(shop, "of_parts", "parts", "unvalidated")
    run(shop)
    assert set(table(shop, "unvalidated")["names"]) == {"FIRST.CSV"}


@pytest.mark.measured
def test_a_pod_validates_too(shop: Project, cloud: Cloud) -> None:
    with_node(shop, "same", "penguins", "saved")
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    shop.write("conf/base/globals.yml", volume)
    shop.write("conf/base/cloudtrain.yml", f"backend: runpod\n{volume}nodes: {{work: {{gpu: none, install: false}}}}\n")
    run(shop, **cloud.environment)
    assert set(pd.read_parquet(cloud.bucket / "out/saved.parquet")["checked"]) == {2}


def test_a_training_on_this_computer_gets_the_validated_table_and_one_on_a_pod_is_refused_by_plan(shop: Project, cloud: Cloud) -> None:
    edit(shop, "src/shop/pipeline_registry.py", ', history="mass_history"', "")
    edit(shop, "conf/base/parameters.yml", "species]", "checked]")
    run(shop, "--nodes=train_mass")
    edit(shop, "src/shop/limits.py", "1000", "3000")
    assert shop.kedro("run", "--runner=cloudtrain", "--nodes=train_mass").returncode == 1
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    shop.write("conf/base/globals.yml", volume)
    shop.write("conf/base/cloudtrain.yml", f"backend: runpod\n{volume}")
    done = shop.kedro("cloudtrain", "plan", **cloud.environment)
    assert done.returncode == 1
    assert "`penguins` has a validator" in " ".join(done.stdout.split())
