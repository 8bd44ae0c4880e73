"""A pod is held to the limits by the price that RunPod really bills, whenever it shows that, and counts until it is known to be gone."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.cloud import Cloud
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod import kept
from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
from kedro_cloudtrain.backends.runpod.contract import Pod
from kedro_cloudtrain.backends.runpod.dear import over_limit
from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry, PodLedger
from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
from kedro_cloudtrain.backends.runpod.sighting import Sighting
from kedro_cloudtrain.errors import BudgetExceededError, CapacityError, CloudTrainError
from kedro_cloudtrain.jobs.machine import Machine
from kedro_cloudtrain.rehearsal.storage import StorageFault
from kedro_cloudtrain.running.display import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.rehearsal.pods import RunningPod
    from kedro_cloudtrain.running.job import Job

L4 = ("NVIDIA L4", "NVIDIA A40")


@pytest.fixture
def backend(cloud: Cloud) -> Iterator[RunPodBackend]:
    backend = cloud.backend(heartbeat_lost_s=30.0, release_s=30.0)
    backend._api._pause = lambda seconds: time.sleep(min(seconds, 0.02))  # type: ignore[method-assign]
    yield backend
    cloud.runpod.faults.clear()
    backend.close()
    cloud.runpod.end_pods()


class Raise:
    """Bills the pods of a GPU at another price, from the first list that follows their creation."""

    def __init__(self, cloud: Cloud, usd: float, gpu: str = "NVIDIA L4", created: float | None = None) -> None:
        real = cloud.runpod.view
        pods: set[str] = set()

        def view(pod: RunningPod) -> Any:
            answer = real(pod)
            if pod.request.gpu is not None and pod.request.gpu.id == gpu and not pod.gone:
                answer.cost = usd if pod.id in pods else answer.cost if created is None else created
                pod.usd_per_hour = usd if pod.id in pods else pod.usd_per_hour
            pods.add(pod.id)
            return answer

        cloud.runpod.view = view  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("created", "settings", "reason"),
    [
        pytest.param(None, {"max_price_per_hour_usd": 1.0}, "over max_price_per_hour_usd 1", id="created at its offer's price"),
        pytest.param(0.0, {"max_cost_usd": 0.2}, "which max_cost_usd does not pay for", id="created at 0"),
    ],
)
def test_a_pod_whose_price_rises_over_a_limit_is_ended_and_the_next_machine_taken(
    cloud: Cloud, backend: RunPodBackend, settings: dict[str, Any], reason: str, created: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    Raise(cloud, 4.3, created=created)
    body = "import time\nif 'L4' in os.environ.get('STAND_IN_GPU', ''): time.sleep(30)"
    cloud.run(backend, body=body, gpu=L4, **settings)
    dear, used = cloud.runpod.pods.values()
    assert dear.gone
    assert used.usd_per_hour == 0.4
    assert f"billed at $4.30/h instead of $0.43/h, {reason}" in caplog.text
    first, second = cloud.receipts[0].machines
    assert (first.usd_per_hour, second.usd_per_hour) == (4.3, 0.4)
    assert first.cost_usd >= dear.cost_usd * 0.99


def test_a_price_that_rises_shortens_the_pods_life_and_is_reserved_and_billed(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    backend = cloud.backend(max_cost_usd=50.0, heartbeat_lost_s=30.0)
    Raise(cloud, 4.3)
    reserved: list[float] = []

    def look() -> bool:
        reserved.extend(backend._budget._reserved.values())
        return "is ended after 104 s at most" in caplog.text

    running = threading.Thread(target=lambda: cloud.run(backend, body="time.sleep(3)", gpu=L4, max_cost_usd=1.2, timeout_s=3600))
    running.start()
    wait_until(look)
    wait_until(lambda: look() and max(reserved) == pytest.approx(4.3 * (900 + 104) / 3600))
    running.join()
    (folder,) = (cloud.bucket / ".cloudtrain/jobs").iterdir()
    machine = json.loads((folder / "machine.json").read_text())
    assert (machine["lifetime_s"], machine["usd_per_hour"]) == (math.floor(1.2 / 4.3 * 3600 - 900), 4.3)
    assert machine["image" if "image" in machine else "uv"]  # What the pod has to know is all still there.
    backend.close()
    (use,) = cloud.receipts[0].machines
    assert use.usd_per_hour == 4.3
    assert use.cost_usd == pytest.approx(4.3 * use.seconds / 3600, rel=0.05)
    assert backend._budget.spent_usd == pytest.approx(use.cost_usd)


def test_a_run_s_limit_holds_at_the_price_that_the_lists_show(cloud: Cloud) -> None:
    backend = cloud.backend(max_cost_usd=0.5, heartbeat_lost_s=30.0)
    Raise(cloud, 4.3)
    with pytest.raises(CapacityError, match=r"NVIDIA L4 \(billed at \$4\.30/h instead of \$0\.43/h, which max_cost_usd does not pay for\)"):
        cloud.run(backend, body="time.sleep(30)", gpu=L4[:1])
    backend.close()
    assert cloud.runpod.living == []
    assert backend._budget._reserved == {}
    assert backend._budget.spent_usd >= next(iter(cloud.runpod.pods.values())).cost_usd * 0.99


def test_a_sighting_keeps_the_highest_price() -> None:
    from kedro_cloudtrain.backends.runpod.contract import Pod

    sighting = Sighting("a", 0.0, usd_per_hour=0.43)
    for cost, highest in ((0.0, 0.43), (4.3, 4.3), (0.43, 4.3), ("no", 4.3)):
        sighting.update(Pod.model_validate({"id": "a", "cost": cost}))
        assert sighting.usd_per_hour == highest


def left_running(cloud: Cloud, price: float, *, detached: bool = False, **settings: Any) -> tuple[Job, RunningPod]:
    """Leave a job on a pod whose client is gone, at a price; return the job with other settings."""
    body = "time.sleep(30)"
    first = cloud.job(body=body, gpu=L4[:1])
    client = cloud.backend()
    client.submit(first.request(attach=True))
    client.close()
    (pod,) = cloud.runpod.pods.values()
    pod.usd_per_hour = price
    if not detached:  # As a client leaves it that was killed.
        gone = PodLedger(cloud.api.account)
        gone.open(LedgerEntry(name=pod.request.name, job=first.folder.name, pod=pod.id, asked_at=time.time()))
        gone.close()
    return cloud.job(body=body, gpu=L4[:1], **settings), pod


@pytest.mark.parametrize(
    ("price", "settings", "run_usd", "reason", "detached"),
    [
        (4.3, {"max_price_per_hour_usd": 1.0}, None, "over max_price_per_hour_usd 1", False),
        (4.3, {"max_cost_usd": 0.5}, None, "$0.50 of its max_cost_usd is left", False),
        (0.43, {}, 0.05, "past max_cost_usd ($0.05", False),
        (4.3, {}, 0.2, "past max_cost_usd ($0.20", True),
    ],
)
def test_a_pod_that_is_dearer_than_the_limits_is_not_taken_over_and_is_named(
    cloud: Cloud,
    price: float,
    settings: dict[str, Any],
    run_usd: float | None,
    reason: str,
    detached: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job, pod = left_running(cloud, price, detached=detached, **settings)
    backend = cloud.backend(max_cost_usd=run_usd)
    with pytest.raises(BudgetExceededError) as raised:
        job.run(backend, Row("train", "mine", "penguins"), cloud.receipts, reuse=True)
    for part in (f"is running already on pod {pod.id}, at ${price:.2f} an hour", reason, "kedro cloudtrain reap"):
        assert part in raised.value.message
    assert "was not started" not in raised.value.message
    backend.close()
    assert not pod.gone
    assert (f"Pod {pod.request.name} is still there, at ${price:.2f} an hour" in caplog.text) is not detached
    assert list(cloud.runpod.pods) == [pod.id]
    assert backend._budget._reserved == {}
    pod.end()


def test_a_pod_that_is_taken_over_lives_no_longer_than_its_price_allows(cloud: Cloud, backend: RunPodBackend) -> None:
    job, pod = left_running(cloud, 0.86, max_cost_usd=0.235)
    remote = RemoteFolder(job.folder, cloud.volume)
    before = json.loads(cloud.volume.read_bytes(remote.key("machine.json")) or b"")
    running = threading.Thread(target=lambda: _quietly(job, backend, cloud))
    running.start()
    wait_until(lambda: remote.machine().lifetime_s < before["lifetime_s"])
    after = json.loads(cloud.volume.read_bytes(remote.key("machine.json")) or b"")
    assert after == before | {"usd_per_hour": 0.86, "lifetime_s": math.floor(0.235 / 0.86 * 3600 - 900)}
    pod.end()
    backend.close()
    running.join()


def _quietly(job: Job, backend: RunPodBackend, cloud: Cloud) -> None:
    with contextlib.suppress(CloudTrainError):
        job.run(backend, Row("train", "mine", "penguins"), cloud.receipts, reuse=True)


def test_a_pod_that_could_not_be_ended_counts_for_its_node_until_it_is_gone_and_then_with_its_cost(cloud: Cloud) -> None:
    backend = cloud.backend(heartbeat_lost_s=30.0)
    backend._api._pause = lambda seconds: time.sleep(min(seconds, 0.02))  # type: ignore[method-assign]
    cloud.runpod.faults.befall("never starts")
    cloud.runpod.faults.answer("DELETE /v2/pods/*", 401, times=999)
    with pytest.raises(BudgetExceededError) as raised:  # The first pod may still cost all that the node may.
        cloud.run(backend, gpu=L4, startup_timeout_s=2, max_cost_usd=0.008)
    (pod,) = cloud.runpod.pods.values()
    assert f"is held for pod {pod.request.name}, which is not known to have ended" in raised.value.message
    (use,) = cloud.receipts[0].machines
    then = use.cost_usd
    time.sleep(1.0)
    cloud.runpod.faults.clear()
    backend.close()
    assert pod.gone
    assert use.cost_usd > then  # The receipt has what it has cost in the end.
    assert use.cost_usd == pytest.approx(backend._budget.spent_usd)


@pytest.mark.parametrize(
    ("first", "limits"), [("volume", {"max_cost_usd": 0.2}), ("volume", {"run_usd": 0.5}), ("price", {"max_cost_usd": 0.2})]
)
def test_a_dear_pod_is_ended_while_the_volume_is_silent(
    cloud: Cloud, first: str, limits: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    limits = dict(limits)
    backend = cloud.backend(max_cost_usd=limits.pop("run_usd", None), heartbeat_lost_s=60.0, volume_silent_s=60.0)

    def hang() -> None:
        cloud.s3.faults += [StorageFault("GET", "result.json", 503, times=999)]

    def run() -> None:
        with contextlib.suppress(CloudTrainError):
            cloud.run(backend, body="time.sleep(600)", gpu=L4[:1], timeout_s=600, retries=0, **limits)

    running = threading.Thread(target=run)
    running.start()
    wait_until(lambda: bool(cloud.rows) and bool(cloud.runpod.living) and backend._watch._pods != {})
    (pod,) = cloud.runpod.living
    if first == "volume":
        hang()
        wait_until(lambda: cloud.s3.faults[0].times < 999)
        pod.usd_per_hour = 430.0
    else:
        pod.usd_per_hour = 430.0
        hang()
    wait_until(lambda: pod.gone)
    assert "at $430.00 an hour" in caplog.text or "billed at $430.00/h" in caplog.text
    cloud.s3.faults.clear()
    backend.close()
    running.join(60)
    assert len(cloud.runpod.pods) == 1


def test_a_dear_pod_lives_on_where_no_limit_is_set(cloud: Cloud, backend: RunPodBackend) -> None:
    Raise(cloud, 4300.0)
    cloud.run(backend, body="time.sleep(2)", gpu=L4[:1])
    assert len(cloud.runpod.pods) == 1


@pytest.mark.parametrize(
    ("settings", "price", "reason"),
    [
        ({"max_price_per_hour_usd": 1.0}, 4.3, "billed at $4.30/h instead of $0.43/h, over max_price_per_hour_usd 1. It goes on"),
        ({"max_cost_usd": 0.5}, 43.0, "at which it costs up to $"),
    ],
)
def test_the_wait_for_a_pod_that_was_left_names_a_price_that_has_risen_over_a_limit(
    cloud: Cloud,
    settings: dict[str, Any],
    price: float,
    reason: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept, "_WAIT_POLL_S", 0.05)
    job = cloud.job(body="while not Path(os.environ['CLOUDTRAIN_VOLUME'], 'go-on').exists(): time.sleep(0.05)", gpu=L4[:1], **settings)
    client = cloud.backend()
    client.submit(job.request())
    client.close()
    (pod,) = cloud.runpod.pods.values()
    pod.usd_per_hour = price
    waiting = kept.KeptPodJob(RemoteFolder(job.folder, cloud.volume), lambda: cloud.api)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(waiting.wait(lambda *_: None)))
    thread.start()
    wait_until(lambda: "is billed at" in caplog.text)
    time.sleep(0.3)
    assert not pod.gone
    (cloud.bucket / "go-on").touch()
    thread.join(60)
    assert [result.state for result in results] == ["succeeded"]
    # Once for a price.
    (warning,) = [record.getMessage() for record in caplog.records if "is billed at" in record.getMessage()]
    assert reason in warning
    assert warning.endswith(f"To end it: kedro cloudtrain stop {job.name}")


@pytest.mark.parametrize(
    ("price", "limits", "over"),
    [
        (0.43, {"max_price_per_hour_usd": 0.4}, None),  # It was taken at this price.
        (0.434, {"max_price_per_hour_usd": 0.4}, None),
        (0.9, {}, None),
        (0.9, {"max_price_per_hour_usd": 0.9}, None),
        (0.9, {"max_price_per_hour_usd": 0.5, "max_cost_usd": 0.1}, "over max_price_per_hour_usd 0.5"),
        (0.9, {"max_cost_usd": 1.0}, "costs up to $1.05, over max_cost_usd 1; so far $0.45"),
        (0.9, {"max_cost_usd": 1.1}, None),
        (0.0, {"max_cost_usd": 0.1}, None),  # It has ended, or RunPod does not say.
    ],
)
def test_a_price_is_over_a_limit_only_where_it_has_risen(price: float, limits: dict[str, float], over: str | None) -> None:
    began = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    pod = Pod.model_validate({"id": "p1", "cost": price, "createdAt": began.isoformat(), "runtime": {"uptime": 1200.0}})
    # Ten minutes until it has started, and an hour to live from then on.
    sentence = over_limit("train", Machine(usd_per_hour=0.43, lifetime_s=3600.0, **limits), pod, began + dt.timedelta(minutes=30))
    assert (sentence == "") is (over is None)
    assert over is None or over in sentence
