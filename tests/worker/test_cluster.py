"""The processes that share a fit: their rows, what they tell the job's own, and their end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest
from support.waiting import wait_until

from kedro_cloudtrain.worker.cluster import Cluster
from kedro_cloudtrain.worker.errors import InputError, LostProcessError, MachineError, PackageError
from kedro_cloudtrain.worker.gpus import Gpu
from kedro_cloudtrain.worker.protocol import (
    ADDRESS_VARIABLE,
    CHECKPOINT_VARIABLE,
    CLUSTER_VARIABLE,
    CREDENTIALS_VARIABLE,
    JOB_KEYS_VARIABLE,
    MACHINES_VARIABLE,
    MACHINES_WITHIN_S_VARIABLE,
    URL_SECRETS_VARIABLE,
    VOLUME_VARIABLE,
    WORK_VARIABLE,
)
from kedro_cloudtrain.worker.relay import Caller, Relay, RemoteModel
from kedro_cloudtrain.worker.splitting import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 7
# The processes do not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def part(*, weighted: bool) -> Part:
    features = np.arange(3 * ROWS, dtype="float32").reshape(ROWS, 3)
    return Part(features, np.arange(ROWS, dtype="int32"), np.arange(ROWS) + 100, np.linspace(1, 2, ROWS) if weighted else None)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(2, Gpu("NVIDIA L4", count=3))
    yield made
    assert made.close() is None
    assert not [pid for pid in pids_of(made) if Path(f"/proc/{pid}").exists()]
    assert not Path(made._folder).exists()


def pids_of(cluster: Cluster) -> list[int]:
    return [process.pid for process in cluster._processes]


def visible(number: int) -> tuple[int, str, str]:
    return number, os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]


def test_each_process_sees_a_gpu_of_its_own_and_the_first_ones_value_comes_back(cluster: Cluster) -> None:
    threads = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert cluster.each(visible, [5, 6]) == (5, "0", threads)
    futures = [cluster.client.submit(visible, 0, workers=[address], pure=False) for address in cluster.addresses]
    assert [gpu for _, gpu, _ in cluster.client.gather(futures)] == ["0", "1"]


@pytest.mark.parametrize("weighted", [True, False])
def test_every_row_is_dealt_once_with_its_target_and_its_weight(cluster: Cluster, weighted: bool) -> None:
    whole = part(weighted=weighted)
    dealt = [stored.load() for stored in cluster.deal(whole)]
    assert [share.rows.tolist() for share in dealt] == [[100, 102, 104, 106], [101, 103, 105]]
    shared = cluster.share_out(whole)
    order = np.argsort(shared.rows.compute())
    for name in ("features", "target", "rows", "weight"):
        array, expected = getattr(shared, name), getattr(whole, name)
        assert (array is None) == (expected is None)
        if expected is not None:
            assert array.dtype == expected.dtype
            assert np.array_equal(array.compute()[order], expected)


def test_fewer_rows_than_processes_are_refused(cluster: Cluster) -> None:
    one = part(weighted=True).take(np.arange(1))
    with pytest.raises(InputError, match=r"The fit has 1 rows, fewer than the 2 processes .* set gpu_count: 1 and machines: 1"):
        cluster.deal(one)
    assert cluster.share_out(one).target.compute().tolist() == [0]


def decided(caller: Caller, rounds: int) -> list[Any]:
    """Ask of each round what has become of it, as a fit's callbacks do."""
    outcomes: list[Any] = []
    for number in range(rounds):
        try:
            outcomes.append(caller.same(number, lambda number=number: caller.do(0, number, lambda: b"model %d" % number)))
        except Exception as error:  # noqa: BLE001  # what any of them raises
            outcomes.append(repr(error))
            break
    return [caller.first, *outcomes]


class Unsendable(Exception):  # noqa: N818
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


def test_the_jobs_own_callback_decides_for_all_processes_and_gets_the_first_ones_model(cluster: Cluster, tmp_path: Path) -> None:
    numbers = []

    def callback(number: int, model: RemoteModel) -> str:
        numbers.append(number)
        if number == 1:
            model.save_model(tmp_path / "model")
        if number == 3:
            raise Unsendable("no space left")
        return f"after {number}"

    relay = Relay([callback], "127.0.0.1")
    caller = relay.caller()
    futures = [cluster.client.submit(decided, caller, 9, workers=[address], pure=False) for address in cluster.addresses]
    first, second = cluster.client.gather(futures)
    relay.close()
    error = "RuntimeError('Unsendable: no space left')"
    assert first == [True, "after 0", "after 1", "after 2", error]
    assert second == [False, *first[1:]]
    assert numbers == [0, 1, 2, 3]
    assert (tmp_path / "model").read_bytes() == b"model 1"


def fails(number: int) -> None:
    raise InputError(f"row {number} is odd")


def test_an_error_of_a_process_is_the_jobs(cluster: Cluster) -> None:
    with pytest.raises(InputError, match="row 3 is odd"):
        cluster.each(fails, [3, 3])


def test_fewer_gpus_than_processes_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match=r"asks for 3 GPUs, and this machine shows it 2 \(2 × NVIDIA L4\)"):
        Cluster(3, Gpu("NVIDIA L4", count=2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(MachineError, match="asks for 2 GPUs, and this machine shows it 1"):
        Cluster(2, Gpu("NVIDIA L4", count=2))


def test_dask_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PackageError, match=r'distributed is not installed: pip install "kedro-cloudtrain\[dask\]"'):
        Cluster(2)


def test_processes_that_do_not_start_are_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(MachineError, match=r"process [12] of the 2 that share the work has ended with exit code 1"):
        Cluster(2)


def test_a_process_that_is_killed_ends_the_others_and_the_work() -> None:
    cluster = Cluster(2)
    pids = pids_of(cluster)
    futures = [cluster.client.submit(time.sleep, 300, workers=[address], pure=False) for address in cluster.addresses]
    wait_until(lambda: len(cluster.client.processing()) == 2)
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(BaseException) as raised:  # Dask's own: a cancellation, or a closed connection
        cluster.client.gather(futures)
    error = cluster.close(raised.value)
    assert isinstance(error, LostProcessError)
    assert str(error) == "process 2 of the 2 that share the work was killed by SIGKILL, most likely since the machine has too little memory"
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_what_another_machine_cannot_do_ends_the_start_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = {CLUSTER_VARIABLE: str(tmp_path), MACHINES_VARIABLE: "2", ADDRESS_VARIABLE: "127.0.0.1", MACHINES_WITHIN_S_VARIABLE: "60"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    for name in ("RUNPOD_API_KEY", URL_SECRETS_VARIABLE, CREDENTIALS_VARIABLE, JOB_KEYS_VARIABLE):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv(WORK_VARIABLE, "0123")
    for name in (VOLUME_VARIABLE, CHECKPOINT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "failed-1").write_text(json.dumps({"type": "InstallError", "message": "the packages cannot be installed."}))
    with pytest.raises(MachineError, match=r"^machine 2 of 2: the packages cannot be installed\.$"):
        Cluster(4)
    asked = json.loads((tmp_path / "asked-1").read_text())
    assert (asked["processes"], asked["scheduler"].rpartition(":")[0]) == (2, "tcp://127.0.0.1")
    assert asked["variables"] == {WORK_VARIABLE: "0123"}
    assert "a secret" not in (tmp_path / "asked-1").read_text()
