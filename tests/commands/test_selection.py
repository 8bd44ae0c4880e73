"""`kedro cloudtrain plan` selects nodes as `kedro run` does."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from kedro.pipeline import Pipeline, node
from support.kedro_project import Project, needs_runner_params

from kedro_cloudtrain.commands.selection import select, selection_options


def _same(value: Any) -> Any:
    return value


TRAIN = node(_same, "penguins", "model", name="train", tags=["gpu", "daily"])
SUM_UP = node(_same, "model", "names", name="sum_up", tags=["daily"])
PIPELINES = {
    "__default__": Pipeline([TRAIN, SUM_UP]),
    "training": Pipeline([TRAIN]),
    "reports": Pipeline([node(_same, "names", "letters", name="last")], namespace="reports", inputs={"names"}),
}


@click.command()
@selection_options
def nodes(**selection: Any) -> None:
    """Print the selected nodes' names."""
    click.echo(json.dumps([each.name for each in select(PIPELINES, selection).nodes]))


def selected(*options: str) -> Result:
    return CliRunner().invoke(nodes, options)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["train", "sum_up"]),
        (["--pipeline=training"], ["train"]),
        (["--pipelines=training"], ["train"]),
        (["--pipelines=training,reports"], ["reports.last", "train"]),
        (["--nodes=sum_up"], ["sum_up"]),
        (["--nodes=train,sum_up"], ["train", "sum_up"]),
        (["-t", "gpu"], ["train"]),
        (["--tags=daily", "-n", "sum_up"], ["sum_up"]),
        (["--from-nodes=sum_up"], ["sum_up"]),
        (["--to-nodes=train"], ["train"]),
        (["--from-inputs=model"], ["sum_up"]),
        (["--to-outputs=model"], ["train"]),
        (["--pipelines=__default__,reports", "-ns", "reports"], ["reports.last"]),
    ],
    ids=" ".join,
)
def test_the_options_of_a_run_select_the_same_nodes(options: list[str], names: list[str]) -> None:
    done = selected(*options)
    assert (done.exit_code, json.loads(done.stdout)) == (0, names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--nodes=trai"],
            "selected by --nodes=trai. There is no node 'trai'. Did you mean `train`? The nodes are: train, sum_up.",
        ),
        (["--tags=gpus"], "There is no tag 'gpus'. Did you mean `gpu`? The tags are: daily, gpu."),
        (["--tags=gpu", "--nodes=sum_up"], "selected by --nodes=sum_up --tags=gpu. No node matches all of the options."),
        (["--pipelines=reports", "-ns", "reports", "-t", "gpu"], "There is no tag 'gpu'. No node has a tag."),
        (["--namespaces=reports"], "There is no namespace 'reports'. No node has a namespace."),
        (["--to-outputs=models"], "There is no dataset 'models'. Did you mean `model`?"),
        (["--from-inputs=names"], "selected by --from-inputs=names. No node matches."),
        (["--pipelines=training,report"], "There is no pipeline 'report'. Did you mean `reports`?"),
        (["--pipelines=training", "-p", "training"], "--pipeline and --pipelines cannot be used together"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_selects_no_node_is_named(options: list[str], message: str) -> None:
    done = selected(*options)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.stderr.split())


@needs_runner_params
def test_a_run_of_some_nodes_is_held_to_their_plan(project: Project) -> None:
    assert project.kedro("cloudtrain", "plan", "--tags=gpu", "--out", "plan.json").returncode == 0
    assert [node["name"] for node in json.loads((project.path / "plan.json").read_text())["nodes"]] == ["train_mass"]
    run = ["run", "--runner=cloudtrain", "--runner-params", "plan=plan.json"]
    refused = project.kedro(*run)
    assert (refused.returncode, "summarise" in refused.stderr) == (1, True)
    assert project.jobs == []
    assert project.kedro(*run, "--tags=gpu").returncode == 0
    assert len(project.jobs) == 1
