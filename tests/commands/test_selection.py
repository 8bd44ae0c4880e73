"""`kedro cloudtrain plan` selects nodes as `kedro run` does."""

from __future__ import annotations

import json

import pytest
from support.kedro_project import Project, needs_runner_params

REGISTRY = """
from kedro.pipeline import Pipeline, node

from kedro_cloudtrain import training_node


def summarise(metrics):
    return sorted(metrics)


def register_pipelines():
    mass = training_node("penguins", "params:mass", model="mass_model", metrics="mass_metrics", name="train_mass", tags=["gpu", "daily"])
    other = node(summarise, "mass_metrics", "names", name="summarise", tags=["daily"])
    last = Pipeline([node(summarise, "names", "letters", name="last")], namespace="reports", inputs={"names"})
    return {"__default__": Pipeline([mass, other]), "training": Pipeline([mass]), "reports": last}
"""


@pytest.fixture
def shop(project: Project) -> Project:
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    return project


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["train_mass", "summarise"]),
        (["--pipeline=training"], ["train_mass"]),
        (["--pipelines=training"], ["train_mass"]),
        (["--pipelines=training,reports"], ["reports.last", "train_mass"]),
        (["--nodes=summarise"], ["summarise"]),
        (["--nodes=train_mass,summarise"], ["train_mass", "summarise"]),
        (["-t", "gpu"], ["train_mass"]),
        (["--tags=daily", "--nodes", "summarise"], ["summarise"]),
        (["--from-nodes=summarise"], ["summarise"]),
        (["--to-nodes=train_mass"], ["train_mass"]),
        (["--from-inputs=mass_metrics"], ["summarise"]),
        (["--to-outputs=mass_metrics"], ["train_mass"]),
        (["--pipelines=__default__,reports", "--namespaces=reports"], ["reports.last"]),
    ],
    ids=" ".join,
)
def test_the_options_of_a_run_select_the_same_nodes(shop: Project, options: list[str], names: list[str]) -> None:
    done = shop.kedro("cloudtrain", "plan", "--json", *options)
    report = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert [node["name"] for node in report["nodes"]] == names, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nodes=train_mas"], "No node is selected by --nodes=train_mas. There is no 'train_mas'. Did you mean `train_mass`?"),
        (["--tags=gpus"], "No node is selected by --tags=gpus. There is no 'gpus'. Did you mean `gpu`? There are: daily, gpu"),
        (["--tags=gpu", "--nodes=summarise"], "No node is selected by --nodes=summarise --tags=gpu. None meets all of it."),
        (["--namespaces=reports"], "There is no 'reports'. There is none"),
        (["--to-outputs=mass_metric"], "Did you mean `mass_metrics`?"),
        (["--pipelines=training,report"], "There is no pipeline 'report'. Did you mean `reports`?"),
        (["--pipelines=training", "-p", "training"], "--pipeline and --pipelines cannot be used together"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_selects_no_node_is_named(shop: Project, options: list[str], message: str) -> None:
    done = shop.kedro("cloudtrain", "plan", *options)
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@needs_runner_params
def test_a_run_of_some_nodes_is_held_to_their_plan(shop: Project) -> None:
    assert shop.kedro("cloudtrain", "plan", "--tags=gpu", "--out", "plan.json").returncode == 0
    run = ["run", "--runner=cloudtrain", "--runner-params", "plan=plan.json"]
    refused = shop.kedro(*run)
    assert (refused.returncode, "summarise" in refused.stderr) == (1, True)
    assert shop.jobs == []
    assert shop.kedro(*run, "--tags=gpu").returncode == 0
    assert len(shop.jobs) == 1
