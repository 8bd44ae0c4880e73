"""Several machines as a cluster of RunPod's, whose members share a job."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from support.small_models import flights, train
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.bucket_folder import remote_folder
from kedro_cloudtrain.backends.runpod.clusters import ClusterPod
from kedro_cloudtrain.backends.runpod.contract import PodRequest
from kedro_cloudtrain.backends.runpod.fleet import Fleet
from kedro_cloudtrain.backends.runpod.kept import living_pod
from kedro_cloudtrain.backends.runpod.pod_names import pod_name, pod_prefix
from kedro_cloudtrain.backends.runpod.sighting import Sighting
from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import ApiError, BudgetExceededError, CapacityError, CloudTrainError, JobCancelledError
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.machine import Machine
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.prediction import PredictionOrder
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.sources import VolumeSource, make_source

if TYPE_CHECKING:
    from pathlib import Path

    from support.cloud import Cloud


def order_of(cloud: Cloud, library: str = "xgboost", rounds: int = 5, **settings: Any) -> TrainingOrder:
    """A training that two machines share."""
    return TrainingOrder(
        node="train",
        parameters=TrainingParameters(
            model_type=f"{library}_regression", target_column="body_mass_g", hyperparameters={"n_estimators": rounds}
        ),
        data=make_source(dataset_key="datasets/penguins.csv"),
        outputs=("metrics", "history"),
        volume=cloud.volume,
        settings=NodeSettings.model_validate(
            {"gpu": "NVIDIA L4", "machines": 2, "install": False, "timeout_s": 120, "startup_timeout_s": 60, **settings}
        ),
        to_pod=True,
    )


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_the_machines_of_a_cluster_share_a_fit(cloud: Cloud, library: str) -> None:
    job = prepare(order_of(cloud, library), TrainingScriptGenerator())
    with job.folder.held():
        job.write()
    backend = cloud.backend()
    outputs = job.run(backend, Row("train", library, "datasets/penguins.csv"), cloud.receipts)
    backend.close()
    folder = cloud.bucket / ".cloudtrain/jobs" / job.folder.name
    machine = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    assert (machine["machines"], machine["usd_per_hour"]) == (2, 2 * 0.43)
    assert len(outputs["history"]) == 5
    assert outputs["metrics"]["rmse"] == pytest.approx(outputs["history"]["validation_rmse"].iloc[-1])
    assert not cloud.runpod.living


def test_a_machine_that_is_lost_ends_the_attempt_and_a_new_cluster_goes_on_from_the_checkpoint(cloud: Cloud) -> None:
    job = prepare(order_of(cloud, rounds=60, checkpoint_every_rounds=5), TrainingScriptGenerator())
    with job.folder.held():
        job.write()
    folder = f".cloudtrain/jobs/{job.folder.name}"
    cloud.runpod.faults.befall("vanishes", when_file=f"{folder}/checkpoint/latest.json")
    backend = cloud.backend(heartbeat_lost_s=30.0)
    outputs = job.run(backend, Row("train", "xgboost", "datasets/penguins.csv"), cloud.receipts)
    backend.close()
    assert len(outputs["history"]) == 60
    lost, done = cloud.receipts[0].machines
    assert ("machine" in lost.ended, done.ended) == (True, "done"), lost.ended
    assert lost.pod != done.pod
    assert "resumes from round " in (cloud.bucket / folder / "log.txt").read_text(encoding="utf-8")
    assert len(cloud.runpod.clusters) == 2
    assert not cloud.runpod.living


CLUSTER = {"gpu": "NVIDIA L4", "machines": 3}


def test_a_cluster_is_one_pod_to_its_client(cloud: Cloud) -> None:
    body = """
        Path("seen.json").write_text(json.dumps(dict(os.environ)))
        while len(list(Path().glob("cluster-*/log-*"))) < 2:
            time.sleep(0.05)
    """
    backend = cloud.backend(max_cost_usd=5.0)
    metrics = cloud.run(backend, body=body, **CLUSTER)
    (cluster,) = cloud.runpod.clusters.values()
    (used,) = cloud.receipts[0].machines
    assert (used.pod, used.machine, used.usd_per_hour) == (f"cluster/{cluster.id}", "3 machines with NVIDIA L4", pytest.approx(3 * 0.43))
    assert metrics["by"] == cluster.members[0].id
    wait_until(lambda: not cloud.runpod.living)
    backend.close()
    variables = json.loads(next(cloud.bucket.glob(".cloudtrain/jobs/*/seen.json")).read_text())
    assert (variables["CLOUDTRAIN_MACHINES"], variables["CLOUDTRAIN_ADDRESS"], variables["NODE_RANK"]) == (
        "3",
        variables["PRIMARY_ADDR"],
        "0",
    )
    job = JobFolder(next((cloud.bucket / ".cloudtrain/jobs").iterdir()))
    assert {file.name for file in job.path.glob("cluster-*/*")} >= {"log-1", "log-2"}
    remote_folder(job, cloud.volume).delete_job()
    left = [file for file in job.path.rglob("*") if file.is_file() and "seen.json" not in file.name]
    assert left == []
    # RunPod is asked to end it, not its members.
    assert not cloud.runpod.requests("DELETE /v2/pods/*")


@pytest.mark.parametrize(
    ("kind", "reason"), [("vanishes", "has lost one of its machines"), ("errors", "ERROR"), ("dear", "over max_price_per_hour_usd")]
)
def test_a_cluster_with_a_fault_is_ended_as_a_whole_and_another_is_taken(cloud: Cloud, kind: str, reason: str) -> None:
    cloud.runpod.faults.befall(kind, when_file="go-away" if kind == "vanishes" else None)
    # The first cluster's work lasts until the second is there.
    body = """
        while not os.path.exists("/workspace/second"):
            time.sleep(0.05)
    """
    backend = cloud.backend(heartbeat_lost_s=30.0)
    if kind == "dear":
        with pytest.raises(CapacityError, match="over max_price_per_hour_usd 2"):
            cloud.run(backend, max_price_per_hour_usd=2.0, wait_for_capacity_s=0, **CLUSTER)
    else:
        with ThreadPoolExecutor() as pool:
            result = pool.submit(cloud.run, backend, body=body, **CLUSTER)
            # A machine that no list has shown cannot be seen to be gone.
            wait_until(lambda: kind != "vanishes" or any(sighting.running_members == 3 for sighting in list(backend._watch._pods.values())))
            (cloud.bucket / "go-away").touch()
            wait_until(lambda: len(cloud.runpod.clusters) == 2 or result.done())
            (cloud.bucket / "second").touch()
            result.result()
        lost, done = cloud.receipts[0].machines
        assert reason in lost.ended
        assert done.ended == "done"
    backend.close()
    assert not cloud.runpod.living


def test_a_machine_that_is_lost_before_the_last_one_runs_is_noticed_in_two_lists() -> None:
    sighting = Sighting("train", 0.0)
    for running, is_lost in ((0, False), (2, False), (1, False), (2, False), (1, False), (1, True)):
        sighting.update(ClusterPod(id="cluster/a", status="PROVISIONING", machines=3, running_members=running))
        assert sighting.has_lost_machine is is_lost


@pytest.mark.parametrize("worked", [True, False])
def test_a_cluster_whose_creation_was_not_answered_is_found_by_its_name(cloud: Cloud, worked: bool) -> None:
    cloud.runpod.faults.lose_answer("POST /v2/clusters", worked=worked)
    backend = cloud.backend()
    cloud.run(backend, **CLUSTER)
    backend.close()
    assert len(cloud.runpod.clusters) == 1
    assert not cloud.runpod.living


def test_no_machine_outlives_the_run_of_a_cluster_that_starts(cloud: Cloud) -> None:
    cloud.runpod.start_delay_s = 60.0
    backend = cloud.backend()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            cloud.run(backend, **CLUSTER)
        except CloudTrainError as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: cloud.runpod.living)
    backend.close()
    thread.join()
    assert isinstance(failure[0], JobCancelledError)
    assert not cloud.runpod.living


def test_the_dollars_are_those_of_all_machines(cloud: Cloud) -> None:
    backend = cloud.backend(max_cost_usd=0.3)
    # One machine's worst case, $0.24, would be paid for.
    with pytest.raises(BudgetExceededError, match=r"worst case \(\$0\.\d+\) would take the run past"):
        cloud.run(backend, startup_timeout_s=1200, timeout_s=600, **CLUSTER)
    backend.close()
    assert not cloud.runpod.clusters


def test_a_kind_that_is_not_sold_as_a_cluster_is_named(cloud: Cloud) -> None:
    cloud.runpod.offers.single = ("NVIDIA L4",)
    backend = cloud.backend()
    with pytest.raises(CapacityError, match=r"NVIDIA L4 \(not sold in EU-RO-1 as a cluster\)"):
        cloud.run(backend, **CLUSTER)
    backend.close()


def test_a_cluster_of_a_gone_client_is_listed_and_ended_as_one(cloud: Cloud) -> None:
    api = cloud.api
    name = pod_name(pod_prefix("Shop"), "train-0123456789ab", "0123abcd")
    command = "sh -c 'echo I am $NODE_RANK of $NUM_NODES; sleep 600'"
    made = api.create_pod(PodRequest(name=name, image="any", args=command, gpu="NVIDIA L4", machines=3, data_center="EU-RO-1"))
    fleet = Fleet(cloud.api, "Shop")
    (pod,) = fleet.namesakes()
    assert (pod.pod.id, pod.job) == (made.id, "train-0123456789ab")
    assert pod.pod.cost == pytest.approx(3 * 0.43)
    wait_until(lambda: all(member.lines for member in cloud.runpod.living))
    assert next(api.logs(made.id)).line == "I am 0 of 3"
    machine = Machine(attempt="0123abcd", name=name, pod=made.id, machines=3)
    for form in (machine, machine.model_copy(update={"pod": None})):
        answer = living_pod(cloud.api, form)
        assert answer is not None
        assert (answer.id, answer.running_members) == (made.id, 3)
    assert list(fleet.terminate([pod])) == [(pod, None)]
    assert fleet.remaining([pod]) == []
    assert not cloud.runpod.living
    # A member is not ended by itself, and a cluster that is gone is not an error.
    api.terminate_pod(made.id)
    assert api.pod(made.id) is None


def test_the_bill_has_clusters_by_the_pod_that_they_stand_for(cloud: Cloud) -> None:
    cloud.runpod.bills = True
    backend = cloud.backend()
    cloud.run(backend, **CLUSTER)
    backend.close()
    (cluster,) = cloud.runpod.clusters.values()
    bills = cloud.api.bills_usd(clusters=True)
    assert bills == {f"cluster/{cluster.id}": pytest.approx(sum(pod.cost_usd for pod in cluster.members))}


def test_members_of_a_cluster_that_is_not_listed_count_as_one(cloud: Cloud) -> None:
    cloud.api.create_pod(PodRequest(name="any", image="any", args="sleep 600", gpu="NVIDIA L4", machines=2, data_center="EU-RO-1"))
    (cluster,) = cloud.runpod.clusters.values()
    cloud.runpod.faults.answer_oddly("GET /v2/clusters", {"clusters": []})
    (pod,) = cloud.api.pods()
    assert (pod.id, pod.cost) == (f"cluster/{cluster.id}", pytest.approx(2 * 0.43))


@pytest.mark.parametrize(("status", "made"), [(403, False), (404, False), (403, True), (500, False)])
def test_a_key_that_may_not_list_clusters_hides_no_pod(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, status: int, made: bool) -> None:
    cloud.runpod.put(pod_name(pod_prefix("Shop"), "train-0123456789ab", "0123abcd"))
    if made:
        cloud.api.create_pod(PodRequest(name="any", image="any", args="sleep 600", gpu="NVIDIA L4", machines=2, data_center="EU-RO-1"))
    cloud.runpod.faults.answer("GET /v2/clusters", status, "no", times=9)
    api = cloud.api
    monkeypatch.setattr(api, "_pause", lambda _: None)
    fleet = Fleet(api, "Shop")
    if made or status >= 500:
        with pytest.raises(ApiError, match=r"/v2/clusters"):
            fleet.namesakes()
    else:
        assert [pod.job for pod in fleet.namesakes()] == ["train-0123456789ab"]


def test_a_prediction_that_has_lost_a_machine_goes_on_from_the_pieces_of_all(cloud: Cloud, tmp_path: Path) -> None:
    # Each machine has several pieces, so that there is work left when the fault comes after the first.
    frame = pd.concat([flights(2**14)] * 60, ignore_index=True)
    frame.to_parquet(cloud.bucket / "datasets/flights.parquet", row_group_size=2**16)
    model, place = train(tmp_path / "model", frame.head(500)), VolumeSource("datasets/scores.parquet", "parquet")
    order = PredictionOrder(
        node="score",
        model_name="delay_model",
        model=model,
        data=VolumeSource("datasets/flights.parquet", "parquet"),
        volume=cloud.volume,
        keep=("carrier",),
        save=place,
        settings=NodeSettings.model_validate(
            {"gpu": "NVIDIA L4", "machines": 2, "install": False, "timeout_s": 120, "checkpoint_every_rounds": 1}
        ),
    )
    job = prepare(order, TrainingScriptGenerator())
    with job.folder.held():
        job.write()
    folder = f".cloudtrain/jobs/{job.folder.name}"
    cloud.runpod.faults.befall("vanishes", when_file=f"{folder}/checkpoint/stretch-1/latest.json")
    backend = cloud.backend(heartbeat_lost_s=30.0)
    assert job.run(backend, Row("score", "xgboost", "flights"), cloud.receipts) == {"predictions": place}
    backend.close()
    assert "pieces were done before" in (cloud.bucket / folder / "log.txt").read_text(encoding="utf-8")
    saved = pd.read_parquet(cloud.bucket / "datasets/scores.parquet")
    assert saved["carrier"].tolist() == frame["carrier"].tolist()
    assert saved["prediction"].tolist() == model.predict(frame).tolist()
    assert (cloud.receipts[0].rows, len(cloud.runpod.clusters)) == (len(frame), 2)
    assert not cloud.runpod.living
