"""Two clients that want the same job: one of them pays for a pod."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod import launching
from kedro_cloudtrain.backends.runpod.budget import Budget
from kedro_cloudtrain.backends.runpod.claim import Claim, ClaimedError
from kedro_cloudtrain.backends.runpod.ledger import PodLedger
from kedro_cloudtrain.backends.runpod.offers import no_capacity
from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
from kedro_cloudtrain.errors import BackendError, CapacityError, CloudTrainError, JobCancelledError
from kedro_cloudtrain.running.display import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cloud import Cloud

    from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
    from kedro_cloudtrain.running.job import Job

GO_ON = "go-on"
UNTIL_GO_ON = f"""while not Path(os.environ["CLOUDTRAIN_VOLUME"], "{GO_ON}").exists(): time.sleep(0.05)"""
FAILS_ONCE = """
    failed = Path(os.environ["CLOUDTRAIN_VOLUME"], "failed")
    if not failed.exists():
        failed.touch()
        raise ValueError("once")
"""
CREATE = "POST /v2/pods"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put each client on a computer of its own, so that it respects the claims of the others."""
    monkeypatch.setattr("kedro_cloudtrain.backends.runpod.backend.client_id", lambda folder: f"elsewhere/{folder.name}")


@pytest.fixture
def backend(cloud: Cloud) -> Iterator[RunPodBackend]:
    backend = cloud.backend()
    yield backend
    backend.close()


def run(backend: RunPodBackend, job: Job) -> str:
    """Run a job, or attach to the pod that works on it; return how it has ended."""
    return backend.run(job.request(attach=True), Row("train", "", "")).state


def started(backend: RunPodBackend, job: Job) -> tuple[list[CloudTrainError], threading.Thread]:
    """Run a job in a thread; return the list that will have its error, and the thread."""
    errors = list[CloudTrainError]()

    def run_job() -> None:
        try:
            run(backend, job)
        except CloudTrainError as error:
            errors.append(error)

    thread = threading.Thread(target=run_job, daemon=True)
    thread.start()
    return errors, thread


@dataclasses.dataclass
class TakesUp:
    """A client that takes a job up right after another one has done one step."""

    cloud: Cloud
    job: Job
    owner: Any
    step: str
    at_call: int = 1
    budget: Budget | None = None

    def __enter__(self) -> Self:
        self._other, self._step = self.cloud.backend(), getattr(self.owner, self.step)
        if self.budget is not None:
            self._other._budget = self.budget

        def call(*args: Any) -> Any:  # a function, which the class of an owner binds
            result = self._step(*args)
            self.at_call -= 1
            if self.at_call == 0:
                self._other.submit(self.job.request())
                (self.cloud.bucket / GO_ON).touch()
            return result

        setattr(self.owner, self.step, call)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        setattr(self.owner, self.step, self._step)
        if kind is None:
            wait_until(lambda: not self.cloud.runpod.living)
        self._other.close()


@pytest.mark.parametrize("leaves", ["run", "submit"])
@pytest.mark.parametrize(
    ("first", "owner", "step", "at_call"),
    [
        pytest.param("", RemoteFolder, "result_after_end", 1, id="looks for a result"),
        pytest.param(FAILS_ONCE, RemoteFolder, "result_after_end", 1, id="finds a failure"),
        pytest.param("", RemoteFolder, "send", 1, id="sends files"),
        pytest.param("", launching, "choose", 1, id="chooses a machine"),
        pytest.param("", launching, "choose", 2, id="waits for capacity"),
    ],
)
def test_a_job_that_another_client_takes_up_meanwhile_is_left_to_it(
    cloud: Cloud, backend: RunPodBackend, leaves: str, first: str, owner: Any, step: str, at_call: int
) -> None:
    job = cloud.job(body=first + textwrap.indent(UNTIL_GO_ON, "    "), wait_for_capacity_s=60)
    backend.submit(job.request())
    if first:
        wait_until(lambda: cloud.runpod.pods and not cloud.runpod.living)
    else:
        wait_until(lambda: cloud.runpod.living)
        cloud.runpod.end_pods()
    if at_call > 1:
        cloud.runpod.faults.no_capacity(gpu=None, times=1)
    with TakesUp(cloud, job, owner, step, at_call):
        if leaves == "submit":
            backend.submit(job.request(attach=True))
        else:
            assert run(backend, job) == "succeeded"
    assert len(cloud.runpod.pods) == 2


