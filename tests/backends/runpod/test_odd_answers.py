"""Answers that break the vendor's contract: one odd machine hides no other, no list is taken for empty, and no price that cannot be."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from kedro_cloudtrain.backends.runpod.answers import Lists
from kedro_cloudtrain.backends.runpod.contract import Gpu, Pod, PodBill
from kedro_cloudtrain.backends.runpod.fleet import Fleet
from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry, PodLedger
from kedro_cloudtrain.backends.runpod.offers import choose
from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import ApiError, CapacityError, CloudTrainError
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.rehearsal.schemas import ListPodsResponse

if TYPE_CHECKING:
    from support.cloud import Cloud

ODD: tuple[Any, ...] = (None, True, "", "x", -1, 0.5, 1e300, math.nan, math.inf, [], [None], {}, {"": None}, "9" * 400)
ODD_PODS = [
    {"id": "odd1", "name": None, "cost": None, "createdAt": None, "runtime": {"uptime": 3.7, "gpus": [{"util": 87.5}, None]}},
    {"id": "odd2", "name": 5, "status": None, "cost": "dear", "runtime": [], "gpu": {"count": 1}},
    {"name": "without an id"},
    {"id": "../catalog/gpus", "name": "elsewhere"},
    None,
    "a pod",
]


def pod_as_listed(cloud: Cloud) -> dict[str, Any]:
    """Return a pod as the contract has it."""
    pod = cloud.runpod.view(cloud.runpod.put("cloudtrain-a"))
    cloud.runpod.end_pods()
    (listed,) = ListPodsResponse(pods=[pod]).json_object()["pods"]
    return dict(listed)


def test_no_value_of_any_field_of_a_pod_hides_a_pod(cloud: Cloud) -> None:
    good = pod_as_listed(cloud)
    parents = ((), ("runtime",), ("gpu",))
    good["runtime"] = {"uptime": 5, "gpus": [{"util": 1, "memoryUtil": 1}]}
    for parent in parents:
        for field in good if not parent else good[parent[0]]:
            for odd in ODD:
                entry = json.loads(json.dumps(good))
                (entry[parent[0]] if parent else entry)[field] = odd
                pods = Lists().parse(Pod, [entry, good])
                assert pods[-1].id == good["id"]
                assert len(pods) == 2 or (field, parent) == ("id", ()), (field, odd)
                for pod in pods:
                    assert 0 <= pod.cost <= 1e6
                    assert (pod.age_s(cloud.api.now()) or 0.0) >= 0


def test_one_odd_pod_of_anybodys_stops_nothing(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    cloud.runpod.odd_pods = list(ODD_PODS)
    backend = cloud.backend()
    assert cloud.run(backend)["rmse"] == 1.5
    backend.close()
    assert backend.left() == []
    assert "a Pod that is left out, since it cannot be read: '../catalog/gpus' 'elsewhere'. Missing or wrong: `id`." in caplog.text
    assert caplog.text.count("'without an id'") == 1  # once, however many lists have it
    mine = cloud.runpod.put("cloudtrain-shop--train-0123456789ab-deadbeef")
    fleet = Fleet(cloud.api, "Shop")
    assert [reason for _, reason in fleet.terminate(fleet.pods())] == [None]
    assert mine.gone
    assert not [call for call in cloud.runpod.requests("DELETE /v2/pods/*") if call.path != f"/v2/pods/{mine.id}"]


def test_a_pod_without_a_name_is_known_by_its_id(cloud: Cloud) -> None:
    ledger, name = PodLedger(cloud.api.account), "cloudtrain-shop--train-0123456789ab-deadbeef"
    ledger.open(LedgerEntry(name=name, pod="mine", asked_at=time.time()))
    ledger.close()
    cloud.runpod.odd_pods = [{"id": "mine", "name": None, "status": "RUNNING"}, {"id": "not-mine", "name": None}]
    (pod,) = Fleet(cloud.api, "Shop").pods()
    assert (pod.pod.id, pod.pod.name, pod.forgotten) == ("mine", name, True)


@pytest.mark.parametrize("price", [None, "cheap", -1.0, math.nan, math.inf, 1e300, {}, []], ids=repr)
def test_a_machine_without_a_price_is_left_out_of_the_offers(cloud: Cloud, price: object) -> None:
    cloud.runpod.offers.odd = [
        {"id": "odd", "memory": 24, "secure": True, "price": {"secure": price, "securePerVcpu": price}},
        {"id": "odder"},
    ]
    api = cloud.api
    assert "NVIDIA L4" in [gpu.id for gpu in api.gpus()]
    assert not [machine for machine in (*api.gpus(), *api.cpus()) if machine.id.startswith("odd")]


def test_a_machine_that_is_said_to_be_free_is_not_taken(cloud: Cloud) -> None:
    for gpu in cloud.runpod.offers.gpus:
        gpu.price.secure = 0.0
    with pytest.raises(CapacityError, match=r"NVIDIA L4 \(RunPod states no price\)"):
        choose(cloud.api, NodeSettings(gpu=("NVIDIA L4",)), None, Workload("xgboost", None))


def test_bills_that_cannot_be_read_are_not_counted() -> None:
    bills = Lists().parse(PodBill, [{"podId": "a", "totalAmount": 1.5}, {"podId": "a", "totalAmount": None}, None, {"podId": None}])
    assert sum(bill.total_usd for bill in bills if bill.pod_id == "a") == 1.5


@pytest.mark.parametrize("body", [{}, {"error": "internal"}, {"pods": None}, {"pods": {}}, [], None, "ok"], ids=repr)
def test_an_answer_without_its_list_takes_nothing_out_of_the_ledger(cloud: Cloud, body: object, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, pod = PodLedger(cloud.api.account), cloud.runpod.put("cloudtrain-shop--train-0123456789ab-deadbeef")
    ledger.open(LedgerEntry(name=pod.request.name, pod=pod.id, asked_at=time.time() - 1800))
    ledger.close()
    monkeypatch.setattr("kedro_cloudtrain.backends.runpod.api.RunPodApi._pause", lambda *_: None)
    cloud.runpod.faults.answer_oddly("GET /v2/pods", body, times=2)
    fleet = Fleet(cloud.api, "Shop")
    assert [each.pod.id for each in fleet.pods()] == [pod.id]  # It is asked again.
    cloud.runpod.faults.answer_oddly("GET /v2/pods", body, times=3)
    with pytest.raises(ApiError, match="malformed list of pods"):
        fleet.pods()
    assert list(ledger.entries()) == [pod.request.name]


@pytest.mark.parametrize("lists", [{"pods": []}, {"pods": [{"id": "another"}]}], ids=repr)
def test_a_list_without_a_pod_is_not_believed_before_the_pod_itself_is_asked_for(cloud: Cloud, lists: object) -> None:
    ledger, pod = PodLedger(cloud.api.account), cloud.runpod.put("cloudtrain-shop--train-0123456789ab-deadbeef")
    ledger.open(LedgerEntry(name=pod.request.name, pod=pod.id, asked_at=time.time() - 1800))
    ledger.close()
    fleet = Fleet(cloud.api, "Shop")
    for gone in (False, True):
        cloud.runpod.faults.answer_oddly("GET /v2/pods", lists)
        assert fleet.pods() == []
        assert (ledger.entries() == {}) is gone
        pod.end()


def test_a_sweep_asks_for_a_bounded_number_of_pods(tmp_path) -> None:
    ledger, asked = PodLedger("account", tmp_path), []
    for number in range(30):
        ledger.open(LedgerEntry(name=f"pod{number}", pod=f"id{number}", asked_at=time.time() - 1800))
    ledger.close()
    ledger.sweep((), lambda pod_id: asked.append(pod_id) is not None)
    assert (len(asked), len(ledger.entries())) == (20, 10)
    ledger.sweep((), lambda _: False)
    assert ledger.entries() == {}


def test_the_id_of_a_created_pod_is_one_or_the_creation_counts_as_unanswered(cloud: Cloud) -> None:
    backend = cloud.backend()
    cloud.runpod.faults.answer_oddly("POST /v2/pods", {"id": "../network-volumes/abc123xyz", "name": "x", "cost": 0.1})
    with pytest.raises(ApiError, match=r"malformed Pod\. Missing or wrong: `id`") as raised:
        cloud.run(backend)
    assert isinstance(raised.value, CloudTrainError)
    assert [entry.pod for entry in PodLedger(cloud.api.account).entries().values()] == [None]  # It may have been made.
    backend.close()
    assert not [call for call in cloud.runpod.calls if call.method == "DELETE"]


def test_a_gpu_needs_an_id_and_a_price_alone() -> None:
    for odd in ODD:
        (gpu,) = Lists().parse(
            Gpu, [{"id": "a", "price": {"secure": 1.0, "community": odd}, "memory": odd, "dataCenters": odd, "cudaVersions": odd}]
        )
        assert gpu.price.secure == 1.0
    places = [{"id": "EU-RO-1", "availability": "HIGH"}, {"availability": "LOW"}, None]
    (gpu,) = Lists().parse(Gpu, [{"id": "a", "price": {"secure": 1.0}, "dataCenters": places}])
    assert gpu.stock("EU-RO-1") == "HIGH"  # One odd data centre hides no other.
