"""Jobs on pods that really run, with each fault that RunPod is known to have: one result, and no pod left."""

from __future__ import annotations

import json
import math
import threading
import time

import pytest
from support.cloud import SECRETS, Cloud
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
from kedro_cloudtrain.backends.runpod.budget import Budget
from kedro_cloudtrain.backends.runpod.claim import Claim
from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
from kedro_cloudtrain.backends.runpod.spending import Spending
from kedro_cloudtrain.backends.runpod.watching import _FINAL_LISTS
from kedro_cloudtrain.errors import (
    ApiError,
    AuthError,
    BalanceError,
    BudgetExceededError,
    CapacityError,
    CloudTrainError,
    ConfigError,
    JobCancelledError,
    JobFailedError,
    JobLostError,
    JobTimeoutError,
)
from kedro_cloudtrain.rehearsal.faults import PodFault
from kedro_cloudtrain.rehearsal.pods import RunningPod
from kedro_cloudtrain.rehearsal.storage import StorageFault
from kedro_cloudtrain.running.display import Row

CREATE = "POST /v2/pods"


@pytest.fixture
def backend(cloud: Cloud):
    """A backend that takes a pod for lost, or for unable to terminate itself, only after more time than a busy computer needs."""
    backend = cloud.backend(heartbeat_lost_s=30.0, release_s=30.0)
    _shorten_waits(backend)
    yield backend
    backend.close()
    wait_until(lambda: not cloud.runpod.living)


@pytest.fixture
def impatient(cloud: Cloud):
    """A backend that gives up a silent pod soon, and terminates one whose job is done soon."""
    backend = cloud.backend(heartbeat_lost_s=3.0, release_s=1.0)
    _shorten_waits(backend)
    yield backend
    backend.close()
    wait_until(lambda: not cloud.runpod.living)


def _shorten_waits(backend: RunPodBackend) -> None:
    # The waits between two tries are tested with the client.
    backend._api._pause = lambda seconds: time.sleep(min(seconds, 0.02))


def on_first_pod(then: str = "time.sleep(600)") -> str:
    """Return the body of a script that, on its first pod only, writes the file `train-at-work` and then does something."""
    return f"""
        at_work = Path(os.environ["CLOUDTRAIN_VOLUME"]) / "train-at-work"
        if not at_work.exists():
            at_work.write_text("yes")
            {then}
    """


# The body of a script that works until the test writes this file.
GO_ON = "go-on"
UNTIL_GO_ON = f"""while not Path(os.environ["CLOUDTRAIN_VOLUME"], "{GO_ON}").exists(): time.sleep(0.05)"""


def test_a_job_runs_on_a_pod_which_ends_itself(cloud: Cloud, backend) -> None:
    metrics = cloud.run(backend, gpu=("NVIDIA L4",))
    (pod,) = cloud.runpod.pods.values()
    assert metrics == {"rmse": 1.5, "by": pod.id}
    assert pod.starts == 1
    wait_until(lambda: pod.gone)
    ended = cloud.runpod.requests("POST /v2/pods/*/action")
    assert [call.body for call in ended] == [{"action": "terminate"}]
    assert ended[0].headers["Authorization"] == f"Bearer {pod.key}"
    (receipt,) = cloud.receipts
    (use,) = receipt.machines
    assert (use.pod, use.machine, use.usd_per_hour, use.ended) == (pod.id, "NVIDIA L4", 0.43, "done")
    assert 0 < use.cost_usd < 0.01