def test_a_job_that_another_client_takes_up_while_a_dear_pod_is_replaced_is_left_to_it(cloud: Cloud, backend: RunPodBackend) -> None:
    job = cloud.job(body=UNTIL_GO_ON, gpu=("NVIDIA L4", "NVIDIA A40"), max_price_per_hour_usd=1.0)
    states = list[str]()
    with TakesUp(cloud, job, launching, "choose", 2):
        thread = threading.Thread(target=lambda: states.append(run(backend, job)), daemon=True)
        thread.start()
        wait_until(lambda: cloud.runpod.living and backend._watch._pods != {})
        (dear,) = cloud.runpod.pods.values()
        dear.usd_per_hour = 4.3
        thread.join(60)
        assert not thread.is_alive()
    assert states == ["succeeded"]
    assert len(cloud.runpod.pods) == 2


def test_the_budget_that_another_client_has_taken_for_the_same_job_is_enough_for_both(cloud: Cloud) -> None:
    backend = cloud.backend(max_cost_usd=0.25)
    # The worst case of one pod is $0.18, and the second client takes it from what both may spend.
    job = cloud.job(body=UNTIL_GO_ON, gpu=("NVIDIA L4",), timeout_s=600)
    with TakesUp(cloud, job, RemoteFolder, "send", budget=backend._budget):
        assert run(backend, job) == "succeeded"
    assert len(cloud.runpod.pods) == 1
    backend.close()


