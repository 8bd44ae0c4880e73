"""The client of RunPod's REST API v2, with answers that the vendor's contract allows and faults that the vendor has."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.cloud import DATA_CENTER, Cloud
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.account import connect, find_api_key
from kedro_cloudtrain.backends.runpod.answers import parse
from kedro_cloudtrain.backends.runpod.api import RunPodApi
from kedro_cloudtrain.backends.runpod.contract import Gpu, PodRequest
from kedro_cloudtrain.errors import ApiError, AuthError, BalanceError, CapacityError, CloudTrainError
from kedro_cloudtrain.rehearsal import API_KEY

STAND_STILL = "sh -c 'echo one; echo two; sleep 600'"


def request(cloud: Cloud, name: str = "cloudtrain-a", **more: object) -> PodRequest:
    fields = {"image": "img", "args": STAND_STILL, "gpu": "NVIDIA L4", "data_center": DATA_CENTER, "volume_id": cloud.volume_id, **more}
    return PodRequest(name=name, **fields)


@pytest.fixture
def api(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> RunPodApi:
    client = cloud.api
    # The waits are the client's own, and the quota's test measures them.
    monkeypatch.setattr(client, "_pause", lambda seconds: time.sleep(min(seconds, 0.02)))
    return client


def test_a_pod_is_created_seen_and_ended(cloud: Cloud, api: RunPodApi) -> None:
    pod = api.create_pod(request(cloud, env={"A": "b"}))
    assert (pod.name, pod.cost, pod.data_center) == ("cloudtrain-a", 0.43, DATA_CENTER)
    assert pod.gpu is not None
    assert (pod.gpu.id, pod.gpu.count) == ("NVIDIA L4", 1)
    assert [listed.id for listed in api.pods()] == [pod.id]
    assert api.find_pod("cloudtrain-a") is not None
    assert api.find_pod("cloudtrain") is None
    wait_until(lambda: (api.pod(pod.id) or pod).runtime is not None)
    api.terminate_pod(pod.id)
    assert api.pod(pod.id) is None
    api.terminate_pod(pod.id)
    assert api.pods() == []
    created = cloud.runpod.requests("POST /v2/pods")[0]
    assert created.headers["User-Agent"].startswith("kedro-cloudtrain")
    assert created.body["gpu"] == {"id": "NVIDIA L4", "count": 1, "minCudaVersion": "12.8"}
    assert created.body["cloud"] == "SECURE"


def test_a_cpu_pod_has_no_gpu_in_its_request(cloud: Cloud, api: RunPodApi) -> None:
    pod = api.create_pod(request(cloud, gpu=None, cpu="cpu5c", vcpu_count=4))
    assert pod.gpu is None
    assert pod.cost == pytest.approx(0.14)
    assert cloud.runpod.requests("POST /v2/pods")[0].body["cpu"] == {"id": "cpu5c", "vcpuCount": 4}


def test_the_offers_the_volume_and_the_bill_are_read(cloud: Cloud, api: RunPodApi) -> None:
    l4 = next(gpu for gpu in api.gpus() if gpu.id == "NVIDIA L4")
    assert (l4.memory, l4.price.secure, l4.stock(DATA_CENTER), l4.stock("EU-CZ-1")) == (24, 0.43, "HIGH", None)
    assert api.cpus()[0].price.per_vcpu == 0.035
    volume = api.network_volume(cloud.volume_id)
    assert volume is not None
    assert (volume.data_center, volume.size) == (DATA_CENTER, 50)
    assert api.network_volume("nosuch") is None
    pod = api.create_pod(request(cloud))
    api.terminate_pod(pod.id)
    assert api.bills_usd() == {}
    cloud.runpod.bills = True
    assert api.bills_usd() == {pod.id: pytest.approx(cloud.runpod.pods[pod.id].cost_usd)}


@pytest.mark.parametrize(
    ("status", "detail", "kind", "message"),
    [
        (400, "There are no longer any instances available with the requested specifications. Please refresh", CapacityError, "instances"),
        (400, "Insufficient capacity in this data center", CapacityError, "nsufficient capacity"),
        (400, "We could not find the resources to deploy your pod.", CapacityError, "resources"),
        (409, "There is no available machine for this request", CapacityError, "machine"),
        (400, "NVIDIA L4 is out of stock", CapacityError, "stock"),
        (400, "volume is elsewhere", ApiError, r"volume is elsewhere\. Check gpu, .*kedro cloudtrain plan"),
        (401, "invalid api key", AuthError, "console.runpod.io/user/settings"),
        (402, "balance too low", BalanceError, "console.runpod.io/user/billing"),
        (403, "not for this account", ApiError, "Create a key that may read and write"),
        (404, "no such template", ApiError, "in this account"),
        (409, "conflict", ApiError, "try again in a minute"),
        (413, "too large", ApiError, "read fewer of them"),
        (418, "I am a teapot", ApiError, "uptime.runpod.io"),
        (422, "request validation failed", ApiError, "pip install -U kedro-cloudtrain"),
    ],
)
def test_each_refusal_of_a_create_is_an_error_of_its_own(
    cloud: Cloud, api: RunPodApi, status: int, detail: str, kind: type[CloudTrainError], message: str
) -> None:
    cloud.runpod.faults.answer("POST /v2/pods", status, detail)
    with pytest.raises(kind, match=message) as raised:
        api.create_pod(request(cloud))
    assert API_KEY not in str(raised.value)
    assert len(cloud.runpod.requests("POST /v2/pods")) == 1
    assert cloud.runpod.pods == {}


def test_what_the_contract_does_not_know_is_refused_by_the_stand_in(cloud: Cloud, api: RunPodApi) -> None:
    with pytest.raises(ApiError, match="dataCenterIds") as raised:
        api.create_pod(request(cloud, data_center=7))
    assert raised.value.status == 422


def test_a_failure_that_speaks_of_no_capacity_is_one_once_no_pod_is_found(cloud: Cloud, api: RunPodApi) -> None:
    cloud.runpod.faults.answer("POST /v2/pods", 500, "This machine does not have the resources to deploy your pod.")
    with pytest.raises(CapacityError, match="resources"):
        api.create_pod(request(cloud))
    cloud.runpod.faults.answer("POST /v2/pods", 500, "out of stock", worked=True)
    assert api.create_pod(request(cloud)).id in cloud.runpod.pods


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_create_that_failed_at_runpod_is_tried_again(cloud: Cloud, api: RunPodApi, status: int) -> None:
    cloud.runpod.faults.answer("POST /v2/pods", status, times=2)
    api.create_pod(request(cloud))
    assert len(cloud.runpod.requests("POST /v2/pods")) == 3
    assert len(cloud.runpod.pods) == 1


@pytest.mark.parametrize("status", [None, 500, 504])
def test_a_create_whose_answer_was_lost_makes_no_second_pod(cloud: Cloud, api: RunPodApi, status: int | None) -> None:
    if status is None:
        cloud.runpod.faults.lose_answer("POST /v2/pods")
    else:
        cloud.runpod.faults.answer("POST /v2/pods", status, worked=True)
    pod = api.create_pod(request(cloud))
    assert list(cloud.runpod.pods) == [pod.id]
    assert len(cloud.runpod.requests("POST /v2/pods")) == 1


def test_a_create_that_never_arrived_is_sent_again(cloud: Cloud, api: RunPodApi) -> None:
    cloud.runpod.faults.lose_answer("POST /v2/pods", worked=False)
    pod = api.create_pod(request(cloud))
    assert list(cloud.runpod.pods) == [pod.id]


@pytest.mark.parametrize("call", ["GET /v2/pods", "GET /v2/catalog/gpus", "DELETE /v2/pods/*", "GET /v2/network-volumes/*"])
def test_reads_and_ends_are_tried_again(cloud: Cloud, api: RunPodApi, call: str) -> None:
    pod = api.create_pod(request(cloud))
    cloud.runpod.faults.answer(call, 502, times=2)
    cloud.runpod.faults.lose_answer(call, worked=False)
    api.pods()
    api.gpus()
    api.network_volume(cloud.volume_id)
    api.terminate_pod(pod.id)
    assert len(cloud.runpod.requests(call)) == 4


def test_an_api_that_cannot_be_reached_is_one_plain_error(api: RunPodApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as deaf:  # It has a port that nobody else can take, and does not listen.
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setattr(api, "base_url", url)
        with pytest.raises(ApiError, match=rf"gave no answer to GET /v2/pods in 5 tries: ConnectionError\. Is {url} reachable"):
            api.pods()


def test_a_malformed_answer_names_the_fields_that_are_wrong() -> None:
    with pytest.raises(ApiError, match=r"returned a malformed Gpu\. Missing or wrong: `id`, `price\.secure`\."):
        parse(Gpu, {"name": "L4", "price": {"secure": "cheap"}})


def test_a_netrc_does_not_replace_the_key(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert cloud.api.pods() == []
    (call,) = cloud.runpod.requests("GET /v2/pods")
    assert call.headers["Authorization"] == f"Bearer {API_KEY}"


@pytest.mark.parametrize("behind_s", [3600, -3600])
def test_the_clocks_difference_is_how_far_this_computers_is_ahead(cloud: Cloud, behind_s: float) -> None:
    api = cloud.api
    assert api.clock_ahead_s is None
    cloud.runpod.clock_behind_s = behind_s
    api.pods()
    assert api.clock_ahead_s == pytest.approx(behind_s, abs=60)


def test_a_quota_is_waited_for_and_no_call_is_refused_twice(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.runpod.quota.calls, cloud.runpod.quota.window_s = 8, 1.0
    api = cloud.api
    counted = threading.local()
    update = api._quota.update

    def count(headers: Mapping[str, str]) -> float | None:
        counted.refusals += "Retry-After" in headers
        return update(headers)

    def call(_: int) -> int:
        counted.refusals = 0
        api.pods()
        return counted.refusals

    monkeypatch.setattr(api._quota, "update", count)
    with ThreadPoolExecutor(4) as pool:
        refused = list(pool.map(call, range(20)))
    answers = [call.answered[0] for call in cloud.runpod.requests("GET /v2/pods")]
    assert answers.count(200) == 20
    assert answers.count(429) == sum(refused)
    assert max(refused) <= 1


def test_a_429_waits_as_it_says(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    api = cloud.api
    waits: list[float] = []
    monkeypatch.setattr(api, "_pause", waits.append)
    cloud.runpod.faults.answer("GET /v2/pods", 429, headers={"Retry-After": "1"})
    assert api.pods() == []
    assert waits == [1.0]


def test_logs_are_followed_resumed_and_end_with_the_pod(cloud: Cloud, api: RunPodApi) -> None:
    pod = api.create_pod(request(cloud))
    stream = api.logs(pod.id)
    first, second = next(stream), next(stream)
    assert (first.line, second.line, first.source) == ("one", "two", "container")
    resumed = api.logs(pod.id, since_id=first.id)
    assert next(resumed).line == "two"
    api.terminate_pod(pod.id)
    assert list(resumed) == []
    with pytest.raises(ApiError, match="404"):
        next(api.logs(pod.id))


def test_the_key_is_in_no_message_and_no_repr(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    key = "rpa_A_WRONG_KEY_OF_MINE"
    api = RunPodApi(key, cloud.runpod.base_url)
    caplog.set_level("DEBUG")
    cloud.runpod.faults.answer("GET /v2/pods", 401, f"invalid api key {key}")
    with pytest.raises(AuthError) as raised:
        api.pods()
    for text in (repr(api), str(raised.value), caplog.text, repr(vars(api).get("_quota"))):
        assert key not in text


def test_the_key_is_found_where_the_vendors_tools_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "  rpa_env ")
    assert find_api_key(tmp_path) == ("rpa_env", "RUNPOD_API_KEY")
    monkeypatch.delenv("RUNPOD_API_KEY")
    with pytest.raises(AuthError, match="RUNPOD_API_KEY"):
        find_api_key(tmp_path)
    file = tmp_path / ".runpod" / "config.toml"
    file.parent.mkdir()
    for text in ('[default]\napi_key = "rpa_sdk"\n', 'apikey = "rpa_sdk"\n'):
        file.write_text(text)
        key, place = find_api_key(tmp_path)
        assert key == "rpa_sdk"
        assert "config.toml" in place
    file.write_text("[default\n")
    with pytest.raises(AuthError, match=r"config\.toml"):
        find_api_key(tmp_path)


def test_connect_uses_the_environment(cloud: Cloud) -> None:
    assert connect().base_url == cloud.runpod.base_url
    assert connect().pods() == []


PAGES = {
    "": {"pods": [{"id": "a"}], "pagination": {"hasNextPage": True, "nextCursor": "2"}},
    "2": {"pods": [{"id": "b"}], "pagination": {"hasNextPage": True, "nextCursor": "3"}},
    "3": {"pods": [{"id": "c"}], "pagination": {"hasNextPage": False, "nextCursor": None}},
}


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        (PAGES, ["a", "b", "c"]),
        ({"": {"pods": [{"id": "a"}]}}, ["a"]),
        ({"": {"pods": [], "pagination": None}}, []),
        ({**PAGES, "3": PAGES[""]}, "whose pages do not end"),
        ({"": {"pods": "none"}}, "malformed list of pods"),
        ({"": ["a"]}, "malformed list of pods"),
        ({"": {}}, "malformed list of pods"),
        ({"": {"error": "internal"}}, "malformed list of pods"),
        ({"": {"pods": None}}, "malformed list of pods"),
        ({**PAGES, "3": {"pagination": {"hasNextPage": False}}}, "malformed list of pods"),
    ],
)
def test_a_list_is_followed_to_its_last_page(pages: dict[str, Any], expected: list[str] | str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cursor = parse_qs(urlsplit(self.path).query).get("cursor", [""])[0]
            body = json.dumps(pages[cursor]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        api = RunPodApi(API_KEY, f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(api, "_pause", lambda _: None)
        if isinstance(expected, str):
            with pytest.raises(ApiError, match=expected):
                api.pods()
        else:
            assert [pod.id for pod in api.pods()] == expected
        server.shutdown()
