"""The ledger of runs: what is written is found again, and what is broken is named and left out."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.waiting import wait_until

from kedro_cloudtrain.errors import CloudTrainError, ConfigError
from kedro_cloudtrain.jobs.gpu_use import MOST_POINTS
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.volume_file import MOST_BYTES
from kedro_cloudtrain.running.display import Display, Row
from kedro_cloudtrain.runs.costs import reconcile
from kedro_cloudtrain.runs.ledger import RunLedger, SharedRuns, is_shared
from kedro_cloudtrain.runs.record import GpuUseRecord, MachineRecord, NodeRecord, RunRecord, RunState
from kedro_cloudtrain.runs.recorder import RunRecorder
from kedro_cloudtrain.storage.directory import DirectoryVolume


def run_id(second: int) -> str:
    return f"2026-11-01T00.00.{second:02d}.000Z"


def record(second: int = 1, **fields: object) -> RunRecord:
    at = dt.datetime(2026, 11, 1, 0, 0, second, tzinfo=dt.UTC).timestamp()
    fields = {"id": run_id(second), "started_at": at, "finished_at": at + 5, "state": RunState.SUCCEEDED} | fields
    return RunRecord(**fields)


def test_a_record_is_found_by_its_id_its_beginning_or_as_the_latest(tmp_path: Path) -> None:
    ledger = RunLedger(tmp_path)
    written = [
        record(second, nodes=[NodeRecord(node="train", scores={"rmse": 1.5}, machines=[MachineRecord(pod="p")])]) for second in (1, 2)
    ]
    for each in written:
        ledger.open(each)
    assert list(RunLedger(tmp_path).records()) == written[::-1]
    assert ledger.find("latest") == ledger.find(run_id(2)) == ledger.find("2026-11-01T00.00.02") == written[1]
    assert [each.id for each in ledger.records(since=dt.datetime(2026, 11, 1, 0, 0, 2, tzinfo=dt.UTC))] == [run_id(2)]
    for name, message in (("2026-11", "2 runs begin with '2026-11'"), ("2025", "There is no run '2025'"), (run_id(3), "Did you mean")):
        with pytest.raises(ConfigError, match=message):
            ledger.find(name)
    with pytest.raises(ConfigError, match=r"A run makes one: kedro run --runner=cloudtrain"):
        RunLedger(tmp_path / "elsewhere").find("latest")
    assert (tmp_path / ".cloudtrain/.gitignore").read_text().endswith("*\n")


def test_the_use_of_every_gpu_of_a_large_run_fits_into_its_record(tmp_path: Path) -> None:
    nodes = [f"train_{number}" for number in range(1_000)]
    points = tuple((10.0 * number + 0.5, 87.5) for number in range(MOST_POINTS))
    receipts = [Receipt(node, f"{node}-0", "runpod", JobState.SUCCEEDED, gpu_use=points, started_at=1.0) for node in nodes]
    ledger = RunLedger(tmp_path)
    recorder = RunRecorder(ledger, record(nodes=[NodeRecord(node=node) for node in nodes]), receipts=receipts)
    recorder.begin()
    recorder.end(RunState.SUCCEEDED)
    (read,) = ledger.records()
    for node in read.nodes:
        assert node.gpu_use is not None
        assert 20 <= len(node.gpu_use.seconds) <= 40
        assert set(node.gpu_use.percent) == {87.5}
    assert (ledger.folder / f"{read.id}.json").stat().st_size < MOST_BYTES / 2


@pytest.mark.parametrize(
    "use",
    [
        *(None, 5, [[1, 2]], {}),
        {"seconds": [1.0], "percent": []},
        {"seconds": [1.0], "percent": [101.0]},
        {"seconds": [-1.0], "percent": [1.0]},
        {"seconds": ["x"], "percent": [1.0]},
        {"seconds": [1e300], "percent": [1.0]},
        {"seconds": [1.0] * 2_000, "percent": [1.0] * 2_000},
    ],
    ids=lambda use: json.dumps(use)[:40],
)
def test_a_record_with_another_use_of_a_gpu_is_read_without_it(use: object, tmp_path: Path) -> None:
    ledger = RunLedger(tmp_path)
    ledger.open(record(nodes=[NodeRecord(node="train", gpu_use=GpuUseRecord(seconds=[1.0], percent=[50.0]))]))
    file = ledger.folder / f"{run_id(1)}.json"
    content = json.loads(file.read_text())
    assert content["nodes"][0]["gpu_use"] == {"seconds": [1.0], "percent": [50.0]}
    content["nodes"][0]["gpu_use"] = use
    file.write_text(json.dumps(content))
    assert [node.gpu_use for node in ledger.find("latest").nodes] == [None]
    del content["nodes"][0]["gpu_use"]  # as an older release writes it
    file.write_text(json.dumps(content))
    assert [node.gpu_use for node in ledger.find("latest").nodes] == [None]


def test_each_run_has_an_id_of_its_own_that_begins_with_the_time(tmp_path: Path) -> None:
    ledger = RunLedger(tmp_path)
    kedros = "2026-11-27T01.54.51.364Z"
    assert ledger.new_id(kedros) == kedros
    ledger.open(record(id=kedros))
    assert ledger.new_id(kedros) == f"{kedros}-2"
    ledger.open(record(id=f"{kedros}-2"))
    assert ledger.new_id(kedros) == f"{kedros}-3"
    for odd in (None, "nightly", "../../etc", "a/b"):
        name = ledger.new_id(odd)
        assert name > "2026-11-27T"
        assert "/" not in name


HOLD = """
import sys
from pathlib import Path
from kedro_cloudtrain.runs.ledger import RunLedger
from kedro_cloudtrain.runs.record import RunRecord

