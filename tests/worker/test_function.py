"""A user's function as its script sees it."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.spec import FunctionSpec
from kedro_cloudtrain.worker.function import FunctionJob
from kedro_cloudtrain.worker.values import read_value, write_value

TABLE = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
RETURNED: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "a name": ("total", 6, {"total": 6}),
    "a list of names": (["total", "names"], (6, ["x"]), {"total": 6, "names": ["x"]}),
    "a mapping": ({"sum": "total", "all": "names"}, {"all": ["x"], "sum": 6}, {"total": 6, "names": ["x"]}),
    "nothing": (None, None, {}),
}
MISMATCHED: dict[str, tuple[Any, Any, str]] = {
    "a value too few": (["a", "b"], (1,), r"The function should return 2 values \(a, b\), but returned 1 values\."),
    "one value for two": (["a", "b"], 1, r"The function should return 2 values \(a, b\), but returned a int\."),
    "another key": ({"sum": "a"}, {"total": 1}, r"The function should return a dict with the keys \['sum'\], but returned \['total'\]\."),
    "no dict": ({"sum": "a"}, 1, r"The function should return a dict with the keys \['sum'\], but returned a int\."),
    "a value for no output": (None, 1, "The node has no outputs, but its function returned a int."),
    "None": ("a", None, "The function returned None for `a`, and no dataset saves None."),
    "None for one of two": (["a", "b"], (1, None), "The function returned None for `b`, and no dataset saves None."),
    "what cannot be pickled": ("a", threading.Lock(), "`a`: .*Return a DataFrame, plain values, or an object that can be pickled."),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job, whose volume is beside it."""
    for name in ("CLOUDTRAIN_CHECKPOINT", "CLOUDTRAIN_WORK"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CLOUDTRAIN_VOLUME", str(tmp_path / "volume"))
    folder = tmp_path / "volume/.cloudtrain/jobs/train-0a"
    (folder / "inputs").mkdir(parents=True)
    return folder


def outputs_of(folder: Path) -> dict[str, Any]:
    outputs = json.loads((folder / "result.json").read_text())["outputs"]
    return {name: read_value(folder / output["path"]) for name, output in outputs.items()}


@pytest.mark.parametrize(("returns", "returned", "outputs"), RETURNED.values(), ids=RETURNED)
def test_what_a_function_returns_is_dealt_to_its_outputs_as_kedro_does(folder: Path, returns: Any, returned: Any, outputs: dict) -> None:
    with FunctionJob(str(folder / "train.py"), returns) as job:
        with job.stage("call"):
            pass
        job.save(returned)
    assert outputs_of(folder) == outputs


@pytest.mark.parametrize(("returns", "returned", "message"), MISMATCHED.values(), ids=MISMATCHED)
def test_what_does_not_match_the_outputs_is_named(folder: Path, returns: Any, returned: Any, message: str) -> None:
    with pytest.raises(SystemExit), FunctionJob(str(folder / "train.py"), returns) as job:
        job.save(returned)
    result = json.loads((folder / "result.json").read_text())
    assert (result["state"], result["error"]["type"], result["outputs"]) == ("failed", "OutputError", {})
    assert re.fullmatch(message, result["error"]["message"])


def test_inputs_are_tables_of_the_volume_and_what_was_sent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TABLE.to_parquet(folder.parents[2] / "t.parquet")
    write_value({"depth": 3}, folder / "inputs", "options")
    write_value(TABLE, folder / "inputs", "sent")
    with FunctionJob(str(folder / "train.py"), "total") as job:
        table = job.load(dataset_key="t.parquet")
        options = job.load(dataset_file="inputs/options.json")
        sent = job.load(dataset_file="inputs/sent.parquet")
        job.save(int(table["a"].sum()) * options["depth"])
    pd.testing.assert_frame_equal(table, TABLE)
    pd.testing.assert_frame_equal(sent, TABLE)
    assert outputs_of(folder) == {"total": 18}
    assert json.loads((folder / "result.json").read_text())["rows"] == {"read": 6}
    assert "volume/t.parquet\nread 3 rows from inputs/sent.parquet\n" in capsys.readouterr().out


def test_a_table_is_on_the_volume_once_all_are_written(folder: Path) -> None:
    volume = folder.parents[2]
    saves = {"table": {"dataset_key": "made/t.csv", "file_format": "csv", "save_args": {"index": False}}}
    with FunctionJob(str(folder / "train.py"), ["table", "total"], saves) as job:
        job.save((TABLE, 6))
    pd.testing.assert_frame_equal(pd.read_csv(volume / "made/t.csv"), TABLE)
    outputs = json.loads((folder / "result.json").read_text())["outputs"]
    assert set(outputs) == {"table", "total"}

    with pytest.raises(SystemExit), FunctionJob(str(folder / "train.py"), ["table", "total"], saves) as job:
        job.save((TABLE.assign(a=0), threading.Lock()))
    pd.testing.assert_frame_equal(pd.read_csv(volume / "made/t.csv"), TABLE)
    assert [file.name for file in (volume / "made").iterdir()] == ["t.csv"]


def test_no_two_outputs_have_the_same_file(folder: Path) -> None:
    names = ["a/b", "a_b", "A_B", "../c", "seoul.model"]
    with FunctionJob(str(folder / "train.py"), names) as job:
        job.save([1, 2, 3, 4, 5])
    outputs = json.loads((folder / "result.json").read_text())["outputs"]
    assert [read_value(folder / outputs[name]["path"]) for name in names] == [1, 2, 3, 4, 5]
    assert len({outputs[name]["path"].lower() for name in names}) == len(names)
    assert all(Path(outputs[name]["path"]).parent.name == "outputs" for name in names)


@pytest.mark.parametrize("name", ["job", "returned", "sys", "FunctionJob", "RETURNS", "catalog.load"])
def test_a_function_of_a_name_that_the_script_has_itself_is_called_by_another(name: str) -> None:
    spec = FunctionSpec(name="n", function=f"shop.nodes:{name}", arguments=("job",), inputs={"job": {"dataset_file": "inputs/x.json"}})
    text = TrainingScriptGenerator().render_function(spec)
    root, _, rest = name.partition(".")
    assert f"from shop.nodes import {root} as {root}_of_nodes" in text
    assert f"returned = {root}_of_nodes{'.' * bool(rest)}{rest}(job_2)" in text