def test_a_pods_request_is_one_short_line_and_a_mount(cloud: Cloud, backend) -> None:
    cloud.run(backend, gpu=("NVIDIA L4",), min_cuda_version="12.4", image="my/image:1", disk_gb=33)
    (call,) = cloud.runpod.requests(CREATE)
    assert call.body["args"].startswith("python3 /workspace/.cloudtrain/jobs/train-")
    assert call.body["args"].endswith("/bootstrap.py")
    assert len(call.body["args"]) < 200
    assert call.body["mounts"] == {"network": [{"volumeId": cloud.volume_id, "path": "/workspace"}]}
    assert call.body["gpu"]["minCudaVersion"] == "12.4"
    assert (call.body["image"], call.body["disk"]) == ("my/image:1", 33)
    assert call.body["name"].startswith("cloudtrain-shop--train-")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_price_per_hour_usd": 1.0}, "over max_price_per_hour_usd 1"),
        ({"max_cost_usd": 0.2}, "which max_cost_usd does not pay for"),
    ],
)
def test_a_pod_that_is_billed_over_a_limit_is_ended_and_the_next_machine_taken(
    cloud: Cloud, backend, settings: dict, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.runpod.faults.befall("dear")
    cloud.run(backend, gpu=("NVIDIA L4", "NVIDIA A40"), **settings)
    dear, used = cloud.runpod.pods.values()
    assert (dear.usd_per_hour, used.usd_per_hour) == (4.3, 0.4)
    wait_until(lambda: dear.gone)
    assert f"NVIDIA L4 is billed at $4.30/h instead of $0.43/h, {reason}: its pod is ended" in caplog.text
    cloud.runpod.faults.befall("dear", times=2)
    with pytest.raises(CapacityError, match=r"NVIDIA L4 \(billed at \$4\.30/h instead of"):
        cloud.run(backend, "again", gpu=("NVIDIA L4", "NVIDIA A40"), **settings)
    wait_until(lambda: not cloud.runpod.living)


def test_a_pod_that_is_billed_at_more_than_its_offer_lives_shorter(cloud: Cloud, backend, caplog: pytest.LogCaptureFixture) -> None:
    cloud.runpod.faults.befall("dear")
    cloud.run(backend, gpu=("NVIDIA L4",), max_cost_usd=1.2, timeout_s=3600)
    (folder,) = cloud.volume.folder(".cloudtrain/jobs").iterdir()
    machine = json.loads((folder / "machine.json").read_text())
    # 1.2 dollars at 4.30 an hour, less the time that it may take to start, in whole seconds.
    assert machine["lifetime_s"] == math.floor(1.2 / 4.3 * 3600 - 900)
    assert machine["usd_per_hour"] == 4.3
    assert "is billed at $4.30/h, and was offered at $0.43/h: it is ended after 104 s at most" in caplog.text


def test_a_pod_without_a_gpu_has_a_small_image(cloud: Cloud, backend) -> None:
    for number, settings in enumerate(({"gpu": "none"}, {"gpu": ("NVIDIA L4",)}, {"gpu": "none", "image": "my/image:1"})):
        cloud.run(backend, f"train{number}", **settings)
    images = [call.body["image"].partition(":")[0] for call in cloud.runpod.requests(CREATE)]
    assert images == ["runpod/base", "runpod/pytorch", "my/image"]


@pytest.mark.parametrize(
    ("newer", "host_ram_gb", "asked"),
    [
        pytest.param(True, 64, [(20, 3)], id="there is such a host"),
        pytest.param(False, 64, [(20, 3), (None, None)], id="an API that does not know the fields"),
    ],
)
def test_the_least_memory_and_vcpus_are_asked_for_and_then_done_without(
    cloud: Cloud, backend, newer: bool, host_ram_gb: int, asked: list[tuple[int | None, int | None]]
) -> None:
    cloud.runpod.newer, cloud.runpod.host_ram_gb = newer, host_ram_gb
    cloud.run(backend, gpu=("NVIDIA L4",), min_ram_gb=20, min_vcpu=3)
    bodies = [call.body["gpu"] for call in cloud.runpod.requests(CREATE)]
    assert [(gpu.get("minRamPerGpu"), gpu.get("minVcpuCountPerGpu")) for gpu in bodies] == asked
    assert len(cloud.runpod.pods) == 1


def test_no_smaller_host_is_paid_for_than_a_user_asks_for(cloud: Cloud, backend) -> None:
    cloud.runpod.host_ram_gb = 16
    with pytest.raises(CapacityError, match="No pod could be placed"):
        cloud.run(backend, gpu=("NVIDIA L4",), min_ram_gb=20)
    assert not cloud.runpod.pods


def test_a_second_run_of_the_same_job_takes_nothing_of_the_first(cloud: Cloud, backend) -> None:
    first = cloud.run(backend)
    assert cloud.run(backend)["by"] != first["by"]
    body = on_first_pod("raise ValueError('on the first machine')")
    with pytest.raises(JobFailedError, match="on the first machine"):
        cloud.run(backend, body=body)
    assert cloud.run(backend, body=body)["rmse"] == 1.5


def test_a_script_that_raises_fails_with_its_error_and_its_log(cloud: Cloud, backend) -> None:
    with pytest.raises(JobFailedError) as raised:
        cloud.run(backend, body="print('half way')\nraise ValueError('no such thing')")
    message = str(raised.value)
    for part in ("half way", "ValueError: no such thing", "kedro cloudtrain logs train-"):
        assert part in message
    assert len(cloud.runpod.pods) == 1


def test_a_script_that_is_killed_is_lost_with_the_signal(cloud: Cloud, backend) -> None:
    with pytest.raises(JobLostError, match=r"killed by SIGKILL \(out of memory, often\)"):
        cloud.run(backend, body="os.kill(os.getpid(), 9)")
    assert len(cloud.runpod.pods) == 1


def test_a_job_is_ended_at_its_deadline_with_all_its_processes(cloud: Cloud, backend) -> None:
    with pytest.raises(JobTimeoutError, match="timeout_s"):
        cloud.run(backend, body="import subprocess\nsubprocess.Popen(['sleep', '600'])\ntime.sleep(600)", timeout_s=1)
    (receipt,) = cloud.receipts
    assert receipt.machines[0].ended == "jobtimeout"


@pytest.mark.parametrize(
    ("limit", "left", "how", "advice"),
    [
        (None, "ended at its deadline of 60 s", "was ended at its deadline of 60 s.", "For more time, set timeout_s"),
        (0.2, "ended at its deadline of 774 s", "was ended at its deadline of 774 s.", "It may run for timeout_s (3600 s), or"),
        (0.2, "its pod's deadline of {lifetime_s:g} s has passed", "was ended: its pod's deadline of 774 s", "whichever is shorter"),
    ],
)
def test_a_timeout_names_the_deadline_that_has_passed_and_each_setting_that_sets_it(
    cloud: Cloud, backend, limit: float | None, left: str, how: str, advice: str
) -> None:
    # What the pod leaves at its job's deadline, and at its own.
    body = f"""
        machine = json.loads(Path("machine.json").read_text())
        late = {{"type": "Timeout", "message": "{left}".format(**machine)}}
        Path("result.json").write_text(json.dumps({{"state": "timed out", "attempt": os.environ["CLOUDTRAIN_ATTEMPT"], "error": late}}))
        sys.exit(1)
    """
    with pytest.raises(JobTimeoutError) as raised:
        cloud.run(backend, body=body, gpu=("NVIDIA L4",), max_cost_usd=limit, timeout_s=3600 if limit else 60)
    assert how in raised.value.message
    assert advice in raised.value.message


@pytest.mark.parametrize("fault", ["vanishes while it works", "vanishes at once", "never starts", "loops", "errors"])
def test_a_pod_that_is_lost_is_replaced(cloud: Cloud, backend, fault: str) -> None:
    kinds = {
        "vanishes while it works": {"kind": "vanishes", "when_file": "train-at-work"},
        "vanishes at once": {"kind": "vanishes"},
    }
    cloud.runpod.faults.befall(**kinds.get(fault, {"kind": fault}))
    body = on_first_pod() if fault == "vanishes while it works" else ""
    metrics = cloud.run(backend, body=body, startup_timeout_s=4 if fault == "never starts" else 900)
    (receipt,) = cloud.receipts
    first, second = cloud.runpod.pods.values()
    assert metrics["by"] == second.id
    assert first.gone
    reasons = {"vanishes while it works": "vanished", "vanishes at once": "vanished", "never starts": "never started", "loops": "loops"}
    assert reasons.get(fault, "is in the state ERROR") in receipt.machines[0].ended
    assert [use.pod for use in receipt.machines] == [first.id, second.id]
    assert receipt.machines[1].ended == "done"


def test_a_pod_that_cannot_terminate_itself_is_terminated_and_its_result_is_good(cloud: Cloud, impatient) -> None:
    cloud.runpod.faults.befall("cannot end")
    assert cloud.run(impatient)["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 1
    wait_until(lambda: not cloud.runpod.living)


def test_a_pod_whose_heartbeat_stops_is_replaced(cloud: Cloud, impatient) -> None:
    metrics: dict = {}
    thread = threading.Thread(target=lambda: metrics.update(cloud.run(impatient, body=on_first_pod())))
    thread.start()
    wait_until((cloud.bucket / "train-at-work").exists)
    next(iter(cloud.runpod.pods.values())).freeze()
    thread.join()
    first, second = cloud.runpod.pods.values()
    assert metrics["by"] == second.id
    assert first.gone
    assert "lost its heartbeat" in cloud.receipts[0].machines[0].ended


def test_all_pods_lost_is_an_error_that_names_each(cloud: Cloud, backend) -> None:
    cloud.runpod.faults.befall("vanishes", times=2)
    with pytest.raises(JobLostError, match="was lost on 2 pods") as raised:
        cloud.run(backend, retries=1)
    for pod in cloud.runpod.pods:
        assert pod in str(raised.value)


def test_a_host_without_its_gpu_is_given_up_before_the_fit(cloud: Cloud, backend) -> None:
    as_it_is = RunningPod._environment

    def environment(pod: RunningPod) -> dict[str, str]:
        old_driver = {"STAND_IN_CUDA": "12.1"} if len(cloud.runpod.pods) == 1 else {}
        return {**as_it_is(pod), **old_driver}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningPod, "_environment", environment)
        cloud.run(backend, gpu=("NVIDIA L4",))
    assert "CUDA 12.1, and the job needs 12.8" in cloud.receipts[0].machines[0].ended


def test_the_next_gpu_is_tried_where_there_is_no_instance_or_no_leave(cloud: Cloud, backend) -> None:
    cloud.runpod.faults.no_capacity("NVIDIA L4")
    cloud.runpod.faults.answer(CREATE, 403, "not for this account", times=1)
    cloud.run(backend, gpu=("NVIDIA L4", "NVIDIA A40", "NVIDIA RTX A5000"))
    (pod,) = cloud.runpod.pods.values()
    assert pod.request.gpu is not None
    requested = [call.body["gpu"]["id"] for call in cloud.runpod.requests(CREATE)]
    assert requested == ["NVIDIA L4", "NVIDIA A40", "NVIDIA RTX A5000"]
    assert pod.request.gpu.id == "NVIDIA RTX A5000"


def test_no_instance_of_any_is_an_error_with_what_was_tried_and_where(cloud: Cloud, backend) -> None:
    cloud.runpod.faults.no_capacity(times=9)
    with pytest.raises(CapacityError) as raised:
        cloud.run(backend, gpu=("NVIDIA L4", "NVIDIA A40"))
    message = str(raised.value)
    for part in (
        "NVIDIA L4 (no instances)",
        "NVIDIA A40 (no instances)",
        "EU-RO-1",
        "data centre limits the choice",
        "wait_for_capacity_s",
    ):
        assert part in message
    assert cloud.runpod.pods == {}


def test_capacity_is_waited_for_where_it_is_wanted(cloud: Cloud, backend) -> None:
    cloud.runpod.faults.no_capacity(times=3)
    assert cloud.run(backend, gpu=("NVIDIA L4",), wait_for_capacity_s=20)["rmse"] == 1.5


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"gpu": ("NVIDIA L44",)}, ConfigError, "Did you mean `NVIDIA L4`"),
        ({"gpu": ("NVIDIA H100 80GB HBM3",)}, CapacityError, "not sold in EU-RO-1"),
        ({"gpu": ("NVIDIA L4",), "max_price_per_hour_usd": 0.1}, CapacityError, "over max_price_per_hour_usd 0.1"),
        ({"gpu": ("NVIDIA L4",), "max_cost_usd": 0.01}, BudgetExceededError, "of its max_cost_usd is left"),
    ],
)
def test_what_cannot_be_placed_asks_for_no_pod(cloud: Cloud, backend, settings: dict, kind: type[CloudTrainError], message: str) -> None:
    with pytest.raises(kind, match=message):
        cloud.run(backend, **settings)
    assert cloud.runpod.requests(CREATE) == []


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (402, BalanceError), (422, ApiError), (413, ApiError)])
def test_a_refusal_that_every_machine_would_meet_stops_the_job(cloud: Cloud, backend, status: int, kind: type[CloudTrainError]) -> None:
    cloud.runpod.faults.answer(CREATE, status, "the vendor's own words")
    with pytest.raises(kind, match="the vendor's own words"):
        cloud.run(backend, gpu=("NVIDIA L4", "NVIDIA A40"))
    assert len(cloud.runpod.requests(CREATE)) == 1


