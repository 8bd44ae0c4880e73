"""A run looks at a table before it pays for a pod that would only find out that the table does not do."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from support.cloud import Cloud
from support.kedro_project import REGISTRY, ROOT, Project, edit, run, run_on_pods

FITS = "weight,mass,kind\n" + "".join(f"{row},{row * 2},{row % 2}\n" for row in range(60))
PARAMETERS = """
mass:
  model_type: xgboost_regression
  target_column: mass
  hyperparameters: {n_estimators: 3}
  validation: {fraction: 0.2}
"""
MAKE = """
import pandas as pd


def make(parameters):
    return pd.DataFrame({"weight": range(60), "mass": [f"about {row}" for row in range(60)]})


"""


@pytest.fixture
def shop(project: Project, cloud: Cloud) -> Project:
    run_on_pods(project, cloud.volume_id)
    project.write("conf/base/parameters.yml", PARAMETERS)
    (cloud.bucket / "datasets/penguins.csv").write_text(FITS)
    return project


def refused(shop: Project, cloud: Cloud) -> str:
    """Run the project, which must cost nothing, and return what it prints."""
    done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod")
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert "Traceback" not in text, text
    assert cloud.runpod.requests("POST /v2/pods") == []
    assert not list(cloud.bucket.glob(".cloudtrain/jobs/*/train.py"))
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (FITS.replace("mass", "masse", 1), "`penguins` has no column `mass`. Closest: masse."),
        ("weight,mass,kind\n", "has no rows"),
        (FITS.replace("\n10,20,", "\n10,twenty,", 1), "twenty"),
        ('PAR1"', "penguins.csv"),
    ],
    ids=["a missing column", "no rows", "a word for a number", "no table"],
)
def test_what_the_first_rows_show_costs_nothing(shop: Project, cloud: Cloud, table: str, named: str) -> None:
    (cloud.bucket / "datasets/penguins.csv").write_text(table)
    text = refused(shop, cloud)
    assert named in text
    assert "train_mass: " in text


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("  search: {space: {max_depth: {int: [2, 4]}}, n_trials: 2, metric: rmse}\n  weight_column: heft\n", "no column `heft`"),
        ("  partitioned: {group_column: sort}\n", "no column `sort`"),
        ("  validation: {folds: 70}\n", "70"),
    ],
    ids=["a search", "groups", "folds"],
)
def test_neither_do_trials_groups_and_folds_that_cannot_be(shop: Project, cloud: Cloud, more: str, named: str) -> None:
    shop.write("conf/base/parameters.yml", PARAMETERS.replace("  validation: {fraction: 0.2}\n", more))
    if "partitioned" in more:
        edit(shop, "conf/base/catalog.yml", "ModelDataset", "ModelsDataset")
        edit(shop, "src/shop/pipeline_registry.py", ', history="mass_history"', "")
    assert named in refused(shop, cloud)


@pytest.mark.parametrize("table", ["made", "penguins"], ids=["sent", "saved to the volume"])
def test_a_table_that_the_run_itself_has_made_is_looked_at_too(shop: Project, cloud: Cloud, table: str) -> None:
    source = REGISTRY.replace("def summarise", f"{MAKE}def summarise").replace('"penguins", "params:mass"', f'"{table}", "params:mass"')
    source = source.replace("Pipeline([mass,", f'Pipeline([node(make, "params:mass", "{table}"), mass,')
    shop.write("src/shop/pipeline_registry.py", source)
    assert "about 0" in refused(shop, cloud)


def test_nothing_is_looked_at_for_a_result_that_is_there(shop: Project, cloud: Cloud) -> None:
    run(shop, "--env=runpod")
    (created,) = cloud.runpod.requests("POST /v2/pods")
    read = len([path for method, path in cloud.s3.requests if method == "GET" and path.endswith("penguins.csv")])
    assert read
    assert "reused" in run(shop, "--env=runpod")
    assert [path for method, path in cloud.s3.requests if method == "GET" and path.endswith("penguins.csv")][read:] == []
    assert cloud.runpod.requests("POST /v2/pods") == [created]


def test_parameters_that_a_hook_has_changed_are_those_that_a_table_is_looked_at_by(shop: Project, cloud: Cloud) -> None:
    shop.write(
        "src/shop/settings.py",
        """
        from kedro.framework.hooks import hook_impl


        class Corrects:
            @hook_impl
            def before_node_run(self, node, inputs):
                if node.name == "train_mass":
                    return {"params:mass": {**inputs["params:mass"], "target_column": TARGET}}


        HOOKS = (Corrects(),)
        """.replace("TARGET", '"mass"'),
    )
    shop.write("conf/base/parameters.yml", PARAMETERS.replace("target_column: mass", "target_column: masse"))
    run(shop, "--env=runpod")
    edit(shop, "src/shop/settings.py", '"mass"', '"heft"')
    shop.write("conf/base/parameters.yml", PARAMETERS)
    before = len(cloud.runpod.requests("POST /v2/pods"))
    done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod")
    assert (done.returncode, "`penguins` has no column `heft`" in done.stdout + done.stderr) == (1, True)
    assert len(cloud.runpod.requests("POST /v2/pods")) == before


def test_a_template_of_the_projects_own_may_make_its_target_itself(shop: Project, cloud: Cloud) -> None:
    shop.write("templates/mine.py.j2", (ROOT / "templates/xgboost_regression.py.j2").read_text())
    shop.write(
        "conf/base/parameters.yml", PARAMETERS.replace("xgboost_regression", "mine").replace("target_column: mass", "target_column: x")
    )
    done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod")
    assert done.returncode == 1  # this one makes none
    assert len(cloud.runpod.requests("POST /v2/pods")) == 1


def test_a_packed_table_is_not_downloaded_for_a_look(shop: Project, cloud: Cloud) -> None:
    noise = pd.DataFrame(np.random.default_rng(0).random((150_000, 2)), columns=["weight", "mass"])
    (cloud.bucket / "datasets/penguins.csv.gz").write_bytes(gzip.compress(noise.to_csv(index=False).encode()))
    edit(shop, "conf/base/catalog.yml", "penguins.csv", "penguins.csv.gz")
    run(shop, "--env=runpod")
    assert not [path for method, path in cloud.s3.requests if method == "GET" and path.endswith("penguins.csv.gz")]


def test_a_damaged_parquet_file_is_named(shop: Project, cloud: Cloud) -> None:
    file = cloud.bucket / "datasets/penguins.parquet"
    pd.DataFrame({"weight": range(60), "mass": range(60)}).to_parquet(file)
    content = bytearray(file.read_bytes())
    content[-60:-20] = bytes(40)
    file.write_bytes(content)
    edit(shop, "conf/base/catalog.yml", "penguins.csv", "penguins.parquet")
    assert "datasets/penguins.parquet cannot be read as parquet: " in refused(shop, cloud)
    planned = shop.kedro("cloudtrain", "plan", "--env=runpod")
    assert planned.returncode == 1
    assert "Traceback" not in planned.stdout + planned.stderr
    assert "cannot be read as parquet" in " ".join(planned.stdout.split())
