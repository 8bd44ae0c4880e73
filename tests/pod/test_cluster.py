"""A machine's place in a cluster, by what RunPod leaves in its environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kedro_cloudtrain.pod import job_folder, member
from kedro_cloudtrain.pod.cluster import own_address, rank_of


@pytest.mark.parametrize(
    ("machine", "variables", "rank", "address"),
    [
        ({}, {}, 0, "127.0.0.1"),
        ({"machines": 1}, {"NODE_RANK": "3"}, 0, "127.0.0.1"),  # no cluster of ours
        ({"machines": 4}, {"NODE_RANK": "3", "NODE_ADDR": "10.65.0.5", "PRIMARY_ADDR": "10.65.0.2"}, 3, "10.65.0.5"),
        ({"machines": 4}, {"NODE_RANK": "1", "PRIMARY_ADDR": "127.64.0.1"}, 1, "127.0.0.1"),  # from where the first one is reached
        ({"machines": 4}, {"MASTER_ADDR": "127.64.0.1"}, 0, "127.0.0.1"),
    ],
)
def test_a_machine_knows_its_number_and_its_address(
    monkeypatch: pytest.MonkeyPatch, machine: dict[str, int], variables: dict[str, str], rank: int, address: str
) -> None:
    for name in ("NODE_RANK", "NODE_ADDR", "PRIMARY_ADDR", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (rank_of(machine), own_address()) == (rank, address)


def test_whatever_a_machine_cannot_do_is_written_for_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise OSError("the disk is gone")

    for name, value in {"CLOUDTRAIN_ATTEMPT": "0123", "NODE_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(job_folder, "FOLDER", tmp_path)
    monkeypatch.setattr(member, "make_environment", fail)
    machine = {"attempt": "0123", "machines": 2}
    (tmp_path / "machine.json").write_text(json.dumps(machine))
    (tmp_path / "result.json").write_text('{"attempt": "0123"}')  # so that it does not wait for the job
    member.serve(machine)
    failed = json.loads((tmp_path / "cluster-0123/failed-1").read_text())
    assert failed["message"] == "OSError: the disk is gone"
    assert "the disk is gone" in (tmp_path / "cluster-0123/log-1").read_text()