ledger = RunLedger(Path(sys.argv[1]))
ledger.open(RunRecord(id=sys.argv[2], client=ledger.client))
print("ready", flush=True)
sys.stdin.read()
"""


def test_two_runs_at_once_are_two_records_and_a_killed_one_is_seen_to_be_interrupted(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", HOLD, str(tmp_path), run_id(second)] for second in range(2)]
    clients = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        assert [client.stdout.readline() for client in clients] == ["ready\n"] * 2
        assert [each.state for each in RunLedger(tmp_path).records()] == [RunState.RUNNING] * 2
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    states = [each.state for each in RunLedger(tmp_path).records()]
    assert states == [RunState.INTERRUPTED] * 2
    ledger = RunLedger(tmp_path)
    ledger.open(record(5))
    assert len(list(ledger.folder.glob("*.lock"))) == 1  # those of the killed ones are swept


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_record_that_is_cut_off_or_garbled_is_left_out_and_named(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    ledger = RunLedger(tmp_path_factory.mktemp("project"))
    ledger.open(record(1))
    ledger.open(record(2, nodes=[NodeRecord(node="train", machines=[MachineRecord(pod="p", cost_usd=0.1)])]))
    file = ledger.folder / f"{run_id(2)}.json"
    content = file.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 2), "cut")
    garbage = data.draw(st.binary(max_size=20), "garbage")
    file.write_bytes(data.draw(st.sampled_from([content[:cut], content[:cut] + garbage, garbage + content[cut:], b"[]", b"null", b"{}"])))
    reader = RunLedger(ledger.folder.parents[1])
    names = [each.id for each in reader.records()]
    assert names[-1] == run_id(1)
    assert (run_id(2) in reader.unreadable) == (len(names) == 1)


def test_a_record_of_an_older_or_a_later_release_is_read(tmp_path: Path) -> None:
    ledger = RunLedger(tmp_path)
    ledger.open(record(1))
    (ledger.folder / f"{run_id(2)}.json").write_text(json.dumps({"id": run_id(2), "state": "done", "nodes": [{"node": "train"}]}))
    (ledger.folder / f"{run_id(3)}.json").write_text(
        json.dumps({"version": 9, "id": run_id(3), "state": "done", "weather": "fine", "nodes": [{"node": "train", "state": "melted"}]})
    )
    later, older, _ = ledger.records()
    assert (older.version, older.nodes[0].state, older.cost_usd) == (1, "waiting", None)
    assert (later.version, later.nodes[0].state) == (9, "melted")
    assert not ledger.unreadable


def test_of_5000_runs_a_list_reads_no_more_than_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = RunLedger(tmp_path)
    ledger.open(record(1))
    content = (ledger.folder / f"{run_id(1)}.json").read_text()
    for number in range(5000):
        name = f"2026-10-{1 + number // 1000:02d}T00.{number // 60 % 60:02d}.{number % 60:02d}.{number % 1000:03d}Z"
        (ledger.folder / f"{name}.json").write_text(content.replace(run_id(1), name))
    read: list[str] = []
    real = RunLedger.read
    monkeypatch.setattr(RunLedger, "read", lambda self, name: read.append(name) or real(self, name))
    records = ledger.records()
    assert [next(records).id for _ in range(20)] == read
    assert len(read) == 20
    ledger.find("latest")
    assert len(read) == 21


def test_a_colleague_sees_the_records_that_are_beside_the_jobs_of_a_shared_volume(tmp_path: Path) -> None:
    volume = DirectoryVolume(tmp_path / "mount")
    mine, theirs = SharedRuns(volume, "shop-123456"), SharedRuns(volume, "shop-123456")
    assert theirs.ids() == []
    mine.write(record(1))
    mine.write(record(2))
    assert theirs.ids() == [run_id(2), run_id(1)]
    assert theirs.read(run_id(1)) == record(1)
    (tmp_path / f"mount/.cloudtrain/runs/shop-123456/{run_id(1)}.json").write_text("{")
    assert theirs.read(run_id(1)) is None
    assert theirs.unreadable == {run_id(1): "cannot be read as one"}
    assert SharedRuns(volume, "other-123456").ids() == []
    assert is_shared(volume, tmp_path / "project")
    assert not is_shared(volume, tmp_path)


def test_a_folder_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    (tmp_path / ".cloudtrain").write_text("a file in its place")
    with pytest.raises(CloudTrainError, match="cannot be written"):
        RunLedger(tmp_path).open(record(1))


def test_a_pod_that_is_paid_for_is_in_the_record_while_it_works_and_is_billed_if_its_client_is_killed(tmp_path: Path) -> None:
    row = Row("train", "xgboost", "t.csv")
    ledger, shared = RunLedger(tmp_path), SharedRuns(DirectoryVolume(tmp_path / "volume"), "shop")
    display = Display("a run")
    display.add(row)
    nodes = [NodeRecord(node="train", where="runpod"), NodeRecord(node="report")]
    running = record(nodes=nodes, state=RunState.RUNNING, finished_at=None)
    recorder = RunRecorder(ledger, running, shared, [], {}, display.receipts_so_far)
    recorder.begin()
    recorder.node_started("report")
    row.moved("train-0123", JobState.STARTING)
    row.placed("train-0123", "NVIDIA L4", 3600.0, "pod1")
    wait_until(lambda: any(True for each in RunLedger(tmp_path).records() for _ in each.machines))
    wait_until(lambda: (latest := shared.read(running.id)) is not None and any(latest.machines))
    (latest,) = RunLedger(tmp_path).records(paid=True)
    train, report = latest.nodes
    assert (train.state, train.job, train.where, report.state) == ("starting", "train-0123", "runpod", "running")
    (machine,) = latest.machines
    assert (machine.pod, machine.machine, machine.usd_per_hour) == ("pod1", "NVIDIA L4", 3600.0)
    assert machine.cost_usd == pytest.approx(machine.seconds, rel=0.01)
    # Nobody writes its end.
    recorder._over.set()
    ledger.close()
    for node in latest.nodes:
        node.started_at = time.time() - 9e4
    killed = latest.model_copy(update={"state": RunState.INTERRUPTED})
    assert reconcile(killed, {"pod1": 7.5})
    assert killed.cost_usd == 7.5