def test_a_create_whose_answer_is_lost_gives_one_pod_and_one_result(cloud: Cloud, backend) -> None:
    cloud.runpod.faults.lose_answer(CREATE)
    assert cloud.run(backend)["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 1


def test_a_create_that_is_carried_out_late_is_terminated(cloud: Cloud, backend) -> None:
    # A second pod of the same name appears beside the one that the client knows.
    running = threading.Thread(target=lambda: cloud.run(backend, body=on_first_pod(UNTIL_GO_ON)))
    running.start()
    wait_until((cloud.bucket / "train-at-work").exists)
    second = cloud.runpod.create(cloud.runpod.requests(CREATE)[0].body)
    wait_until(lambda: second.gone)
    (cloud.bucket / GO_ON).touch()
    running.join()
    assert len(cloud.receipts[0].machines) == 1


@pytest.mark.no_cover
@pytest.mark.parametrize("status", [500, 502, 503, 524, None])
@pytest.mark.parametrize(("method", "part"), [("PUT", "train.py"), ("GET", "result.json"), ("GET", "metrics.json"), ("GET", "heartbeat")])
def test_a_volume_that_stumbles_loses_nothing(cloud: Cloud, backend, method: str, part: str, status: int | None) -> None:
    cloud.s3.faults.append(StorageFault(method, part, status, times=2))
    assert cloud.run(backend)["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 1


def test_a_full_volume_is_an_error_before_a_pod_is_paid_for(cloud: Cloud, backend) -> None:
    cloud.s3.faults.append(StorageFault("PUT", "worker.zip", 507))
    with pytest.raises(ApiError, match=r"is full: .* does not fit"):
        cloud.run(backend)
    assert cloud.runpod.pods == {}


def test_a_list_that_fails_does_not_stop_a_job(cloud: Cloud, backend) -> None:
    cloud.runpod.faults.answer("GET /v2/pods", 503, times=10)
    assert cloud.run(backend, body="time.sleep(1)")["rmse"] == 1.5


def test_the_worst_case_is_reserved_before_a_pod_is_created(cloud: Cloud) -> None:
    backend = cloud.backend(max_cost_usd=0.15, heartbeat_lost_s=30.0)
    # 0.43 $/h for 900 s of start and 120 s of life is 0.12 $: one pod fits, two do not.
    first = threading.Thread(target=lambda: cloud.run(backend, "one", UNTIL_GO_ON, gpu=("NVIDIA L4",)))
    first.start()
    wait_until(lambda: cloud.runpod.pods)
    with pytest.raises(BudgetExceededError, match=r"past max_cost_usd \(\$0\.15"):
        cloud.run(backend, "two", gpu=("NVIDIA L4",))
    (cloud.bucket / GO_ON).touch()
    first.join()
    assert cloud.run(backend, "two", gpu=("NVIDIA L4",))["rmse"] == 1.5
    backend.close()


def test_a_pods_own_deadline_follows_from_the_budget(cloud: Cloud, backend) -> None:
    cloud.run(backend, gpu=("NVIDIA L4",), max_cost_usd=0.2, timeout_s=7200)
    (folder,) = (cloud.bucket / ".cloudtrain/jobs").iterdir()
    machine = json.loads((folder / "machine.json").read_text())
    assert machine["lifetime_s"] == math.floor(0.2 / 0.43 * 3600 - 900)
    assert machine["timeout_s"] == machine["lifetime_s"]


def test_closing_terminates_every_pod_at_once(cloud: Cloud) -> None:
    backend = cloud.backend(jobs=3, heartbeat_lost_s=30.0)
    errors: list[CloudTrainError] = []

    def run(name: str) -> None:
        try:
            cloud.run(backend, name, "time.sleep(600)")
        except CloudTrainError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(cloud.runpod.pods) == 3)
    backend.close()
    for thread in threads:
        thread.join()
    assert cloud.runpod.living == []
    assert {type(error) for error in errors} == {JobCancelledError}
    with pytest.raises(JobCancelledError, match="was not started"):
        cloud.run(backend, "four")


def test_a_result_that_the_volume_shows_late_is_not_made_a_second_time(cloud: Cloud, backend) -> None:
    job = cloud.job()
    backend.submit(job.request())
    wait_until(lambda: cloud.runpod.pods and not cloud.runpod.living)
    late = StorageFault("GET", "result.json", 404, times=2)
    cloud.s3.faults.append(late)
    assert backend.run(job.request(attach=True), Row("train", "", "")).state == "succeeded"
    assert late.times == 0
    assert len(cloud.runpod.pods) == 1


def test_a_result_that_the_volume_shows_after_its_pod_has_stopped_is_the_jobs(
    cloud: Cloud, backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_cloudtrain.backends.runpod.remote_folder._RESULT_APPEARS_S", 60.0)
    done = """
        Path("result.json").write_text(json.dumps({"state": "succeeded", "attempt": os.environ["CLOUDTRAIN_ATTEMPT"]}))
        Path("done").touch()
        time.sleep(600)
    """
    job = cloud.job(body=done)
    late = StorageFault("GET", "result.json", 404, times=100_000)
    cloud.s3.faults.append(late)
    states = list[str]()
    thread = threading.Thread(target=lambda: states.append(backend.run(job.request(), Row("train", "", "")).state))
    thread.start()
    wait_until(lambda: any(cloud.bucket.rglob("done")))
    (pod,) = cloud.runpod.pods.values()
    pod.fault = PodFault("errors")
    wait_until(lambda: backend._watch.sighting(pod.id).has_ended)
    with cloud.s3._lock:
        late.times = 2
    thread.join(60)
    assert states == ["succeeded"]
    assert late.times == 0
    assert len(cloud.runpod.pods) == 1


def test_a_machine_is_told_to_end_though_this_computer_cannot_keep_a_copy(cloud: Cloud, backend) -> None:
    job = cloud.job()
    job.folder.closing.mkdir()
    backend.deliver(job.request(), {job.folder.closing: b"{}"})
    assert cloud.volume.read_bytes(RemoteFolder(job.folder, cloud.volume).key(job.folder.closing.name)) == b"{}"


def test_a_pod_whose_job_was_revoked_terminates_itself(cloud: Cloud, backend) -> None:
    # The volume tells the pod, in case the API cannot be reached to terminate it.
    job = cloud.job(body="time.sleep(600)", timeout_s=600)
    remote = RemoteFolder(job.folder, cloud.volume)
    remote.send()
    request = job.request()
    placement = backend._launcher.launch(request, Claim(remote, is_contested=False), Spending(request, Budget()))
    wait_until(lambda: remote.heartbeat(placement.attempt) is not None)
    remote.revoke()
    wait_until(lambda: not cloud.runpod.living)


def test_one_list_serves_all_pods(cloud: Cloud) -> None:
    every_s = 0.3
    backend = cloud.backend(jobs=4, list_every_s=every_s, heartbeat_lost_s=30.0)
    threads = [threading.Thread(target=cloud.run, args=(backend, f"job{number}", UNTIL_GO_ON)) for number in range(4)]
    for thread in threads:
        thread.start()

    def lists() -> int:
        return len(cloud.runpod.requests("GET /v2/pods"))

    wait_until(lambda: len(cloud.runpod.living) == 4)
    before, began = lists(), time.monotonic()
    wait_until(lambda: lists() >= before + 8)
    # Each list is requested an interval after the one before it, however slow the computer; one may have been under way at the beginning.
    listed = lists() - before
    assert listed <= 2 + (time.monotonic() - began) / every_s
    (cloud.bucket / GO_ON).touch()
    for thread in threads:
        thread.join()
    backend.close()
    assert lists() - before <= 2 + (time.monotonic() - began) / every_s + _FINAL_LISTS


def test_progress_log_and_use_are_shown_while_it_runs(cloud: Cloud, backend) -> None:
    body = """
        for step in range(1, 4):
            with open("progress.jsonl", "a") as stream:
                stream.write(json.dumps({"step": step, "of": 3, "metrics": {"validation_rmse": 1.0 / step}, "seconds": step}) + "\\n")
            print("round", step, flush=True)
            while not Path(os.environ["CLOUDTRAIN_VOLUME"], f"seen-{step}").exists():
                time.sleep(0.05)
    """
    thread = threading.Thread(target=cloud.run, args=(backend, "train", body), kwargs={"gpu": ("NVIDIA L4",)})
    thread.start()
    for step in (1, 2, 3):
        wait_until(lambda step=step: cloud.rows and cloud.rows[-1].progress is not None and cloud.rows[-1].progress.step == step)
        if step == 3:
            wait_until(lambda: cloud.rows[-1].gpu_percent == 87.0)
            assert cloud.rows[-1].machine == "NVIDIA L4"
        (cloud.bucket / f"seen-{step}").touch()
    thread.join()
    (folder,) = cloud.volume.folder(".cloudtrain/jobs").iterdir()
    assert "round 3" in (folder / "log.txt").read_text()
    points = cloud.receipts[-1].gpu_use
    assert {percent for _, percent in points} == {87.0}
    assert all(0.0 <= seconds <= cloud.receipts[-1].total_s for seconds, _ in points)


def test_nothing_secret_is_written_or_sent_but_where_it_belongs(cloud: Cloud, backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="kedro")
    with pytest.raises(JobFailedError) as raised:
        cloud.run(backend, body="print(dict(os.environ))\nraise ValueError(str(dict(os.environ)))")
    pod_key = next(iter(cloud.runpod.pods.values())).key
    texts = {"log": caplog.text, "error": str(raised.value), "receipts": repr(cloud.receipts), "backend": repr(vars(backend))}
    texts |= {f"request {call.method} {call.path}": json.dumps(call.body) for call in cloud.runpod.calls}
    for root in (cloud.bucket, cloud.volume.folder(".cloudtrain")):
        texts |= {str(file): file.read_bytes().decode(errors="replace") for file in root.rglob("*") if file.is_file()}
    for place, text in texts.items():
        for secret in (*SECRETS, pod_key):
            assert secret not in text, place


def test_a_pod_that_cannot_be_ended_at_first_is_asked_again_and_stays_reserved(cloud: Cloud) -> None:
    # As an outage of RunPod's API: its pod never starts, and a DELETE is refused more often than it is tried.
    cloud.runpod.faults.befall("never starts")
    cloud.runpod.faults.answer("DELETE /v2/pods/*", 503, times=5)
    backend = cloud.backend(max_cost_usd=100.0)
    metrics = cloud.run(backend, gpu=("NVIDIA L4",), startup_timeout_s=1)
    first, second = cloud.runpod.pods.values()
    assert metrics["by"] == second.id
    wait_until(lambda: first.gone)
    backend.close()
    assert backend.left() == []
    assert cloud.runpod.living == []


def test_a_pod_that_is_still_there_at_the_end_is_named_with_its_price(cloud: Cloud) -> None:
    cloud.runpod.faults.befall("never starts")
    cloud.runpod.faults.answer("DELETE /v2/pods/*", 401, times=999)
    backend = cloud.backend()
    cloud.run(backend, gpu=("NVIDIA L4",), startup_timeout_s=1)
    backend.close()
    (pod,) = cloud.runpod.living
    (sentence,) = backend.left()
    for part in (f"Pod {pod.id} is still there, at $0.43 an hour", "kedro cloudtrain reap"):
        assert part in sentence
    cloud.runpod.faults.clear()
    pod.end()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"state": 3}', b"\xff\xfe", b'{"state": "succeeded"'], ids=repr)
def test_a_result_that_cannot_be_read_is_made_anew_by_one_pod(cloud: Cloud, backend, content: bytes) -> None:
    job = cloud.job()
    RemoteFolder(job.folder, cloud.volume).write_machine({"attempt": "0" * 8, "name": "cloudtrain-shop--train-00000000", "pod": "gone"})
    cloud.volume.write_bytes(f".cloudtrain/jobs/{job.folder.name}/result.json", content)
    with pytest.raises(JobLostError, match=r"result\.json on .* the same run does the job again\.$"):
        RemoteFolder(job.folder, cloud.volume).result()
    assert cloud.run(backend)["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 1


@pytest.mark.parametrize("days", [-3, 3])
def test_a_pod_that_is_taken_over_is_billed_by_runpods_clock(cloud: Cloud, backend, days: int) -> None:
    job = cloud.job(body=UNTIL_GO_ON, gpu=("NVIDIA L4",))
    first = cloud.backend()
    first.submit(job.request(resume=True))
    (pod,) = cloud.runpod.pods.values()
    remote = RemoteFolder(job.folder, cloud.volume)
    wait_until(lambda: remote.heartbeat(pod.request.env["CLOUDTRAIN_ATTEMPT"]) is not None)
    machine = json.loads(cloud.volume.read_bytes(remote.key("machine.json")) or b"")
    other = time.time() + days * 86_400
    remote.write_machine({**machine, "created_at": other, "claimed_at": other})

    def go_on_once_it_is_taken_over() -> None:
        wait_until(lambda: pod.id in backend._watch._pods)
        (cloud.bucket / GO_ON).write_text("yes")

    threading.Thread(target=go_on_once_it_is_taken_over).start()
    assert job.run(backend, Row("train", "mine", "penguins"), cloud.receipts, reuse=True)["metrics"]["by"] == pod.id
    (use,) = cloud.receipts[-1].machines
    assert 0 < use.cost_usd < 0.02
    first.close()


def test_an_output_that_appears_late_is_waited_for_and_one_that_never_does_is_made_anew(
    cloud: Cloud, backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.s3.faults.append(StorageFault("HEAD", "outputs/metrics.json", 404, times=2))
    assert cloud.run(backend)["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 1
    monkeypatch.setattr("kedro_cloudtrain.backends.runpod.following._OUTPUTS_APPEAR_S", 0.3)
    cloud.s3.faults.append(StorageFault("HEAD", "outputs/metrics.json", 404, times=2))
    assert cloud.run(backend, "again")["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 3
    assert "left an output that does not appear: .cloudtrain/jobs/again-" in caplog.text
    assert "upload FILE" not in caplog.text
    cloud.s3.faults.append(StorageFault("HEAD", "outputs/metrics.json", 404, times=99))
    with pytest.raises(
        JobLostError, match=r"was lost on 1 pod: .* left an output that does not appear: .*outputs/metrics\.json is not on the"
    ):
        cloud.run(backend, "never", retries=0)
    cloud.s3.faults.clear()
