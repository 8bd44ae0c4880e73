"""The tables of runs, over records alone: play money is marked, what cannot be compared is not, and runs stand side by side."""

from __future__ import annotations

import csv
import io
import json
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from kedro_cloudtrain.commands.run_tables import comparison_remarks, comparison_table, facts, nodes_table, remarks
from kedro_cloudtrain.commands.runs import runs
from kedro_cloudtrain.jobs.fingerprint import Fingerprint
from kedro_cloudtrain.runs.comparison import Comparison
from kedro_cloudtrain.runs.ledger import RunLedger
from kedro_cloudtrain.runs.record import MachineRecord, NodeRecord, RunRecord, RunState
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.identity import SourceIdentity


def record(number: int = 1, *, data: str = "etag:0123456789ab", **fields: Any) -> RunRecord:
    machine = MachineRecord(pod=f"p{number}", machine="NVIDIA L4", usd_per_hour=0.4, seconds=60, cost_usd=0.25, ended="done")
    train = NodeRecord(node="train", kind="training", state="succeeded", why="first run", scores={"rmse": 1.5}, data={"table": data})
    train.machines = [machine]
    given = {
        "id": f"2026-11-27T01.54.{number:02d}.000Z",
        "state": RunState.SUCCEEDED,
        "finished_at": 90.0,
        "nodes": [train],
        "env": "runpod",
    }
    return RunRecord(**(given | fields))


