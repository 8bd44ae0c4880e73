"""The ledger of pods: each has an entry from before its creation until RunPod does not list it, whichever process dies in between."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.cloud import QUICK_PACE, Cloud
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.fleet import Fleet, PodClient
from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry, PodLedger
from kedro_cloudtrain.backends.runpod.pod_names import has_name_of, is_for_job, parse_name, pod_name, pod_prefix
from kedro_cloudtrain.backends.runpod.watching import PodWatch
from kedro_cloudtrain.errors import ApiError, BudgetExceededError, CapacityError, ConfigError, JobLostError
from kedro_cloudtrain.rehearsal import RunPodStandIn
from kedro_cloudtrain.rehearsal.answers import Handler
from kedro_cloudtrain.rehearsal.schemas import ListPodsResponse
from kedro_cloudtrain.storage.cache import cache_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def backend(cloud: Cloud):
    """A backend that takes no pod for lost on a busy computer."""
    backend = cloud.backend(heartbeat_lost_s=30.0, release_s=30.0)
    yield backend
    backend.close()


_CLIENT = """
import sys, time
from pathlib import Path
from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry, PodLedger
ledger = PodLedger("account", Path(sys.argv[1]))
ledger.open(LedgerEntry(name="pod", asked_at=time.time()))
print("open", flush=True)
time.sleep(600)
"""


def test_a_client_that_is_killed_is_known_to_be_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _CLIENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "open\n"
        ledger = PodLedger("account", tmp_path)
        (entry,) = ledger.entries().values()
        assert ledger.has_client(entry)
        assert ledger.dead() == {}
        client.kill()
        client.wait()
    assert list(ledger.dead()) == ["pod"]
    assert PodLedger("another account", tmp_path).entries() == {}


@pytest.mark.parametrize(
    ("entry", "ended", "listed", "stays"),
    [
        ({"pod": "id", "age_s": 0}, False, False, True),  # Its client takes it out.
        ({"pod": "id", "age_s": 9000}, False, False, True),
        ({"pod": "id", "age_s": 0}, True, False, True),  # It may be listed late.
        ({"pod": "id", "age_s": 200}, True, False, False),
        ({"pod": "id", "age_s": 0}, True, True, True),
        ({"age_s": 0}, True, False, True),  # Its creation was not answered: it may still appear.
        ({"age_s": 200}, True, False, False),
        ({"age_s": -9000}, True, False, False),  # A clock was set.
        ({"pod": "id", "age_s": 0, "detached": True}, False, False, True),
        ({"pod": "id", "age_s": 200, "detached": True}, False, False, False),
        ({"pod": "id", "age_s": 200, "detached": True}, False, True, True),
    ],
)
def test_an_entry_stays_as_long_as_its_pod_may_exist(tmp_path: Path, entry: dict, ended: bool, listed: bool, stays: bool) -> None:
    client, other = PodLedger("account", tmp_path), PodLedger("account", tmp_path)
    client.open(LedgerEntry(name="pod", asked_at=time.time() - entry.pop("age_s"), **entry))
    if ended:
        client.close()
    other.sweep({"pod"} if listed else set(), lambda _: False)
    assert ("pod" in other.entries()) is stays


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"name": "another"}', b'{"name": 3}'])
def test_an_entry_that_cannot_be_read_stays_until_its_pod_is_gone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pod.json").write_bytes(content)
    ledger = PodLedger("account", tmp_path)
    assert ledger.entries() == {"pod": LedgerEntry(name="pod")}
    assert ledger.dead() == {}
    ledger.sweep({"pod"}, lambda _: False)
    assert "pod" in ledger.entries()
    ledger.sweep((), lambda _: False)
    assert ledger.entries() == {}


def test_no_pod_is_asked_for_where_the_ledger_cannot_be_written(cloud: Cloud, backend) -> None:
    (cache_folder()).mkdir(parents=True, exist_ok=True)
    (cache_folder() / "pods").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be written .*XDG_CACHE_HOME"):
        cloud.run(backend)
    assert cloud.runpod.requests("POST /v2/pods") == []


def test_each_pod_has_an_entry_while_it_exists(cloud: Cloud, backend) -> None:
    ledger, sightings = PodLedger(cloud.api.account), []

    def looked() -> bool:
        sightings.extend((pod.request.name, pod.request.name in ledger.entries()) for pod in cloud.runpod.living)
        return bool(sightings) and not cloud.runpod.living

    watching = threading.Thread(target=lambda: wait_until(looked))
    watching.start()
    cloud.run(backend)
    watching.join()
    assert sightings
    assert all(entered for _, entered in sightings)
    backend.close()
    assert ledger.entries() == {}


@pytest.mark.parametrize("status", [403, None], ids=["refused", "no answer"])
def test_a_pod_whose_creation_was_not_answered_is_found_and_ended(cloud: Cloud, status: int | None) -> None:
    backend = cloud.backend()
    cloud.runpod.faults.befall("never starts")
    cloud.runpod.faults.lose_answer("POST /v2/pods", worked=True)
    if status is None:
        cloud.runpod.faults.lose_answer("GET /v2/pods", times=5)
    else:
        cloud.runpod.faults.answer("GET /v2/pods", status, "key may not list")
    with pytest.raises(ApiError, match="gave no answer to the creation of"):
        cloud.run(backend)
    assert len(cloud.runpod.pods) == 1
    wait_until(lambda: not cloud.runpod.living)
    backend.close()
    assert backend.left() == []
    # A second try may still be carried out.
    assert [entry.pod for entry in PodLedger(cloud.api.account).entries().values()] in ([], [None])


def test_a_pod_that_a_gone_client_has_left_is_named_when_a_run_ends(cloud: Cloud, backend, caplog) -> None:
    gone, name = PodLedger(cloud.api.account), "cloudtrain-shop--old-0123456789ab-12345678"
    pod = cloud.runpod.put(name, minutes=5, usd_per_hour=0.43)
    gone.open(LedgerEntry(name=name, pod=pod.id, asked_at=time.time() - 300))
    gone.close()
    cloud.run(backend)
    backend.close()
    assert f"Pod {name} is still there, at $0.43 an hour, and the client that asked for it is gone" in caplog.text
    assert backend.left() == []  # It is not this run's.
    pod.end()


def test_an_answer_that_a_pod_is_ended_is_not_believed_alone(cloud: Cloud) -> None:
    cloud.runpod.faults.befall("never starts")
    cloud.runpod.faults.answer("DELETE /v2/pods/*", 204, times=99)
    backend = cloud.backend()
    cloud.run(backend, gpu=("NVIDIA L4",), startup_timeout_s=1)
    backend.close()
    (pod,) = cloud.runpod.living
    assert pod.id in backend.left()[0]
    assert list(PodLedger(cloud.api.account).dead()) == [pod.request.name]
    cloud.runpod.faults.clear()
    pod.end()


@pytest.mark.parametrize(
    ("project", "prefix"),
    [
        ("shop-1a2b3c", "cloudtrain-shop-1a2b3c--"),
        ("My_Shop--2-1a2b3c", "cloudtrain-my-shop-2-1a2b3c--"),
        (f"{'long_' * 12}-1a2b3c", f"cloudtrain-{'long-' * 6}lon-1a2b3c--"),
        ("…", "cloudtrain-project--"),
    ],
)
def test_a_pods_name_tells_its_project_job_and_attempt(project: str, prefix: str) -> None:
    job = f"train--{'x' * 90}-0123456789ab"
    name = pod_name(pod_prefix(project), job, "deadbeef")
    assert name.startswith(prefix)
    parts = parse_name(name)
    assert parts is not None
    assert (f"cloudtrain-{parts[0]}--", parts[2]) == (prefix, "deadbeef")
    assert is_for_job(parts[1], job)
    assert not is_for_job(parts[1], "train")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("shop-1a2b3c", "shop-4d5e6f", True), ("shop", "shop-4d5e6f", True), ("shop-2-1a2b3c", "shop-1a2b3c", False), ("a", "b", False)],
)
def test_projects_of_one_name_are_known(first: str, second: str, same: bool) -> None:
    assert has_name_of(first, second) is same
    assert parse_name("cloudtrain-by-hand") is None


def list_late(monkeypatch: pytest.MonkeyPatch, after_s: float) -> None:
    """Have a list show a pod only a while after it was created."""
    born: dict[str, float] = {}

    def living(self: RunPodStandIn) -> list:
        return [
            pod for pod in self.pods.values() if not pod.gone and time.monotonic() - born.setdefault(pod.id, time.monotonic()) > after_s
        ]

    monkeypatch.setattr(Handler, "_answer_account", answer_late(living))


def answer_late(living):
    """Answer a list of pods with those that `living` returns, and all else as ever."""
    real = Handler._answer_account

    def answer(self: Handler) -> None:
        if (self.command, self.call.path) != ("GET", "/v2/pods"):
            return real(self)
        pods = [self.stand_in.view(pod) for pod in living(self.stand_in)]
        return self.send_json(200, ListPodsResponse(pods=pods).json_object())

    return answer


def test_a_pod_that_is_listed_late_is_not_taken_for_gone(cloud: Cloud, backend, monkeypatch: pytest.MonkeyPatch) -> None:
    list_late(monkeypatch, 1.5)
    cloud.run(backend, body="time.sleep(3)")
    assert len(cloud.runpod.pods) == 1
    cloud.runpod.faults.befall("never starts")
    with pytest.raises(JobLostError, match="never started"):
        cloud.run(backend, "other", retries=0, startup_timeout_s=1)
    wait_until(lambda: not cloud.runpod.living)
    backend.close()
    assert PodLedger(cloud.api.account).entries() == {}


def test_a_refusal_after_a_create_that_was_not_answered_is_none(cloud: Cloud) -> None:
    backend = cloud.backend()
    cloud.runpod.faults.answer("POST /v2/pods", 502)
    cloud.runpod.faults.no_capacity()
    with pytest.raises(CapacityError):
        cloud.run(backend, wait_for_capacity_s=0)
    (entry,) = PodLedger(cloud.api.account).entries().values()
    assert entry.pod is None
    assert entry.may_appear
    pod = cloud.runpod.put(entry.name, minutes=0)  # It was carried out late.
    wait_until(lambda: pod.gone)
    backend.close()
    assert backend.left() == []


def test_a_create_that_is_in_flight_when_the_run_ends_is_named(cloud: Cloud) -> None:
    backend = cloud.backend()
    backend._api._pause = lambda seconds: time.sleep(min(seconds, 0.02))  # type: ignore[method-assign]
    cloud.runpod.faults.answer("POST /v2/pods", 502, times=9)
    with pytest.raises(ApiError, match="gave no answer to the creation"):
        cloud.run(backend)
    backend.close()
    (sentence,) = backend.left()
    assert "Whether RunPod has made the pod cloudtrain-shop--train-" in sentence
    assert "kedro cloudtrain reap" in sentence


def test_what_a_pod_may_cost_stays_reserved_until_it_is_gone(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    backend = cloud.backend(max_cost_usd=0.06)  # One pod's worst case is 0.14 dollars an hour for 1,020 s.
    cloud.runpod.faults.befall("cannot end")
    cloud.runpod.faults.answer("DELETE /v2/pods/*", 401, times=99)
    cloud.run(backend)
    wait_until(lambda: "could not be terminated" in caplog.text)
    wait_until(lambda: backend._budget._reserved)
    with pytest.raises(BudgetExceededError):
        cloud.run(backend, "other")
    cloud.runpod.faults.clear()
    wait_until(lambda: not cloud.runpod.living)
    wait_until(lambda: not backend._budget._reserved)
    cloud.run(backend, "another")
    backend.close()


def test_a_job_that_is_detached_twice_is_left_alone(cloud: Cloud) -> None:
    job = cloud.job(body="time.sleep(20)")
    for _ in range(2):
        backend = cloud.backend()
        backend.submit(job.request(attach=True))
        backend.close()
    (pod,) = cloud.runpod.living
    assert [pod.client for pod in Fleet(cloud.api, "Shop").pods()] == [PodClient.DETACHED]
    pod.end()


def test_a_client_whose_lock_is_taken_away_as_it_begins_is_not_taken_for_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = PodLedger("account", tmp_path), PodLedger("account", tmp_path)
    real, swept = fcntl.flock, []

    def flock(handle, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not swept:
            swept.append(True)
            other.sweep((), lambda _: False)
        real(handle, operation)

    monkeypatch.setattr("kedro_cloudtrain.storage.life_locks.fcntl.flock", flock)
    client.open(LedgerEntry(name="pod", asked_at=time.time()))
    assert swept
    assert other.dead() == {}


@pytest.mark.parametrize("job", ["train", f"train{'x' * 100}"])
def test_stop_tells_the_client_of_its_own_attempt(cloud: Cloud, job: str) -> None:
    name = pod_name(pod_prefix("Shop"), f"{job}-0123456789ab", "deadbeef")
    pod = cloud.runpod.put(name)
    client = PodLedger(cloud.api.account)
    client.open(LedgerEntry(name=name, job=f"{job}-0123456789ab", pod=pod.id, asked_at=time.time()))
    key = f".cloudtrain/jobs/{job}-0123456789ab/result.json"
    cloud.volume.write_bytes(key, b'{"state": "failed", "attempt": "01234567"}')
    fleet = Fleet(cloud.api, "Shop", cloud.volume)
    assert [reason for _, reason in fleet.terminate(fleet.pods())] == [None]
    assert b'"attempt":"deadbeef"' in (cloud.volume.read_bytes(key) or b"")


def test_a_pod_that_may_be_created_a_second_time_is_named_and_stays_in_the_ledger(cloud: Cloud, backend, caplog) -> None:
    cloud.runpod.faults.answer("POST /v2/pods", 502)
    cloud.run(backend)
    backend.close()
    (pod,) = cloud.runpod.pods.values()
    assert f"did not answer the first request for pod {pod.request.name}, and may still create it a second time" in caplog.text
    assert backend.left() == []  # It may never be, and would end itself.
    assert [entry.pod for entry in PodLedger(cloud.api.account).dead().values()] == [None]


@pytest.mark.parametrize("answered", [True, False])
def test_the_second_pod_of_a_client_that_was_killed_is_ended_though_it_comes_late(cloud: Cloud, answered: bool) -> None:
    name = pod_name(pod_prefix("Shop"), "train-0123456789ab", "deadbeef")
    killed = PodLedger(cloud.api.account)
    killed.open(LedgerEntry(name=name, asked_at=time.time()))
    first = cloud.runpod.put(name, minutes=0)
    if answered:
        killed.created(name, first.id, 0.43, unanswered_at=time.time())
    killed.close()
    watch = PodWatch(cloud.api, QUICK_PACE)
    watch.adopt(LedgerEntry(name=name, pod=first.id, asked_at=time.time()))
    assert watch.terminate(first.id)
    wait_until(lambda: watch.sighting(first.id) is None)
    second = cloud.runpod.put(name, minutes=0)
    wait_until(lambda: second.gone)
    watch.close()
    assert watch.left == {}
