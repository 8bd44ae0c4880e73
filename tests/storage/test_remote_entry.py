"""Catalog entries on another store: a machine loads and saves them by their own class, and their data does not pass through the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.http_server import Server
from support.kedro_project import Project, run
from support.spaceflights import CATALOG, job, make_spaceflights, ran, score, select

from kedro_cloudtrain.rehearsal import ACCESS_KEY, SECRET_KEY, S3StandIn
from kedro_cloudtrain.rehearsal.storage import StorageFault

STORE = """
reviews: {{type: pandas.CSVDataset, filepath: "s3://{bucket}/reviews.csv", credentials: store}}
regressor: {{type: pickle.PickleDataset, filepath: "s3://{bucket}/regressor.pickle", versioned: true, credentials: store}}
model_input_table: {{type: pandas.ParquetDataset, filepath: "s3://{bucket}/primary/model_input_table.parquet", credentials: store}}
"""
ENTRIES = ("reviews", "regressor", "model_input_table")


@pytest.fixture
def store(s3_server: S3StandIn, tmp_path: Path) -> Iterator[Path]:
    """A bucket of a store that is not a volume, as the directory that the S3 server keeps it in."""
    bucket = s3_server.root / f"store-{abs(hash(tmp_path)):x}"[:30]
    bucket.mkdir()
    s3_server.faults.clear()
    yield bucket
    s3_server.faults.clear()


@pytest.fixture
def flights(tmp_path: Path, store: Path, s3_server: S3StandIn) -> Project:
    """The spaceflights with a table, a model and a table between two nodes on the store."""
    made = make_spaceflights(tmp_path)
    kept = [line for line in CATALOG.splitlines() if not line.startswith(tuple(f"{name}:" for name in ENTRIES))]
    made.write("conf/base/catalog.yml", "\n".join(kept) + STORE.format(bucket=store.name))
    # rclone knows no checksums of AWS's newer kinds; a network volume's S3 API wants the same of boto3.
    plain = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    # Another host name than that of the network volumes' S3 API, whose entries are keys on a volume.
    client = {"endpoint_url": s3_server.endpoint_url.replace("127.0.0.1", "localhost")}
    access = {"key": ACCESS_KEY, "secret": SECRET_KEY, "client_kwargs": client, "config_kwargs": plain}
    made.write("conf/local/credentials.yml", json.dumps({"store": access}))
    (made.path / "data/01_raw/reviews.csv").rename(store / "reviews.csv")
    return made


def versions(store: Path) -> list[str]:
    return sorted(path.parent.name for path in store.glob("regressor.pickle/*/regressor.pickle"))


def test_a_job_on_this_computer_loads_and_saves_them(flights: Project, store: Path) -> None:
    assert flights.kedro("run").returncode == 0
    alone, first = score(flights), versions(store)
    select(flights, "create_model_input_table_node", "train_model_node", "evaluate_model_node")
    output = run(flights)
    assert len(ran(output)) == 3
    assert score(flights) == alone
    assert "reviews.csv" in output
    for name in ENTRIES:
        assert f"data to {name}" not in output
    assert "data from regressor" not in output
    assert versions(store)[:-1] == first
    script = (job(flights, "create_model_input_table_node") / "train.py").read_text()
    assert 'reviews = catalog.load("reviews")' in script
    assert not (job(flights, "create_model_input_table_node") / "outputs").exists()
    # The version that the next node's machine loads is the one that was saved, and stands in its script.
    assert f'LOAD_VERSIONS = {{"regressor": "{versions(store)[-1]}"}}' in (job(flights, "evaluate_model_node") / "train.py").read_text()
    for folder in flights.jobs:
        for file in (file for file in folder.rglob("*") if file.is_file()):
            assert SECRET_KEY.encode() not in file.read_bytes(), file
    assert SECRET_KEY not in output
    assert ran(run(flights)) == set()
    assert len(versions(store)) == 2


def test_an_output_that_was_changed_on_the_store_is_made_again(flights: Project, store: Path) -> None:
    select(flights, "create_model_input_table_node")
    below = "--to-nodes=create_model_input_table_node"
    run(flights, below)
    reviews = store / "reviews.csv"
    reviews.write_text(reviews.read_text().replace("\n199,", "\n199,1"))
    assert ran(run(flights, below)) == {"create_model_input_table_node"}
    (store / "primary/model_input_table.parquet").unlink()
    output = run(flights, below)
    assert ran(output) == {"create_model_input_table_node"}
    assert "there is no such file" in " ".join(output.split())


def test_a_pod_loads_and_saves_them_and_no_file_holds_the_key(flights: Project, store: Path, cloud: Cloud) -> None:
    flights.kedro("run")
    alone = score(flights)
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    flights.write("conf/runpod/globals.yml", volume)
    flights.write("conf/runpod/credentials.yml", (flights.path / "conf/local/credentials.yml").read_text())
    flights.write(
        "conf/runpod/cloudtrain.yml",
        f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n"
        "nodes: {create_model_input_table_node: {}, train_model_node: {}}\n",
    )
    (cloud.bucket / "datasets/companies.csv").write_bytes((flights.path / "data/volume/datasets/companies.csv").read_bytes())
    output = run(flights, "--env=runpod")
    assert ran(output) == {"create_model_input_table_node", "train_model_node"}
    assert score(flights) == alone
    assert len(versions(store)) == 2
    assert "data to regressor" not in output
    for file in (file for file in cloud.bucket.rglob("*") if file.is_file()):
        assert SECRET_KEY.encode() not in file.read_bytes(), file
    assert ran(run(flights, "--env=runpod")) == set()


def test_a_store_that_refuses_a_save_loses_no_work(flights: Project, s3_server: S3StandIn) -> None:
    select(flights, "train_model_node")
    s3_server.faults.append(StorageFault("PUT", "regressor.pickle", 403, times=100))
    done = flights.kedro("run", "--runner=cloudtrain")
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "`regressor` was not saved" in output
    assert "Traceback" not in output
    assert (job(flights, "train_model_node") / "outputs/regressor.pickle").stat().st_size > 1000


@pytest.mark.measured
def test_plan_and_run_name_the_file_that_is_missing(flights: Project, store: Path, s3_server: S3StandIn) -> None:
    select(flights, "create_model_input_table_node", "train_model_node")
    assert f"s3://{store.name}/reviews.csv" in flights.kedro("cloudtrain", "plan").stdout
    (store / "reviews.csv").unlink()
    output = " ".join(flights.kedro("cloudtrain", "plan").stdout.split())
    assert f"`reviews` cannot be read from s3://{store.name}/reviews.csv: there is no such file" in output
    done = flights.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert "there is no such file" in " ".join((done.stdout + done.stderr).split())


@pytest.mark.measured
def test_a_later_version_that_somebody_else_saved_is_not_taken_for_the_jobs(flights: Project, store: Path) -> None:
    select(flights, "train_model_node")
    run(flights, "--to-nodes=train_model_node")
    (made,) = versions(store)
    later = store / "regressor.pickle" / made.replace("20", "21", 1) / "regressor.pickle"
    later.parent.mkdir()
    later.write_bytes(b"another")
    output = " ".join(run(flights, "--to-nodes=train_model_node").split())
    assert f"has another version, {later.parent.name}, than the one" in output
    assert len(versions(store)) == 3


WEB = """
whole: {{type: json.JSONDataset, filepath: "{url}rows.json"}}
words: {{type: text.TextDataset, filepath: "{url}words.txt"}}
table: {{type: pandas.CSVDataset, filepath: "{url}table.csv", fs_args: {{open_args_load: {{encoding: utf-8}}}}}}
keyed: {{type: json.JSONDataset, filepath: "{url}rows.json?v=1"}}
"""
READS = """
def describe(whole, words, table, keyed):
    return {"whole": whole, "words": words, "table": table.to_dict("list"), "keyed": keyed}