def printed(table: Any, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def typed(project: Path, *args: str, status: int = 0) -> str:
    done = CliRunner().invoke(runs, args, obj=types.SimpleNamespace(project_path=project))
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def ledger(tmp_path: Path) -> RunLedger:
    """A ledger with a run that has cost money, and a rehearsed one."""
    made = RunLedger(tmp_path)
    for each in (record(1), record(2, rehearsed=True)):
        made.open(each)
    made.close()
    return made


def test_play_money_is_marked_wherever_it_is_shown(ledger: RunLedger, tmp_path: Path) -> None:
    earnest, rehearsed = ledger.find("2026-11-27T01.54.01"), ledger.find("latest")
    rows = list(csv.DictReader(io.StringIO(typed(tmp_path, "--csv"))))
    assert sum(float(row["cost_usd"]) for row in rows if row["rehearsed"] == "false") == 0.25
    assert [(row["rehearsed"], row["env"]) for row in rows] == [("true", "runpod"), ("false", "runpod")]
    assert dict(facts(rehearsed))["run"].endswith("  done, rehearsed")
    assert dict(facts(earnest))["run"].endswith("  done")
    assert "play money" in "\n".join(printed(nodes_table(rehearsed), 160))
    assert "play money" not in "\n".join(printed(nodes_table(earnest), 160))
    comparison = Comparison.of([earnest, rehearsed])
    (line,) = [line for line in printed(comparison_table(comparison, 160), 160) if line.startswith("dollars")]
    assert line.split(maxsplit=2)[1:] == ["$0.25", "$0.25 of play money"]
    assert comparison.json()["rehearsed"] == [False, True]


def test_one_form_at_a_time_and_output_takes_whichever_it_is(ledger: RunLedger, tmp_path: Path) -> None:
    assert "--json and --csv are two forms of the same: name one of them." in typed(tmp_path, "--json", "--csv", status=2)
    lines = typed(tmp_path, "--csv")
    assert typed(tmp_path, "--csv", "--output", str(tmp_path / "runs.csv")) == ""
    assert (tmp_path / "runs.csv").read_text() == lines
    assert typed(tmp_path, "--output", str(tmp_path / "runs.json")) == ""
    assert len(json.loads((tmp_path / "runs.json").read_text())["runs"]) == 2
    assert json.loads(typed(tmp_path, "--json")) == json.loads((tmp_path / "runs.json").read_text())


def test_one_run_to_compare_names_another_that_there_is(ledger: RunLedger, tmp_path: Path) -> None:
    first, second = "2026-11-27T01.54.01.000Z", "2026-11-27T01.54.02.000Z"
    for name in ("latest", first, second):
        assert f"kedro cloudtrain runs compare {first} {second}" in typed(tmp_path, "compare", name, status=2)
    (tmp_path / f".cloudtrain/runs/{first}.json").unlink()
    assert f"{second} is the only one so far" in typed(tmp_path, "compare", "latest", status=2)


def test_a_record_that_is_left_out_is_named_with_its_file(ledger: RunLedger, tmp_path: Path) -> None:
    broken = tmp_path / ".cloudtrain/runs/2026-11-27T01.54.01.000Z.json"
    broken.write_text("{")
    assert f"({broken})" in typed(tmp_path)
    done = CliRunner().invoke(runs, ["show", broken.stem], obj=types.SimpleNamespace(project_path=tmp_path))
    assert str(broken) in str(done.output)


def test_a_run_shows_why_each_node_ran_and_what_became_of_its_pods() -> None:
    failed = NodeRecord(node="score", state="failed", why="first run", error="score-1 failed: ValueError: x")
    failed.machines = [MachineRecord(pod="p", ended="vanished"), MachineRecord(pod="q", ended="jobfailed")]
    reused = NodeRecord(node="train", state="reused", why="nothing changed")
    assert list(remarks(record(nodes=[reused, failed, NodeRecord(node="fit", state="succeeded", why="first run")]))) == [
        "train: reused, nothing changed",
        "score, fit: ran, first run",
        "score: score-1 failed: ValueError: x",
        "score: 1 pod lost (it vanished)",
        "score: 1 pod ended, since its job failed",
    ]
    left = record(state=RunState.SUCCEEDED, nodes=[NodeRecord(node="train", state="succeeded"), NodeRecord(node="summarise")])
    assert list(remarks(left)) == [
        "Its jobs were left running and are done. The same run again, without detach, takes their results and goes on."
    ]


@pytest.mark.parametrize(
    ("first", "second", "differs", "comparable"),
    [
        ({"data": "etag:a"}, {"data": "etag:a"}, False, True),
        ({"data": "etag:a"}, {"data": "etag:b"}, True, True),
        ({"data": "content:a"}, {"data": "content:b", "backend": "runpod"}, True, True),
        ({"data": "time:a", "volume": "/v"}, {"data": "time:b", "volume": "/v"}, True, True),
        # The same file, here and on a volume.
        ({"data": "time:a", "backend": "local"}, {"data": "etag:b", "backend": "runpod"}, False, False),
        ({"data": "content:a", "backend": "local"}, {"data": "etag:b", "backend": "runpod"}, False, False),
        # A copy has a time of its own.
        ({"data": "time:a", "volume": "/v"}, {"data": "time:b", "volume": "/w"}, False, False),
        ({"data": "unknown"}, {"data": "unknown"}, False, False),
        ({"data": "unknown"}, {"data": "etag:b"}, False, False),
        # Of an older release.
        ({"data": "a", "backend": "local"}, {"data": "b", "backend": "local"}, True, True),
        ({"data": "a", "backend": "local"}, {"data": "b", "backend": "runpod"}, False, False),
    ],
)
def test_data_differ_only_where_identities_of_one_kind_do(first: dict, second: dict, differs: bool, comparable: bool) -> None:
    comparison = Comparison.of([record(1, **first), record(2, **second)])
    assert (bool(comparison.data), not comparison.incomparable) == (differs, comparable)
    assert any("Whether train.table differs cannot be told" in line for line in comparison_remarks(comparison)) == (not comparable)
    assert ("Neither parameters nor data differ." in comparison_remarks(comparison)) == (comparable and not differs)


def test_an_identity_has_its_kind_and_the_kind_names_no_work(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    inputs = {
        "here": DirectoryVolume(tmp_path).identity("t.csv").described,
        "there": SourceIdentity(etag="d41d8", size=4).described,
        "sent": "e3b0c44298fc",
        "odd": None,
    }
    fingerprint = Fingerprint.of("print()", inputs, "code")
    kinds = {name: digest.rpartition(":")[0] for name, digest in fingerprint.input_digests.items()}
    assert kinds == {"here": "time", "there": "etag", "sent": "content", "odd": ""}
    plain = {
        name: {key: value for key, value in each.items() if key != "kind"} if isinstance(each, dict) else each
        for name, each in inputs.items()
    }
    assert Fingerprint.of("print()", plain, "code").digest == fingerprint.digest
    assert Fingerprint.model_validate_json(fingerprint.model_dump_json()) == fingerprint


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("count", [2, 3])
def test_runs_stand_side_by_side_whatever_the_length_of_a_value(width: int, count: int) -> None:
    parameters = {
        "model.columns": [f"column_{number}" for number in range(12)],
        "model.hyperparameters.a_name.of_great.length_and_detail": 1,
    }
    compared = [
        record(number, parameters=parameters | {"model.columns": [*parameters["model.columns"], number]}) for number in range(count)
    ]
    lines = printed(comparison_table(Comparison.of(compared), width), width)
    assert max(map(len, lines)) <= width
    (dollars,) = [line for line in lines if line.startswith("dollars")]
    assert dollars.split() == ["dollars", *["$0.25"] * count]
    # No character of a value is lost.
    text = "".join(lines)
    assert (text.count('"'), text.count("["), text.count("]")) == (24 * count, count, count)
