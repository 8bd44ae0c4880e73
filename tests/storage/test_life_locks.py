"""What clients that work at the same time write and lock beside one another."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry, PodLedger
from kedro_cloudtrain.runs.ledger import RunLedger
from kedro_cloudtrain.storage.files import visible, whole
from kedro_cloudtrain.storage.life_locks import LifeLocks


def test_a_lock_that_a_client_takes_during_a_sweep_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = LifeLocks(tmp_path, "client"), LifeLocks(tmp_path, "other")
    (tmp_path / "client.lock").touch()  # as a client leaves it that was killed
    taking = threading.Thread(target=client.take)
    real = Path.unlink

    def unlink(path: Path, *args: bool, **more: bool) -> None:
        taking.start()
        time.sleep(0.2)
        real(path, *args, **more)

    monkeypatch.setattr(Path, "unlink", unlink)
    other.sweep()
    taking.join(60)
    assert not taking.is_alive()
    assert other.lives("client")


def test_a_sweep_removes_the_locks_of_the_dead_alone(tmp_path: Path) -> None:
    alive, dead, sweeper = (LifeLocks(tmp_path, name) for name in ("alive", "dead", "sweeper"))
    for locks in (alive, dead, sweeper):
        locks.take()
    dead.release()
    (tmp_path / "dead.lock").touch()
    sweeper.sweep()
    assert sorted(file.name for file in tmp_path.glob("*.lock")) == ["alive.lock", "sweeper.lock"]


def test_a_file_that_is_still_written_is_in_no_listing(tmp_path: Path) -> None:
    pods, runs = PodLedger("account", tmp_path / "pods"), RunLedger(tmp_path)
    for folder, listed in ((pods.folder, pods.entries), (runs.folder, runs.ids)):
        with whole(folder / "2026-01-01T00.00.00.000Z.json") as temporary:
            temporary.write_text("{}")
            assert (list(visible(folder, ".json")), list(listed())) == ([], [])
            PodLedger("account", folder).sweep((), lambda _: False)
        assert list(listed()) == ["2026-01-01T00.00.00.000Z"]


def test_pods_are_entered_while_another_client_sweeps(tmp_path: Path) -> None:
    client, other, over = PodLedger("account", tmp_path), PodLedger("account", tmp_path), threading.Event()

    def sweep() -> None:
        while not over.is_set():
            other.sweep((), lambda _: False)

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for number in range(150):
            client.open(LedgerEntry(name=f"pod{number}", asked_at=time.time()))
    finally:
        over.set()
        sweeping.join()
    assert len(other.entries()) == 150
