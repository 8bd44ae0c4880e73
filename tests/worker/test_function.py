"""A user's function as its script sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.spec import FunctionSpec
from kedro_cloudtrain.worker.function import FunctionJob
from kedro_cloudtrain.worker.values import read_value


def test_no_two_outputs_have_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOUDTRAIN_CHECKPOINT", "CLOUDTRAIN_WORK"):
        monkeypatch.setenv(name, "")
    names = ["a/b", "a_b", "A_B", "../c", "seoul.model"]
    with FunctionJob(str(tmp_path / "train.py"), names) as job:
        job.save([1, 2, 3, 4, 5])
    outputs = json.loads((tmp_path / "result.json").read_text())["outputs"]
    assert [read_value(tmp_path / outputs[name]["path"]) for name in names] == [1, 2, 3, 4, 5]
    assert len({outputs[name]["path"].lower() for name in names}) == len(names)
    assert all(Path(outputs[name]["path"]).parent.name == "outputs" for name in names)


@pytest.mark.parametrize("name", ["job", "returned", "sys", "FunctionJob", "RETURNS", "catalog.load"])
def test_a_function_of_a_name_that_the_script_has_itself_is_called_by_another(name: str) -> None:
    spec = FunctionSpec(name="n", function=f"shop.nodes:{name}", arguments=("job",), inputs={"job": {"dataset_file": "inputs/x.json"}})
    text = TrainingScriptGenerator().render_function(spec)
    root, _, rest = name.partition(".")
    assert f"from shop.nodes import {root} as {root}_of_nodes" in text
    assert f"returned = {root}_of_nodes{'.' * bool(rest)}{rest}(job_2)" in text
