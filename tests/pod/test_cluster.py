"""A machine's place in a cluster, by what RunPod leaves in its environment."""

from __future__ import annotations

import pytest

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