"""
REGISTRY = """
from kedro.pipeline import Pipeline, node

from shop.reads import describe


def register_pipelines():
    return {"__default__": Pipeline([node(describe, ["whole", "words", "table", "keyed"], "described", name="describe")])}
"""


@pytest.fixture
def reader(project: Project) -> Project:
    """A project whose one node reads four entries of a web server."""
    project.write("src/shop/reads.py", READS)
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    return project


def test_any_entry_of_a_web_server_is_read_by_its_own_class(reader: Project) -> None:
    files = {"rows.json": b'{"a": [1, 2]}', "words.txt": "für".encode(), "table.csv": b"x,y\n1,2\n"}
    with Server(files) as server:
        catalog = WEB.format(url=server.url("")) + "described: {type: json.JSONDataset, filepath: data/described.json}\n"
        reader.write("conf/base/catalog.yml", catalog)
        reader.write("conf/base/cloudtrain.yml", "nodes: {describe: {}}\n")
        described = reader.path / "data/described.json"
        assert reader.kedro("run").returncode == 0
        alone = described.read_text()
        assert reader.kedro("cloudtrain", "plan").returncode == 0
        assert ran(run(reader)) == {"describe"}
        assert described.read_text() == alone
        assert ran(run(reader)) == set()
        files["words.txt"] = b"other"
        assert ran(run(reader)) == {"describe"}
        assert json.loads(described.read_text())["words"] == "other"
        del files["rows.json"]
        for command in (["cloudtrain", "plan"], ["run", "--runner=cloudtrain"]):
            done = reader.kedro(*command)
            assert done.returncode == 1
            assert "there is no such file" in done.stdout + done.stderr
            assert "Traceback" not in done.stdout + done.stderr


HOOK = """
import pandas as pd
from kedro.framework.hooks import hook_impl