def test_a_job_that_another_client_takes_up_needs_no_machine(cloud: Cloud, backend: RunPodBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    job = cloud.job(body=UNTIL_GO_ON)
    with TakesUp(cloud, job, launching, "choose", 1):
        choose = launching.choose

        def nothing_left(*args: Any) -> Any:
            monkeypatch.setattr(launching, "choose", choose)
            choose(*args)
            raise no_capacity([], job.request().settings, "EU-RO-1", job.name)

        monkeypatch.setattr(launching, "choose", nothing_left)
        assert run(backend, job) == "succeeded"
    assert len(cloud.runpod.pods) == 1


def test_a_job_is_submitted_though_another_clients_claim_finds_no_machine(
    cloud: Cloud, backend: RunPodBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cloud.job()
    remote, choose, machine, reads = RemoteFolder(job.folder, cloud.volume), launching.choose, RemoteFolder.machine, itertools.count(1)

    def claimed_meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(launching, "choose", choose)
        remote.write_machine({"attempt": "other", "name": "other", "claimed_at": time.time()})
        return choose(*args)

    def given_up_later(folder: RemoteFolder) -> Any:
        answer = machine(folder)
        # Read as the job is to be claimed, then by the client that waits for the other one's pod.
        if answer.attempt == "other" and next(reads) == 3:
            remote.revoke()
        return answer

    monkeypatch.setattr(launching, "choose", claimed_meanwhile)
    monkeypatch.setattr(RemoteFolder, "machine", given_up_later)
    backend.submit(job.request(attach=True))
    assert next(reads) == 4
    assert len(cloud.runpod.pods) == 1


def test_a_run_that_ends_while_a_job_is_being_claimed_creates_no_pod(cloud: Cloud) -> None:
    backend, job = cloud.backend(claim_s=600.0), cloud.job()
    errors, thread = started(backend, job)
    wait_until((cloud.bucket / ".cloudtrain/jobs" / job.name / "machine.json").exists)
    backend.close()
    thread.join(60)
    assert [type(error) for error in errors] == [JobCancelledError]
    assert cloud.runpod.requests(CREATE) == []
    assert PodLedger(cloud.api.account).entries() == {}


class SlowClient:
    """A client that has claimed a job, and whose pod is created only when it is let."""

    def __init__(self, cloud: Cloud, job: Job, backend: RunPodBackend) -> None:
        self._create, self._cloud = cloud.runpod.create, cloud
        self._asked, self.may_create = threading.Event(), threading.Event()
        cloud.runpod.create = self._create_late  # type: ignore[method-assign]
        self.thread = threading.Thread(target=lambda: backend.submit(job.request(attach=True)), daemon=True)
        self.thread.start()
        assert self._asked.wait(60)

    def _create_late(self, body: Any) -> Any:
        self._cloud.runpod.create = self._create  # type: ignore[method-assign]
        self._asked.set()
        assert self.may_create.wait(60)
        return self._create(body)

    def end(self) -> None:
        """Let the pod be created."""
        self.may_create.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


def test_a_claim_that_was_taken_for_over_and_has_a_pod_by_now_is_respected(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    job, slow, quick = cloud.job(body=UNTIL_GO_ON), cloud.backend(), cloud.backend(claim_holds_s=0.0)
    client = SlowClient(cloud, job, slow)
    send = RemoteFolder.send

    def send_slowly(folder: RemoteFolder) -> None:
        send(folder)
        client.end()
        (cloud.bucket / GO_ON).touch()

    monkeypatch.setattr(RemoteFolder, "send", send_slowly)
    assert run(quick, job) == "succeeded"
    assert len(cloud.runpod.pods) == 1
    slow.close()
    quick.close()


def test_a_pod_that_comes_only_after_another_client_has_taken_the_job_up_is_ended(cloud: Cloud) -> None:
    job, slow, quick = cloud.job(body=UNTIL_GO_ON), cloud.backend(), cloud.backend(claim_holds_s=0.0)
    client = SlowClient(cloud, job, slow)
    quick.submit(job.request(attach=True))
    (used,) = cloud.runpod.living
    client.end()
    wait_until(lambda: cloud.runpod.living == [used])
    assert len(cloud.runpod.pods) == 2
    machine = json.loads((cloud.bucket / ".cloudtrain/jobs" / job.name / "machine.json").read_text())
    assert machine["pod"] == used.id
    (cloud.bucket / GO_ON).touch()
    wait_until(lambda: not cloud.runpod.living)
    slow.close()
    quick.close()


def test_a_pod_that_comes_after_another_client_has_given_the_job_back_is_used(cloud: Cloud) -> None:
    job, slow, quick = cloud.job(), cloud.backend(), cloud.backend(claim_holds_s=0.0)
    client = SlowClient(cloud, job, slow)
    cloud.runpod.faults.no_capacity(times=1)
    with pytest.raises(CapacityError):
        quick.submit(job.request(attach=True))
    client.end()
    wait_until(lambda: not cloud.runpod.living)
    assert len(cloud.runpod.pods) == 1
    assert run(quick, job) == "succeeded"
    assert len(cloud.runpod.pods) == 1
    slow.close()
    quick.close()


def test_a_run_that_ends_while_it_waits_for_another_clients_pod_is_over(
    cloud: Cloud, backend: RunPodBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="kedro.cloudtrain")
    # No machine is cheap enough for it, so that it can only attach.
    job = cloud.job(gpu=("NVIDIA L4",), max_price_per_hour_usd=0.01)
    RemoteFolder(job.folder, cloud.volume).write_machine({"attempt": "other", "name": "other", "claimed_at": time.time()})
    errors, thread = started(backend, job)
    wait_until(lambda: "is claimed by another client" in caplog.text)
    backend.close()
    thread.join(60)
    assert [type(error) for error in errors] == [JobCancelledError]


@pytest.mark.parametrize("step", ["machine", "revoke"])
def test_an_attempt_that_could_not_be_revoked_does_not_stand_in_the_way_of_its_clients_next_one(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    remote = RemoteFolder(cloud.job().folder, cloud.volume)
    remote.write_machine({"attempt": "dear", "name": "dear", "pod": "pod1"})
    claim = Claim(remote, is_contested=True)
    assert claim.is_taken()
    with pytest.raises(ClaimedError, match="has been claimed by another client"):
        claim.make({"attempt": "next"}, threading.Event(), 0.0)
    with monkeypatch.context() as patch, contextlib.suppress(BackendError):
        patch.setattr(RemoteFolder, step, lambda _: (_ for _ in ()).throw(BackendError("no answer")))
        claim.release("dear")
    assert not claim.is_taken()