class Override:
    @hook_impl
    def before_node_run(self, node, inputs):
        return {"reviews": pd.DataFrame({"given": [1, 2]})} if node.name == "count" else None
"""


@pytest.mark.parametrize("where", ["this computer", "a pod"])
def test_a_value_that_a_hook_gives_for_such_an_entry_is_what_the_function_gets(
    where: str, flights: Project, store: Path, cloud: Cloud
) -> None:
    flights.write("src/shuttles/hooks.py", HOOK)
    settings = flights.path / "src/shuttles/settings.py"
    settings.write_text(f"{settings.read_text()}\nfrom shuttles.hooks import Override\nHOOKS = (Override(),)\n")
    flights.write("src/shuttles/counting.py", "def count(table):\n    return {'columns': list(table)}\n")
    flights.write(
        "src/shuttles/pipeline_registry.py",
        "from kedro.pipeline import Pipeline, node\nfrom shuttles.counting import count\n\n\n"
        "def register_pipelines():\n"
        "    return {'__default__': Pipeline([node(count, 'reviews', 'counted_one', name='count'),"
        " node(count, 'reviews', 'counted_all', name='count_all')])}\n",
    )
    catalog = (flights.path / "conf/base/catalog.yml").read_text()
    flights.write("conf/base/catalog.yml", catalog + '"counted_{by}": {type: json.JSONDataset, filepath: "data/counted_{by}.json"}\n')
    assert flights.kedro("run").returncode == 0
    alone = [(flights.path / f"data/counted_{by}.json").read_text() for by in ("one", "all")]
    assert "given" in alone[0]
    assert "given" not in alone[1]
    select(flights, "count", "count_all")
    if where == "a pod":
        volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
        flights.write("conf/base/globals.yml", volume)
        nodes = "nodes: {count: {}, count_all: {}}\n"
        flights.write("conf/base/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n{nodes}")
    run(flights, **(cloud.environment if where == "a pod" else {}))
    assert [(flights.path / f"data/counted_{by}.json").read_text() for by in ("one", "all")] == alone
    assert ran(run(flights, **(cloud.environment if where == "a pod" else {}))) == set()
